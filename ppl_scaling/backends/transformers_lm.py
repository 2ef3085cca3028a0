"""Causal language models of transformers as the transition of a state-space model.

This is the one file that imports transformers' causal language models. A session prefills each distinct prompt once,
expands it to its particles, and then samples one reasoning step after the other with a decode loop of its own: every
token passes through the model once, and rows that have ended their step drop out of the batch.

It knows tokens, texts and caches, and nothing of weights, scores or resampling.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from ppl_scaling import host
from ppl_scaling.backends.kv_cache import CachedForward, context_length
from ppl_scaling.backends.loading import load_checkpoint
from ppl_scaling.backends.prompts import check_prompts, render_prompt
from ppl_scaling.backends.stopping import Delimiter, StepBoundary, Vocabulary
from ppl_scaling.errors import BackendError
from ppl_scaling.interfaces import PAD

__all__ = ["TransformersLanguageModel", "TransformersSession"]


class TransformersLanguageModel:
    r"""A causal language model and its tokenizer.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        A causal language model, on the device and in the dtype it is to run in.
    tokenizer : transformers.PreTrainedTokenizerBase
    boundary : StepBoundary, default ``Delimiter("\n")``
        Where a reasoning step ends.
    system_prompt : str, optional
        Goes in front of the problem in the chat template.

    Raises
    ------
    BackendError
        If the architecture is not supported, or nothing tells which token ends a text.
    """

    def __init__(
        self, model: Any, tokenizer: Any, *, boundary: StepBoundary | None = None, system_prompt: str | None = None
    ) -> None:
        self.model = model.eval()
        self.tokenizer = tokenizer
        self.boundary: StepBoundary = Delimiter() if boundary is None else boundary
        self.system_prompt = system_prompt
        self.context_length = context_length(model.config)
        self.end_tokens = end_tokens(model, tokenizer)
        self._vocabulary: Vocabulary | None = None

    @classmethod
    def from_pretrained(
        cls, name_or_path: str | os.PathLike[str], *, device: str | None = None, dtype: str | None = None, **kwargs: Any
    ) -> TransformersLanguageModel:
        """Load a local folder or a model of the hub.

        Parameters
        ----------
        name_or_path : str or path
        device : str, optional
            Default: a GPU when torch sees one, else the CPU.
        dtype : str, optional
            Such as ``"bfloat16"``; default: the checkpoint's own.
        **kwargs
            Passed on to the constructor.

        Raises
        ------
        BackendError
            If nothing can be loaded from there; the message says what was looked for and what went wrong.
        """
        return cls(*load_checkpoint(AutoModelForCausalLM, name_or_path, device=device, dtype=dtype), **kwargs)

    @property
    def vocabulary(self) -> Vocabulary:
        """Text of every token, read from the tokenizer once."""
        if self._vocabulary is None:
            size = self.model.config.vocab_size
            known = min(size, len(self.tokenizer))
            texts = self.tokenizer.batch_decode([[token] for token in range(known)])
            self._vocabulary = Vocabulary(texts + [""] * (size - known), self.model.device)
        return self._vocabulary

    def start(
        self, prompts: Sequence[str], num_particles: int, *, max_step_tokens: int, max_tokens: int | None
    ) -> TransformersSession:
        """Open a session of ``num_particles`` rows for each prompt.

        Raises
        ------
        ValueError
            If a prompt is empty, or leaves no room for an answer in the model's context.
        """
        check_prompts(prompts)
        encoded = {prompt: render_prompt(self.tokenizer, prompt, self.system_prompt) for prompt in prompts}
        for tokens in encoded.values():
            if len(tokens) >= self.context_length:
                raise ValueError(
                    f"expected a prompt shorter than the model's context of {self.context_length} tokens, "
                    f"got one of {len(tokens)} tokens"
                )
        return TransformersSession(self, prompts, encoded, num_particles, max_step_tokens, max_tokens)


class TransformersSession:
    """The rows of one run on a :class:`TransformersLanguageModel`; see ``interfaces.LanguageModelSession``."""

    def __init__(
        self,
        owner: TransformersLanguageModel,
        prompts: Sequence[str],
        encoded: dict[str, list[int]],
        num_particles: int,
        max_step_tokens: int,
        max_tokens: int | None,
    ) -> None:
        self._owner = owner
        self._max_step_tokens = max_step_tokens
        self.device: torch.device = owner.model.device
        distinct = list(encoded)
        self._forward = CachedForward(owner.model, len(distinct))
        self._ends = torch.zeros(owner.model.config.vocab_size, dtype=torch.bool, device=self.device)
        self._ends[list(owner.end_tokens)] = True
        self._group = torch.tensor([prompts.index(prompt) for prompt in distinct], device=self.device)
        self.tokens_forwarded = torch.zeros(len(prompts), dtype=torch.long, device=self.device)
        self._next_logits = self._prefill([encoded[prompt] for prompt in distinct])

        of_group = [distinct.index(prompt) for prompt in prompts]
        rows = torch.tensor(of_group, device=self.device).repeat_interleave(num_particles)
        self._next_place = rows  # where each row finds the logits of its next token
        self._forward.select(rows)
        self._group = torch.arange(len(prompts), device=self.device).repeat_interleave(num_particles)
        room = owner.context_length - self._forward.lengths
        self._room = room if max_tokens is None else room.clamp(max=max_tokens)
        self.select(torch.arange(len(rows), device=self.device))

    @property
    def num_rows(self) -> int:
        """Number of rows."""
        return self._forward.num_rows

    def select(self, rows: Tensor) -> None:
        """Begin a step with the rows ``rows``, in that order."""
        self._forward.select(rows)
        self._group, self._room = self._group[rows], self._room[rows]
        # The step starts here; a block can be tried from here more than once.
        self._next_place = self._next_place[rows]
        if host.is_true((self._next_place < 0).any()):
            raise ValueError("expected rows that have not ended, got one that is finished or truncated")
        self._start_logits = self._next_logits[self._next_place]
        self._start_lengths = self._forward.lengths
        self._room_at_start = self._room
        self._current: Tensor | None = None
        self._remembered: list[tuple[Tensor, Tensor]] = []
        self._accepted = False

    def sample(self, temperature: Tensor, record: Sequence[Tensor] = ()) -> Tensor:
        """Draw a token block for each row."""
        return self._run([temperature, *record], forced=None)

    def log_prob(self, token_block: Tensor, temperature: Tensor) -> Tensor:
        """Log-probability of a block, remembered or computed."""
        if self._is_current(token_block):
            for known, log_prob in self._remembered:
                if host.is_true((known == temperature).all()):
                    return log_prob
        self._run([temperature], forced=token_block)
        return self._remembered[-1][1]

    def accept(self, token_block: Tensor, last_step: bool) -> tuple[Tensor, Tensor]:
        """Append a block to each row; the rows that go on see its last token now, once."""
        if not self._is_current(token_block):
            self._run([torch.ones(self.num_rows, device=self.device)], forced=token_block)
        lengths = (token_block != PAD).sum(-1)
        last_tokens = token_block.gather(1, (lengths - 1)[:, None]).squeeze(1)
        finished = self._ends[last_tokens]
        truncated = ~finished & ((self._room - lengths <= 0) | last_step)
        if not self._accepted:
            self._accepted = True
            self._room = self._room - lengths
            num_going = self._forward.bring_forward(~finished & ~truncated)
            if num_going:  # the last token of a row that has ended has no successor and is not forwarded
                rows = self._forward.first(num_going)
                self._next_logits = self._step(rows, last_tokens[rows])
                self._next_place = torch.full((self.num_rows,), -1, device=self.device)
                self._next_place[rows] = torch.arange(num_going, device=self.device)
        return finished, truncated

    def decode(self, token_block: Tensor) -> list[str]:
        """Text of each block without end-of-text tokens."""
        blocks = [
            [token for token in block if token != PAD and token not in self._owner.end_tokens]
            for block in host.as_list(token_block)
        ]
        return self._owner.tokenizer.batch_decode(blocks, clean_up_tokenization_spaces=False)

    def _prefill(self, prompts: list[list[int]]) -> Tensor:
        """Forward the prompts; the last token apart, so that no logits are made that nobody reads."""
        lengths = torch.tensor([len(tokens) for tokens in prompts], device=self.device)
        longest = max(len(tokens) for tokens in prompts)
        padded = torch.tensor([tokens + [tokens[-1]] * (longest - len(tokens)) for tokens in prompts])
        padded = padded.to(self.device)
        if longest > 1:
            self._forward.forward(padded[:, :-1], lengths - 1, logits_to_keep=1)
            self._count(lengths - 1, self._forward.first(len(prompts)))
        rows = self._forward.first(len(prompts))
        return self._step(rows, padded.gather(1, (lengths - 1)[:, None]).squeeze(1))

    def _is_current(self, token_block: Tensor) -> bool:
        if self._current is None or self._current.shape != token_block.shape:
            return False
        return self._current is token_block or host.is_true((self._current == token_block).all())

    def _step(self, rows: Tensor, tokens: Tensor) -> Tensor:
        """Forward one token of each of the first rows; logits (n, V) of the next."""
        ones = torch.ones_like(tokens)
        self._count(ones, rows)
        return self._forward.forward(tokens[:, None], ones)[:, -1].float()

    def _count(self, num_tokens: Tensor, rows: Tensor) -> None:
        self.tokens_forwarded = self.tokens_forwarded.index_add(0, self._group[rows], num_tokens)

    def _run(self, temperatures: list[Tensor], forced: Tensor | None) -> Tensor:
        """Walk through one block of every row from the start of the step, sampled or given.

        Leaves the last token of each block to :meth:`accept`, and remembers the log-probabilities under all
        ``temperatures``; sampling uses the first.
        """
        if forced is not None and host.is_true(((forced != PAD).sum(-1) > self._room_at_start).any()):
            raise ValueError(f"expected a token block that fits into the room left to its row, got {forced.shape[1]} tokens")
        lengths_after = self._forward.lengths
        self._forward.lengths = self._start_lengths.clone()
        everyone = torch.ones(self.num_rows, dtype=torch.bool, device=self.device)
        num_going = self._forward.bring_forward(everyone)
        tracker = self._owner.boundary.track(self._owner.vocabulary, self.num_rows)
        limit = self._room.clamp(max=self._max_step_tokens) if forced is None else (forced != PAD).sum(-1)
        log_probs = torch.zeros(len(temperatures), self.num_rows, dtype=torch.float64, device=self.device)
        columns: list[Tensor] = []
        logits = self._start_logits[self._forward.first(num_going)]
        while True:
            rows = self._forward.first(num_going)
            log_p = [torch.log_softmax(logits / temperature[rows, None], dim=-1) for temperature in temperatures]
            if forced is None:
                tokens = torch.multinomial(log_p[0].exp(), 1).squeeze(1)
            else:
                tokens = forced[rows, len(columns)]
            taken = torch.stack([one.gather(1, tokens[:, None]).squeeze(1) for one in log_p])
            log_probs[:, rows] += taken.double()
            column = torch.full((self.num_rows,), PAD, dtype=torch.long, device=self.device)
            column[rows] = tokens
            columns.append(column)
            ended = limit[rows] <= len(columns)
            if forced is None:
                ended = ended | self._ends[tokens] | tracker.closes(rows, tokens)
            going = torch.zeros(self.num_rows, dtype=torch.bool, device=self.device)
            going[rows] = ~ended
            num_going = self._forward.bring_forward(going)
            if not num_going:
                break
            rows = self._forward.first(num_going)
            logits = self._step(rows, column[rows])
        block = torch.stack(columns, dim=1) if forced is None else forced
        if self._accepted:  # only a log-probability was wanted: the rows stand where they stood
            self._forward.lengths = lengths_after
        same = forced is not None and self._is_current(block)
        self._remembered = (self._remembered if same else []) + list(zip(temperatures, log_probs, strict=True))
        if not self._accepted:
            self._current = block
        return block


def end_tokens(model: Any, tokenizer: Any) -> frozenset[int]:
    """Tokens that end a text, by the generation configuration or else the tokenizer.

    Raises
    ------
    BackendError
        If neither names one.
    """
    configured = getattr(model.generation_config, "eos_token_id", None)
    if configured is None:
        configured = tokenizer.eos_token_id
    if configured is None:
        raise BackendError("expected the model or its tokenizer to name an end-of-text token, got none")
    return frozenset([configured] if isinstance(configured, int) else configured)
