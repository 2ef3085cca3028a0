"""A language model given by a table: small enough to list every trajectory.

Against it and its companion, the reward model of :mod:`.function_reward`, every sampler of the library is tested, and with
them the first tutorial begins. They speak the same protocol as the transformers backend, so a program cannot tell the two
apart.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ppl_scaling.backends.function_reward import FunctionRewardModel
from ppl_scaling.backends.prompts import check_prompts
from ppl_scaling.interfaces import PAD, Rehearsal
from ppl_scaling.token_law import TokenLaw

__all__ = ["FiniteLanguageModel", "FunctionRewardModel"]

PLAIN = TokenLaw(torch.ones(1, dtype=torch.float64))


class FiniteLanguageModel:
    """An LM whose next-token probabilities are looked up by the text so far.

    Parameters
    ----------
    table : mapping of str to mapping of str to float
        ``table[context][token]`` is the probability of ``token`` after a text that ends in ``context``. The longest
        context that fits is used, and the empty context fits everything; so a table of full prefixes, an n-gram model and
        a mixture of the two are all written the same way. The text is the prompt followed by what was generated.
    end : str, default "$"
        The token that ends an answer.
    delimiter : str, optional
        The token that ends a step; without one, every token is a step.

    Raises
    ------
    ValueError
        If there is no empty context, a row's probabilities are negative or do not sum to one, or no row has ``end``.

    Examples
    --------
    >>> lm = FiniteLanguageModel({"": {"a": 0.5, "b": 0.5}, "a": {"b": 0.75, "$": 0.25}, "b": {"$": 1.0}})
    >>> [step[0] for step in lm.steps("", "a", 1, max_step_tokens=1, max_tokens=None)]
    ['b', '']
    """

    def __init__(self, table: Mapping[str, Mapping[str, float]], *, end: str = "$", delimiter: str | None = None) -> None:
        if "" not in table:
            raise ValueError("expected the table to have the empty context '', which fits where no other does")
        for context, row in table.items():
            if any(p < 0 for p in row.values()) or not math.isclose(sum(row.values()), 1, abs_tol=1e-9):
                raise ValueError(
                    f"expected the probabilities after {context!r} to be at least 0 and to sum to 1, got {dict(row)}"
                )
        self.tokens = list(dict.fromkeys(token for row in table.values() for token in row))
        if end not in self.tokens:
            raise ValueError(f"expected some row of the table to have the end token {end!r}, got {self.tokens}")
        self.end, self.delimiter = end, delimiter
        self._table = {context: dict(row) for context, row in table.items()}
        self._longest = max(map(len, table))

    def next_token(self, text: str) -> dict[str, float]:
        """Probabilities of the token that follows ``text``."""
        for length in range(min(self._longest, len(text)), -1, -1):
            row = self._table.get(text[len(text) - length :])
            if row is not None:
                return row
        raise AssertionError("the empty context always fits")

    def start(
        self, prompts: Sequence[str], num_particles: int, *, max_step_tokens: int, max_tokens: int | None
    ) -> FiniteSession:
        """Open a session of ``num_particles`` rows for each prompt.

        Raises
        ------
        TypeError
            If ``prompts`` is one string, or one of them is not a string.
        ValueError
            If there are none, or one is empty.
        """
        check_prompts(prompts)
        return FiniteSession(self, prompts, num_particles, max_step_tokens, max_tokens)

    def steps(
        self,
        prompt: str,
        prefix: str,
        num_tokens: int,
        *,
        law: TokenLaw = PLAIN,
        max_step_tokens: int,
        max_tokens: int | None,
    ) -> list[tuple[str, int, float, bool, bool]]:
        """List the possible next steps after ``prefix``, which has ``num_tokens`` tokens; ``law`` has one row.

        Returns
        -------
        list of (text, number of tokens, log-probability, finished, truncated)
            The text lacks the end token; ``truncated`` says that no token is left to go on.
        """
        room = math.inf if max_tokens is None else max_tokens - num_tokens
        limit = min(max_step_tokens, room)
        found: list[tuple[str, int, float, bool, bool]] = []

        def extend(step: str, length: int, log_prob: float) -> None:
            row = self.next_token(prompt + prefix + step)
            tokens = [token for token, probability in row.items() if probability]
            log_probs = law.log_probs(torch.tensor([[row[token] for token in tokens]], dtype=torch.float64).log())
            for token, gain in zip(tokens, log_probs[0].tolist(), strict=True):
                if gain == -math.inf:
                    continue
                text, count, total = step + token, length + 1, log_prob + gain
                finished = token == self.end
                if finished or self.ends_step(token) or count == limit:
                    found.append((step if finished else text, count, total, finished, not finished and count == room))
                else:
                    extend(text, count, total)

        extend("", 0, 0.0)
        return found

    def ends_step(self, token: str) -> bool:
        """Whether ``token`` ends a step."""
        return self.delimiter is None or token == self.delimiter


class FiniteSession:
    """The rows of one run on a :class:`FiniteLanguageModel`; see ``interfaces.LanguageModelSession``."""

    def __init__(
        self,
        owner: FiniteLanguageModel,
        prompts: Sequence[str],
        num_particles: int,
        max_step_tokens: int,
        max_tokens: int | None,
    ) -> None:
        self._owner, self._max_step_tokens = owner, max_step_tokens
        self.device = torch.device("cpu")
        # Texts are numbered as they appear; a row is the number of its text, and each number has a row of probabilities.
        self._texts: list[str] = []
        self._numbers: dict[str, int] = {}
        self._log_probs = torch.zeros(0, len(owner.tokens), dtype=torch.float64)
        self._next = torch.zeros(0, len(owner.tokens), dtype=torch.long)
        self._ends = torch.tensor([token == owner.end for token in owner.tokens])
        self._closes = torch.tensor([owner.ends_step(token) for token in owner.tokens])
        numbers = torch.tensor([self._number(prompt) for prompt in prompts])
        self._text = self._start = numbers.repeat_interleave(num_particles)
        self._group = torch.arange(len(prompts)).repeat_interleave(num_particles)
        room = torch.iinfo(torch.long).max if max_tokens is None else max_tokens
        self._room = torch.full_like(self._text, room)
        self.tokens_forwarded = torch.zeros(len(prompts), dtype=torch.long)

    @property
    def num_rows(self) -> int:
        """Number of rows."""
        return len(self._text)

    def select(self, rows: Tensor) -> None:
        """Begin a step with the rows ``rows``, in that order."""
        self._text, self._group, self._room = self._text[rows], self._group[rows], self._room[rows]
        self._start = self._text  # a block's probability is that after the past, also once the block is accepted

    def sample(self, law: TokenLaw, record: Sequence[TokenLaw] = (), given: Tensor | None = None) -> Tensor:
        """Draw a token block for each row, or take the one that is given. Nothing is remembered: a look-up is cheap."""
        if given is None:
            given = torch.full((self.num_rows, 1), PAD)
        lengths = (given != PAD).sum(-1)
        text, going = self._start, torch.arange(self.num_rows)
        limit = torch.where(lengths > 0, lengths, self._room.clamp(max=self._max_step_tokens))
        columns: list[Tensor] = []
        while len(going):
            tokens, _ = law.rows(going).draw(self._log_probs[text[going]])
            if len(columns) < given.shape[1]:
                tokens = torch.where(given[going, len(columns)] == PAD, tokens, given[going, len(columns)])
            column = torch.full((self.num_rows,), PAD)
            column[going] = tokens
            columns.append(column)
            text = text.clone()
            text[going] = self._follow(text[going], tokens)
            ended = (self._ends[tokens] | self._closes[tokens]) & (lengths[going] == 0)
            going = going[~ended & (limit[going] > len(columns))]
        return torch.stack(columns, dim=1)

    def log_prob(self, token_block: Tensor, law: TokenLaw) -> Tensor:
        """Log-probability of a block, shape (R,)."""
        text, total = self._start, torch.zeros(self.num_rows, dtype=torch.float64)
        for tokens in token_block.unbind(1):
            real = tokens != PAD
            known = tokens.clamp(min=0)
            gain = law.log_prob(self._log_probs[text], known)
            total = total + torch.where(real, gain, torch.zeros_like(gain))
            text = torch.where(real, self._follow(text, known), text)
        return total

    def accept(self, token_block: Tensor, last_step: bool) -> tuple[Tensor, Tensor]:
        """Append a block to each row."""
        lengths = (token_block != PAD).sum(-1)
        for tokens in token_block.unbind(1):
            self._text = torch.where(tokens != PAD, self._follow(self._text, tokens.clamp(min=0)), self._text)
        self._room = self._room - lengths
        self.tokens_forwarded = self.tokens_forwarded.index_add(0, self._group, lengths)
        last = token_block.gather(1, (lengths - 1)[:, None]).squeeze(1)
        finished = self._ends[last]
        return finished, ~finished & ((self._room <= 0) | last_step)

    def decode(self, token_block: Tensor) -> list[str]:
        """Text of each block, the end token left out."""
        names = self._owner.tokens
        return [
            "".join(names[token] for token in block if token != PAD and names[token] != self._owner.end)
            for block in token_block.tolist()
        ]

    def rehearse(self, steps: Sequence[Sequence[Sequence[int]]], law: TokenLaw, steps_left: int) -> Rehearsal:
        """Try several steps on each row; see ``interfaces.LanguageModelSession``."""
        wholes = [[token for step in row for token in step] for row in steps]
        longest = max(1, *map(len, wholes))
        block = torch.tensor([whole + [PAD] * (longest - len(whole)) for whole in wholes])
        self.tokens_forwarded = self.tokens_forwarded.index_add(0, self._group, (block != PAD).sum(-1))
        ends, closes = self._ends.tolist(), self._closes.tolist()
        impossible, ended = [False] * len(steps), [False] * len(steps)
        for row, (own, whole, room) in enumerate(zip(steps, wholes, self._room.tolist(), strict=True)):
            if own:
                last, is_cut = own[-1][-1], len(whole) == room
                is_step = ends[last] or closes[last] or is_cut or len(own[-1]) == self._max_step_tokens
                impossible[row] = len(whole) > room or not is_step
                ended[row] = ends[last] or is_cut or len(own) == steps_left
        log_prob = self.log_prob(block, law).masked_fill(torch.tensor(impossible), -math.inf)
        names, end = self._owner.tokens, self._owner.end
        texts = [["".join(names[token] for token in step if names[token] != end) for step in row] for row in steps]
        return Rehearsal(log_prob, torch.tensor(ended), texts)

    def _number(self, text: str) -> int:
        if text not in self._numbers:
            self._numbers[text] = len(self._texts)
            self._texts.append(text)
            row = self._owner.next_token(text)
            log_probs = torch.tensor([row.get(token, 0.0) for token in self._owner.tokens], dtype=torch.float64).log()
            self._log_probs = torch.cat([self._log_probs, log_probs[None]])
            self._next = torch.cat([self._next, torch.full((1, len(log_probs)), -1)])
        return self._numbers[text]

    def _follow(self, text: Tensor, tokens: Tensor) -> Tensor:
        """Numbers of the texts with one more token; new texts are entered once each."""
        unknown = self._next[text, tokens] < 0
        for number, token in set(zip(text[unknown].tolist(), tokens[unknown].tolist(), strict=True)):
            self._next[number, token] = self._number(self._texts[number] + self._owner.tokens[token])
        return self._next[text, tokens]
