"""Build the reward model: the body of a language model, and three layers above it that can compare.

At a token the body knows what it expects *next*; whether the token that came is the expected one is known only to who
still remembers, one position later, what was expected. Learning to do that from labels of solutions alone takes far more
of them than rollouts can give. So the layers above the body start from weights that are written down here, and training
goes on from there. Beside the 128 dimensions of the body the hidden state has three more parts:

- *token*: the embedding of the token itself, projected on the directions in which digits differ. It is so small that the
  norms of the body do not notice it, and the layers of the body do not read it;
- *expected*: the same projection of what the head of the language model would read at the position before. The first
  layer copies it from there; its attention is a constant that peaks one position back;
- *free*: the first layer multiplies the two parts, which is the language model's logit of the token; the second compares
  it with the logits of all digits; the third looks for the worst mismatch so far. The last free dimension is a constant
  that makes the norms above the body nearly constant, so that products are exact.

Every weight may change in the training that follows. All of it is an ordinary Llama with biases.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM, LlamaForTokenClassification

from ppl_scaling.models.pretrained.tokenizer import ProblemEncoder

NUM_LAYERS_ABOVE = 3
_COMPARED, _FREE = 32, 8
_HEAD_SIZE = 32
_TOKEN_SIZE = 0.05  # of the embedding: small enough for the body, large enough for bfloat16
_EXPECTED_SIZE = 1 / 8  # logits of twenty and more become values of a few
_SHARPNESS = 10.0  # of the attention to the position before
_CONSTANT = 8.0  # of the free constant, in norms of the body's hidden state


@dataclass(frozen=True)
class _Parts:
    """Where the parts of the hidden state begin."""

    body: int

    @property
    def token(self) -> slice:
        return slice(self.body, self.body + _COMPARED)

    @property
    def expected(self) -> slice:
        return slice(self.body + _COMPARED, self.body + 2 * _COMPARED)

    @property
    def free(self) -> int:
        return self.body + 2 * _COMPARED

    @property
    def width(self) -> int:
        return self.free + _FREE

    @property
    def constant(self) -> int:
        return self.width - 1


def build_reward_model(body_path: Path, encoder: ProblemEncoder, sample: Tensor, seed: int) -> LlamaForTokenClassification:
    """Give a reward model that looks for tokens which the language model of its body would not have written.

    Parameters
    ----------
    body_path : Path
        Checkpoint of the language model.
    encoder : ProblemEncoder
        Tells which tokens are digits.
    sample : Tensor, shape (rows, length)
        Some token ids, to measure the size of hidden states on.
    seed : int
        Of the weights that are not written down.
    """
    body = LlamaForCausalLM.from_pretrained(body_path).eval()
    parts = _Parts(body.config.hidden_size)
    torch.manual_seed(seed)
    model = LlamaForTokenClassification(_config(body.config, parts.width))
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            nn.init.zeros_(parameter)
    digits = torch.tensor([i for i in range(len(encoder.tokenizer)) if re.fullmatch(r" ?\d", encoder.tokenizer.decode([i]))])
    with torch.no_grad():
        size = _size_before_norm(body, sample)
        _embed_body(model, body, parts)
        _write_comparison(model, body, parts, digits, size)
    model.set_attn_implementation("eager")
    return model


def layers_above(model: LlamaForTokenClassification) -> list[nn.Parameter]:
    """Parameters that are not the body's."""
    parts = [*model.model.layers[-NUM_LAYERS_ABOVE:], model.model.norm, model.score]
    return [parameter for part in parts for parameter in part.parameters()]


def _size_before_norm(body: LlamaForCausalLM, sample: Tensor) -> float:
    """Root mean square of what the layers of the body leave to its last norm."""
    seen: list[Tensor] = []
    handle = body.model.norm.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    body.model(input_ids=sample)
    handle.remove()
    return float(seen[0].pow(2).mean().sqrt())


def _config(body: LlamaConfig, width: int) -> LlamaConfig:
    values = body.to_dict()
    for name in ("architectures", "dtype", "torch_dtype", "layer_types"):
        values.pop(name, None)
    values |= {
        "hidden_size": width,
        "head_dim": _HEAD_SIZE,
        "num_hidden_layers": body.num_hidden_layers + NUM_LAYERS_ABOVE,
        "attention_bias": True,
        "mlp_bias": True,
        "id2label": {0: "incorrect", 1: "correct"},
        "label2id": {"incorrect": 0, "correct": 1},
        "classifier_dropout": 0.0,
        "tie_word_embeddings": False,
    }
    return LlamaConfig(**values)


def _embed_body(model: LlamaForTokenClassification, body: LlamaForCausalLM, parts: _Parts) -> None:
    """Copy the body into the wider model, where it reads and writes its own dimensions only."""
    width = parts.body
    # A norm over more dimensions, the others nearly zero, is larger by this factor.
    widening = math.sqrt(width / parts.width)
    model.model.embed_tokens.weight.zero_()
    model.model.embed_tokens.weight[:, :width] = body.model.embed_tokens.weight
    for wide, layer in zip(model.model.layers, body.model.layers, strict=False):
        for name in ("input_layernorm", "post_attention_layernorm"):
            weight = getattr(wide, name).weight
            weight.zero_()
            weight[:width] = getattr(layer, name).weight * widening
        for name in ("q_proj", "k_proj", "v_proj"):
            weight = getattr(wide.self_attn, name).weight
            weight.zero_()
            weight[:, :width] = getattr(layer.self_attn, name).weight
        for name in ("gate_proj", "up_proj"):
            weight = getattr(wide.mlp, name).weight
            weight.zero_()
            weight[:, :width] = getattr(layer.mlp, name).weight
        for target, source in ((wide.self_attn.o_proj, layer.self_attn.o_proj), (wide.mlp.down_proj, layer.mlp.down_proj)):
            target.weight.zero_()
            target.weight[:width] = source.weight


def _write_comparison(
    model: LlamaForTokenClassification, body: LlamaForCausalLM, parts: _Parts, digits: Tensor, size: float
) -> None:
    """Write the weights of the layers above the body."""
    embedding = body.model.embed_tokens.weight
    directions = _directions(embedding, digits)
    projected = embedding @ directions
    scale = float(1 / projected[digits].pow(2).mean().sqrt())
    token_size = _TOKEN_SIZE * float(embedding.pow(2).mean().sqrt())
    model.model.embed_tokens.weight[:, parts.token] = token_size * scale * projected
    constant = _CONSTANT * size * math.sqrt(parts.body)

    def read_raw(norm: Any) -> None:
        """Let a norm give back the parts at their own sizes: its divisor is nearly the constant alone."""
        norm.weight.fill_(constant / math.sqrt(parts.width))
        norm.weight[: parts.body] /= size
        norm.weight[parts.token] /= token_size
        norm.weight[parts.constant] = 1 / math.sqrt(parts.width)

    first, second, third = model.model.layers[-NUM_LAYERS_ABOVE:]
    for layer in (first, second, third):
        for projection in (layer.self_attn.o_proj, layer.mlp.down_proj):
            projection.weight *= 0.1
            projection.weight[parts.body :] = 0
        if layer is not first:
            read_raw(layer.input_layernorm)
        read_raw(layer.post_attention_layernorm)
    read_raw(model.model.norm)

    # First layer: all heads look one position back, and the first copies what the language model's head reads there.
    first.input_layernorm.weight.zero_()
    first.input_layernorm.weight[: parts.body] = body.model.norm.weight * math.sqrt(parts.body / parts.width)
    rotary: Any = model.model.rotary_emb
    frequencies: Tensor = rotary.inv_freq
    attention, mlp = first.self_attn, first.mlp
    attention.q_proj.weight.zero_()
    attention.k_proj.weight.zero_()
    # A key turned by one position less meets the query of the position after it.
    attention.q_proj.bias[:] = _SHARPNESS * torch.cat([torch.ones_like(frequencies), 0 * frequencies]).repeat(4)
    attention.k_proj.bias[:] = _SHARPNESS * torch.cat([frequencies.cos(), frequencies.sin()]).repeat(4)
    attention.v_proj.weight.zero_()
    attention.v_proj.weight[:_COMPARED, : parts.body] = _EXPECTED_SIZE * directions.T
    attention.o_proj.weight[:, :_COMPARED] = 0
    attention.o_proj.weight[parts.expected, :_COMPARED] = torch.eye(_COMPARED)
    attention.o_proj.bias[parts.constant] = constant
    # Its units come in pairs: silu(a) b - silu(-a) b = a b, summed over the dimensions of the two parts.
    units = 2 * _COMPARED
    signs = torch.tensor([1.0, -1.0]).repeat(_COMPARED)
    dimensions = torch.arange(_COMPARED).repeat_interleave(2)
    for projection, part in ((mlp.gate_proj, parts.expected), (mlp.up_proj, parts.token)):
        projection.weight[:units] = 0
        projection.weight[torch.arange(units), part.start + dimensions] = signs
    mlp.down_proj.weight[:, :units] = 0
    mlp.down_proj.weight[parts.free, :units] = 1 / scale  # the logit of the token, times _EXPECTED_SIZE

    # Second layer: by how much each digit's logit exceeds that of the token, for tokens that are digits.
    mlp, count = second.mlp, len(digits)
    indicator, offset = _digit_indicator(scale * projected, digits)
    mlp.gate_proj.weight[:count] = 0
    mlp.gate_proj.weight[:count, parts.expected] = projected[digits] / _EXPECTED_SIZE
    mlp.gate_proj.weight[:count, parts.free] = -1 / _EXPECTED_SIZE
    mlp.gate_proj.weight[:count, parts.token] = 200 * indicator
    mlp.gate_proj.bias[:count] = 200 * (offset - 1)
    mlp.up_proj.weight[:count] = 0
    mlp.up_proj.bias[:count] = 1
    mlp.down_proj.weight[:, :count] = 0
    mlp.down_proj.weight[parts.free + 1, :count] = _EXPECTED_SIZE

    # Third layer: one head looks at the token of the largest excess so far; the slowest frequency hardly turns.
    attention, slowest = third.self_attn, _HEAD_SIZE // 2 - 1
    for projection in (attention.q_proj, attention.k_proj, attention.v_proj):
        projection.weight[:_HEAD_SIZE] = 0
    attention.q_proj.bias[slowest] = 6
    attention.k_proj.weight[slowest, parts.free + 1] = 12
    attention.v_proj.weight[0, parts.free + 1] = 1
    attention.o_proj.weight[:, 0] = 0
    attention.o_proj.weight[parts.free + 2, 0] = 1
    model.score.weight *= 0.1
    model.score.weight[:, parts.free + 2] = torch.tensor([2.0, -2.0])
    model.score.bias[:] = torch.tensor([-1.0, 1.0])


def _directions(embedding: Tensor, digits: Tensor) -> Tensor:
    """Orthonormal directions, shape (body, compared): all that tells digits apart, then what tells the others apart."""
    of_digits, _ = torch.linalg.qr(embedding[digits].T)
    centred = embedding - embedding.mean(0)
    rest = centred - centred @ of_digits @ of_digits.T
    others = torch.linalg.svd(rest, full_matrices=False)[2][: _COMPARED - len(digits)].T
    return torch.cat([of_digits, others], dim=1)


def _digit_indicator(tokens: Tensor, digits: Tensor) -> tuple[Tensor, Tensor]:
    """Linear function of the token part that is about 1 for digits and about 0 for others, by weighted least squares."""
    inputs = torch.cat([tokens, torch.ones(len(tokens), 1)], dim=1)
    wanted = torch.zeros(len(tokens))
    wanted[digits] = 1
    weighted = inputs * (1 + 9 * wanted)[:, None]
    solution = torch.linalg.solve(weighted.T @ inputs + 1e-2 * torch.eye(inputs.shape[1]), weighted.T @ wanted)
    return solution[:-1], solution[-1]
