"""The rows of one run on a causal language model: prefill, decode loop, log-probabilities, text.

Each distinct prompt is prefilled once and expanded to its particles. Then one reasoning step after the other is sampled with
a decode loop of its own: every token passes through the model once, rows that have ended their step drop out of the batch,
and the device is waited for once a token.

It knows tokens, texts and caches, and nothing of weights, scores or resampling. What stands in its lists lives on the host.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from ppl_scaling import host
from ppl_scaling.backends.decoding import CONTEXT, decode_after
from ppl_scaling.backends.kv_cache import CachedForward, MicroBatch
from ppl_scaling.backends.rehearsal import log_prob_of_known, write_on
from ppl_scaling.backends.stop_patterns import StopPattern
from ppl_scaling.backends.stopping import StepBoundary
from ppl_scaling.backends.vocabulary import Vocabulary
from ppl_scaling.interfaces import PAD, Rehearsal
from ppl_scaling.token_law import TokenLaw

__all__ = ["LoadedLanguageModel", "TransformersSession"]


class LoadedLanguageModel(Protocol):
    """What a session needs of the loaded model that it runs on."""

    model: Any
    tokenizer: Any
    boundary: StepBoundary
    stop: StopPattern | None
    context_length: int
    end_tokens: frozenset[int]
    micro_batch: MicroBatch

    @property
    def vocabulary(self) -> Vocabulary:
        """Text of every token."""


class TransformersSession:
    """See ``interfaces.LanguageModelSession``."""

    def __init__(
        self,
        owner: LoadedLanguageModel,
        prompts: Sequence[str],
        encoded: dict[str, list[int]],
        num_particles: int,
        max_step_tokens: int,
        max_tokens: int | None,
    ) -> None:
        self._owner = owner
        self._max_step_tokens = max_step_tokens
        self.device: torch.device = owner.model.device
        self._ends = torch.zeros(owner.model.config.get_text_config().vocab_size, dtype=torch.bool, device=self.device)
        self._ends[list(owner.end_tokens)] = True
        self._counts = [0] * len(prompts)
        distinct = list(encoded)
        self._forward = CachedForward(owner.model, len(distinct), owner.micro_batch)
        self._group = [prompts.index(prompt) for prompt in distinct]
        self._next_logits = self._prefill([encoded[prompt] for prompt in distinct])

        self._group = [group for group in range(len(prompts)) for _ in range(num_particles)]
        self._next_place = [distinct.index(prompts[group]) for group in self._group]  # where a row finds its next logits
        self._forward.select(torch.tensor(self._next_place, device=self.device))
        limit = owner.context_length if max_tokens is None else max_tokens
        self._room = [min(limit, owner.context_length - len(encoded[prompts[group]])) for group in self._group]
        self._context: list[list[int]] = [[] for _ in self._group]
        self._answers = [""] * len(self._group)
        self._accepted, self._start_lengths = True, self._forward.lengths
        self.select(torch.arange(len(self._group), device=self.device))

    @property
    def num_rows(self) -> int:
        """Number of rows."""
        return self._forward.num_rows

    @property
    def tokens_forwarded(self) -> Tensor:
        """Tokens that have passed through the model, shape ``(G,)``."""
        return torch.tensor(self._counts, device=self.device)

    def select(self, rows: Tensor) -> None:
        """Begin a step with the rows ``rows``, in that order. A block that was tried and not accepted is forgotten."""
        if not self._accepted:
            self._forward.rewind(self._start_lengths)
        chosen = host.as_list(rows)
        self._next_place = [self._next_place[row] for row in chosen]
        if min(self._next_place) < 0:
            raise ValueError("expected rows that have not ended, got one that is finished or truncated")
        self._forward.select(rows)
        self._group = [self._group[row] for row in chosen]
        self._room = [self._room[row] for row in chosen]
        self._context = [self._context[row] for row in chosen]
        self._answers = [self._answers[row] for row in chosen]
        # The step starts here; a block can be tried from here more than once.
        self._start_logits = self._next_logits[torch.tensor(self._next_place, device=self.device)]
        self._start_lengths = self._forward.lengths
        self._room_at_start = self._room
        self._context_at_start = self._context
        self._current: Tensor | None = None
        self._remembered: list[tuple[TokenLaw, Tensor]] = []
        self._accepted = False

    def sample(self, law: TokenLaw, record: Sequence[TokenLaw] = (), given: Tensor | None = None) -> Tensor:
        """Draw a token block for each row, or take the one that is given."""
        return self._run([law, *record], given)

    def log_prob(self, token_block: Tensor, law: TokenLaw) -> Tensor:
        """Log-probability of a block, remembered or computed."""
        if self._is_current(token_block):
            for known, log_prob in self._remembered:
                if known.agrees_with(law):
                    return log_prob
        self._run([law], token_block)
        return self._remembered[-1][1]

    def accept(self, token_block: Tensor, last_step: bool) -> tuple[Tensor, Tensor]:
        """Append a block to each row, once a step; the rows that go on see its last token now."""
        self._check_not_accepted("accept")
        if not self._is_current(token_block):
            self._run([TokenLaw(torch.ones(self.num_rows, device=self.device))], token_block)
        blocks = _without_padding(token_block)
        finished = [block[-1] in self._owner.end_tokens for block in blocks]
        truncated = [
            not end and (last_step or room <= len(block))
            for end, room, block in zip(finished, self._room_at_start, blocks, strict=True)
        ]
        if self._owner.stop is not None:
            self._answers = [answer + text for answer, text in zip(self._answers, self._texts(blocks), strict=True)]
            stopped = [self._owner.stop.ends(answer) for answer in self._answers]
            finished = [one or other for one, other in zip(finished, stopped, strict=True)]
            truncated = [one and not other for one, other in zip(truncated, stopped, strict=True)]
        self._accepted = True
        self._room = [room - len(block) for room, block in zip(self._room, blocks, strict=True)]
        self._context = [(before + block)[-CONTEXT:] for before, block in zip(self._context, blocks, strict=True)]
        going = [not end and not cut for end, cut in zip(finished, truncated, strict=True)]
        num_going = self._forward.bring_forward(going)
        self._next_place = [-1] * self.num_rows
        if num_going:  # the last token of a row that has ended has no successor and is not forwarded
            order = self._forward.order[:num_going]
            self._next_logits = self._step(torch.tensor([blocks[row][-1] for row in order], device=self.device))
            for place, row in enumerate(order):
                self._next_place[row] = place
        return torch.tensor(finished, device=self.device), torch.tensor(truncated, device=self.device)

    def decode(self, token_block: Tensor) -> list[str]:
        """Text that each block adds to the answer of its row, without end-of-text tokens."""
        return self._texts(_without_padding(token_block))

    def rehearse(self, steps: Sequence[Sequence[Sequence[int]]], law: TokenLaw, steps_left: int) -> Rehearsal:
        """Try several steps on each row; see ``interfaces.LanguageModelSession``."""
        self._check_not_accepted("rehearse")
        listed = [[list(step) for step in row] for row in steps]
        wholes = [[token for step in row for token in step] for row in listed]
        fits = [len(whole) <= room for whole, room in zip(wholes, self._room_at_start, strict=True)]
        tried = [whole if fit else [] for whole, fit in zip(wholes, fits, strict=True)]
        self._forward.rewind(self._start_lengths)
        log_prob, counts = log_prob_of_known(self._forward, tried, self._start_logits, law)
        self._forward.rewind(self._start_lengths)
        self._current, self._remembered = None, []  # what was drawn before has been written over
        for row, count in enumerate(counts):
            self._counts[self._group[row]] += count
        texts, ended, possible = write_on(listed, self._context_at_start, self._answers, self._texts, self._is_end)
        possible = [one and fit for one, fit in zip(possible, fits, strict=True)]
        for row, (own, whole) in enumerate(zip(listed, wholes, strict=True)):
            if own:
                is_cut = len(whole) == self._room_at_start[row] or len(own[-1]) == self._max_step_tokens
                possible[row] &= is_cut or own[-1][-1] in self._owner.end_tokens or self._closes(own[-1])
                ended[row] |= len(whole) == self._room_at_start[row] or len(own) == steps_left
        impossible = ~torch.tensor(possible, device=self.device)
        return Rehearsal(log_prob.masked_fill(impossible, -math.inf), torch.tensor(ended, device=self.device), texts)

    def _is_end(self, block: list[int], answer: str) -> bool:
        """Whether an answer that ends with ``block`` is finished."""
        stop = self._owner.stop
        return block[-1] in self._owner.end_tokens or (stop is not None and stop.ends(answer))

    def _closes(self, block: list[int]) -> bool:
        """Whether a step ends with the last token of ``block``, were there no limits."""
        tracker = self._owner.boundary.track(self._owner.vocabulary, 1)
        first = torch.zeros(1, dtype=torch.long, device=self.device)
        closed = [tracker.closes(first, torch.tensor([token], device=self.device)) for token in block]
        return host.is_true(closed[-1].all())

    def _texts(self, blocks: list[list[int]], contexts: Sequence[list[int]] | None = None) -> list[str]:
        contexts = self._context_at_start if contexts is None else contexts
        return decode_after(self._owner.tokenizer, contexts, blocks, self._owner.end_tokens)

    def _prefill(self, prompts: list[list[int]]) -> Tensor:
        """Forward the prompts; the last token apart, so that no logits are made that nobody reads."""
        lengths = [len(tokens) for tokens in prompts]
        longest = max(lengths)
        if longest > 1:
            padded = [tokens[:-1] + [tokens[-1]] * (longest - len(tokens)) for tokens in prompts]
            num_tokens = torch.tensor(lengths, device=self.device) - 1
            self._forward.forward(torch.tensor(padded, device=self.device), num_tokens, logits_to_keep=1)
            for group, length in zip(self._group, lengths, strict=True):
                self._counts[group] += length - 1
        return self._step(torch.tensor([tokens[-1] for tokens in prompts], device=self.device))

    def _step(self, tokens: Tensor) -> Tensor:
        """Forward one token of each of the first rows; logits (n, V) of the next."""
        for row in self._forward.order[: len(tokens)]:
            self._counts[self._group[row]] += 1
        return self._forward.forward(tokens[:, None], torch.ones_like(tokens))[:, -1].float()

    def _check_not_accepted(self, name: str) -> None:
        if self._accepted:
            raise RuntimeError(f"expected {name} before a block is accepted, got it afterwards; select begins a step")

    def _is_current(self, token_block: Tensor) -> bool:
        if self._current is None or self._current.shape != token_block.shape:
            return False
        return self._current is token_block or host.is_true((self._current == token_block).all())

    def _limits(self, given: list[list[int]]) -> list[int]:
        """How many tokens each row has at most in this step."""
        limits = []
        for block, room in zip(given, self._room_at_start, strict=True):
            if len(block) > room:
                raise ValueError(
                    f"expected a token block that fits into the room left to its row, which is {room} tokens, "
                    f"got {len(block)}"
                )
            limits.append(len(block) or min(room, self._max_step_tokens))
        return limits

    def _run(self, laws: list[TokenLaw], given: Tensor | None) -> Tensor:
        """Walk through one block of every row from the start of the step, sampled or given.

        Leaves the last token of each block to :meth:`accept`, and remembers the log-probabilities under all ``laws``;
        sampling uses the first.
        """
        same = given is not None and self._is_current(given)
        if not same:  # after accept, another block would write over what the cache holds of the accepted one
            self._check_not_accepted("another block")
        blocks = [[]] * self.num_rows if given is None else _without_padding(given)
        limits, is_given = self._limits(blocks), [bool(block) for block in blocks]
        lengths_after = self._forward.lengths
        self._forward.rewind(self._start_lengths)
        self._forward.bring_forward([True] * self.num_rows)
        tracker = self._owner.boundary.track(self._owner.vocabulary, self.num_rows)
        log_probs = torch.zeros(len(laws), self.num_rows, dtype=torch.float64, device=self.device)
        columns: list[Tensor] = []
        rows = self._forward.first(self.num_rows)
        logits, laws_of_rows = self._start_logits[rows], [law.rows(rows) for law in laws]
        while True:
            if given is not None and all(is_given):
                tokens = given[rows, len(columns)]
                taken = [law.log_prob(logits, tokens) for law in laws_of_rows]
                ended = [False] * len(rows)
            else:
                tokens, drawn = laws_of_rows[0].draw(logits)
                taken = [drawn]
                if given is not None and len(columns) < given.shape[1]:
                    tokens = torch.where(given[rows, len(columns)] == PAD, tokens, given[rows, len(columns)])
                    taken = [laws_of_rows[0].log_prob(logits, tokens)]
                taken += [law.log_prob(logits, tokens) for law in laws_of_rows[1:]]
                ended = host.as_list(self._ends[tokens] | tracker.closes(rows, tokens))
            log_probs[:, rows] += torch.stack(taken)
            column = torch.full((self.num_rows,), PAD, dtype=torch.long, device=self.device)
            column[rows] = tokens
            columns.append(column)
            going = {
                row
                for row, end in zip(self._forward.order[: len(rows)], ended, strict=True)
                if limits[row] > len(columns) and (is_given[row] or not end)
            }
            if not going:
                break
            if len(going) < len(rows):
                rows = self._forward.first(self._forward.bring_forward([row in going for row in range(self.num_rows)]))
                laws_of_rows = [law.rows(rows) for law in laws]
            logits = self._step(column[rows])
        block = given if given is not None and all(is_given) else torch.stack(columns, dim=1)
        if self._accepted:  # only a log-probability was wanted: the rows stand where they stood
            self._forward.rewind(lengths_after)
        self._remembered = (self._remembered if same else []) + list(zip(laws, log_probs, strict=True))
        if not self._accepted:
            self._current = block
        return block


def _without_padding(token_block: Tensor) -> list[list[int]]:
    return [[token for token in block if token != PAD] for block in host.as_list(token_block)]
