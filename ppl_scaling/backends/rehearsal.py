"""Steps that are known beforehand: their log-probabilities, texts and ends.

Known tokens are read many at a time and not one after the other. This is what makes trying a long continuation on every
row affordable: the rows' tokens pass through the model in a few ragged batches. Logits are large, so only as many positions
are looked at together as a fixed amount of memory holds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ppl_scaling.backends.decoding import CONTEXT
from ppl_scaling.backends.kv_cache import CachedForward, pad
from ppl_scaling.token_law import TokenLaw

__all__ = ["log_prob_of_known", "write_on"]

_LOGITS = 2**25  # numbers held at a time, of four bytes each


def log_prob_of_known(
    forward: CachedForward, blocks: list[list[int]], next_logits: Tensor, law: TokenLaw
) -> tuple[Tensor, list[int]]:
    """Log-probabilities of blocks after what the cache holds; the cache then holds all of each block but its last token.

    Parameters
    ----------
    forward : CachedForward
    blocks : list of list of int, length R
        An empty one has log-probability 0.
    next_logits : Tensor, shape (R, V)
        For the first token of each row.
    law : TokenLaw
        Has R rows.

    Returns
    -------
    log_prob : Tensor, shape (R,), float64
    counts : list of int
        Tokens of each row that were forwarded.
    """
    device = next_logits.device
    log_prob = torch.zeros(len(blocks), dtype=torch.float64, device=device)
    width = max(1, _LOGITS // (next_logits.shape[1] * len(blocks)))
    done = 0
    while True:
        num_rows = forward.bring_forward([len(block) > done for block in blocks])
        if not num_rows:
            return log_prob, [max(0, len(block) - 1) for block in blocks]
        order, rows = forward.order[:num_rows], forward.first(num_rows)
        if done == 0:
            logits, done = next_logits[rows][:, None], 1
            targets = [blocks[row][:1] for row in order]
        else:
            before = [blocks[row][done - 1 : done - 1 + width][: len(blocks[row]) - done] for row in order]
            targets = [blocks[row][done : done + width] for row in order]
            tokens, lengths = pad(before, device)
            logits = forward.forward(tokens, lengths).float()
            done += width
        wanted, lengths = pad(targets, device)
        flat_rows = rows.repeat_interleave(wanted.shape[1])
        gains = law.rows(flat_rows).log_prob(logits.flatten(0, 1), wanted.flatten()).view(wanted.shape)
        is_real = torch.arange(wanted.shape[1], device=device) < lengths[:, None]
        gains = torch.where(is_real, gains, torch.zeros_like(gains))
        log_prob = log_prob.index_add(0, rows, gains.sum(1))


def write_on(
    steps: list[list[list[int]]],
    contexts: Sequence[list[int]],
    answers: Sequence[str],
    decode: Callable[[list[list[int]], Sequence[list[int]]], list[str]],
    is_end: Callable[[list[int], str], bool],
) -> tuple[list[list[str]], list[bool], list[bool]]:
    """Decode the steps of each row, each after those before it.

    Parameters
    ----------
    steps : list of list of list of int, length R
    contexts, answers : sequence of (list of int, or str), length R
        The last tokens of each row, and its text so far.
    decode : callable
        Texts of blocks after contexts.
    is_end : callable
        Whether an answer, of which block and text are given, is finished.

    Returns
    -------
    texts : list of list of str
    ended, possible : list of bool
        Whether the row is finished with its last step, and not before.
    """
    texts: list[list[str]] = [[] for _ in steps]
    contexts, answers = list(contexts), list(answers)
    ended, possible = [False] * len(steps), [True] * len(steps)
    for s in range(max(map(len, steps))):
        going = [row for row, own in enumerate(steps) if s < len(own)]
        blocks = [steps[row][s] for row in going]
        for row, block, text in zip(going, blocks, decode(blocks, [contexts[row] for row in going]), strict=True):
            possible[row] &= not ended[row]
            texts[row].append(text)
            contexts[row], answers[row] = (contexts[row] + block)[-CONTEXT:], answers[row] + text
            ended[row] = is_end(block, answers[row])
    return texts, ended, possible
