"""Texts of a fixed length, so that everyone generates the same number of tokens.

Imported by the benchmark and by the script that drives the peers in an interpreter of their own: torch only.
"""

from contextlib import contextmanager

import torch


@contextmanager
def without_ends(model, special_tokens):
    """Take the special tokens away from a language model, for whoever runs it, by a bias on its head.

    No sampler has to be told: neither ``generate`` nor the peers nor we process the logits in any way for it.
    """
    head = model.get_output_embeddings()
    bias = torch.zeros(head.out_features, dtype=head.weight.dtype, device=head.weight.device)
    bias[list(special_tokens)] = -1e4
    head.bias = torch.nn.Parameter(bias, requires_grad=False)
    try:
        yield
    finally:
        head.bias = None


def special_tokens(model, tokenizer):
    """Every token that ends a text or is not text at all."""
    ends = model.generation_config.eos_token_id
    ends = [] if ends is None else [ends] if isinstance(ends, int) else list(ends)
    return sorted({*ends, *tokenizer.all_special_ids})


def render(tokenizer, problem):
    """Text of the problem up to where the answer begins."""
    if tokenizer.chat_template is None:
        return problem + "\n"
    messages = [{"role": "user", "content": problem}]
    return tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)


def encode_prompt(tokenizer, problem):
    """Tokens of :func:`render`; the chat template writes the special tokens itself."""
    return tokenizer(render(tokenizer, problem), add_special_tokens=tokenizer.chat_template is None)["input_ids"]


def pad(rows, token, left=False):
    """Token lists as one tensor, and the mask of what is real."""
    longest = max(map(len, rows))
    fill = [[token] * (longest - len(row)) for row in rows]
    ones = [[1] * len(row) for row in rows]
    zeros = [[0] * len(row) for row in fill]
    if left:
        return torch.tensor([f + r for f, r in zip(fill, rows, strict=True)]), torch.tensor(
            [z + o for z, o in zip(zeros, ones, strict=True)]
        )
    return torch.tensor([r + f for r, f in zip(rows, fill, strict=True)]), torch.tensor(
        [o + z for o, z in zip(ones, zeros, strict=True)]
    )
