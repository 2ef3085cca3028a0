r"""The law of the next token: what a temperature, a set of tokens, top-k and top-p make of a language model's logits.

Pure functions of tensors, shared by the backends (which draw from a law) and the models (which name one). With logits
:math:`l` the law is proportional to :math:`\exp(l / \tau)` on the tokens that are kept and zero elsewhere. Truncation
follows the temperature; top-p follows top-k and refers to the probabilities after it. Tokens that tie with the last one
kept are kept too, so the law is a function of the logits alone.

References
----------
Fan, Lewis and Dauphin (2018), arXiv 1805.04833 (top-k); Holtzman et al. (2020), arXiv 1904.09751 (top-p).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ppl_scaling import host
from ppl_scaling.arguments import check_integer

__all__ = ["TokenLaw", "check_truncation", "draw_categorical"]

_CANDIDATES = 256  # top-p looks at this many of the most probable tokens before it looks at more
_BLOCK = 256


def check_truncation(top_k: int | None, top_p: float | None) -> None:
    """Check the settings of a truncation.

    Raises
    ------
    ValueError
        If ``top_k`` is below 1 or ``top_p`` is not in (0, 1].
    """
    if top_k is not None:
        check_integer("top_k", top_k)
    if top_p is not None and not 0 < top_p <= 1:
        raise ValueError(f"expected top_p to be in (0, 1], got {top_p!r}")


@dataclass(frozen=True, eq=False)
class TokenLaw:
    """How each row's next token is drawn from the logits.

    Attributes
    ----------
    temperature : Tensor, shape (R,)
        Divides the logits; above 0.
    top_k : int, optional
        Keep the k most probable tokens.
    top_p : float, optional
        Keep the fewest most probable tokens that have together at least this probability.
    allowed : Tensor, shape (V,), bool, optional
        Tokens that may be drawn at all; the others are taken out before any truncation.

    Raises
    ------
    ValueError
        If the truncation is out of its range, or ``allowed`` is of another form. Temperatures are not looked at: that
        would wait for the device.
    """

    temperature: Tensor
    top_k: int | None = None
    top_p: float | None = None
    allowed: Tensor | None = None

    def __post_init__(self) -> None:
        check_truncation(self.top_k, self.top_p)
        if self.allowed is not None and (self.allowed.dtype != torch.bool or self.allowed.dim() != 1):
            kind = f"{self.allowed.dtype} of shape {tuple(self.allowed.shape)}"
            raise ValueError(f"expected allowed to be a bool tensor of shape (V,), one entry for each token, got {kind}")

    def rows(self, rows: Tensor) -> TokenLaw:
        """Return the law of some of the rows, in the order of ``rows``."""
        chosen = TokenLaw(self.temperature[rows], self.top_k, self.top_p, self.allowed)
        if self.__dict__.get("is_untempered"):
            chosen.__dict__["is_untempered"] = True  # asking the device once is enough
        return chosen

    @cached_property
    def is_untempered(self) -> bool:
        """Whether every temperature is 1."""
        return host.is_true((self.temperature == 1).all())

    def agrees_with(self, other: TokenLaw) -> bool:
        """Whether the other law is the same for every row."""
        if self is other:
            return True
        if (self.top_k, self.top_p) != (other.top_k, other.top_p) or len(self.temperature) != len(other.temperature):
            return False
        if self.allowed is not other.allowed:  # two tensors that hold the same only cost a computation
            return False
        return host.is_true((self.temperature == other.temperature).all())

    def draw(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Draw a token for each row.

        Parameters
        ----------
        logits : Tensor, shape (R, V)

        Returns
        -------
        tokens, log_probs : Tensor, shape (R,)
            The log-probabilities are float64.
        """
        probabilities = torch.softmax(self._kept(logits), dim=-1)
        tokens = draw_categorical(probabilities)
        return tokens, probabilities.gather(1, tokens[:, None]).squeeze(1).double().log()

    def log_prob(self, logits: Tensor, tokens: Tensor) -> Tensor:
        """Log-probabilities, shape ``(R,)`` in float64, of ``tokens``, shape ``(R,)``."""
        kept = self._kept(logits)
        return kept.gather(1, tokens[:, None]).squeeze(1).double() - kept.logsumexp(-1).double()

    def log_probs(self, logits: Tensor) -> Tensor:
        """Log-probabilities, shape ``(R, V)``, of all tokens, in the dtype of the logits."""
        return torch.log_softmax(self._kept(logits), dim=-1)

    def _kept(self, logits: Tensor) -> Tensor:
        """Logits of the law, not normalised; minus infinity for tokens that are cut off."""
        if not self.is_untempered:
            logits = logits / self.temperature[:, None]
        if self.allowed is not None:
            if len(self.allowed) != logits.shape[-1]:
                size = f"{logits.shape[-1]} tokens that the model has logits for"
                raise ValueError(f"expected allowed to have an entry for each of the {size}, got {len(self.allowed)}")
            logits = logits.masked_fill(~self.allowed.to(logits.device), -math.inf)
        if self.top_k is not None:
            smallest = logits.topk(min(self.top_k, logits.shape[-1])).values[:, -1:]
            logits = logits.masked_fill(logits < smallest, -math.inf)
        if self.top_p is not None and self.top_p < 1:
            logits = logits.masked_fill(logits < _nucleus(logits, self.top_p), -math.inf)
        return logits


def draw_categorical(probabilities: Tensor) -> Tensor:
    """Draw an index for each row by inverting the distribution function, in float64.

    The function is summed over blocks first and within one block then, so only one uniform number is drawn for a row and
    no second table of the size of the vocabulary is made. An index of probability zero is never drawn.

    Parameters
    ----------
    probabilities : Tensor, shape (R, V)
        Not negative, with a positive sum in each row, which need not be 1.

    Returns
    -------
    Tensor, shape (R,), int64
    """
    num_rows, size = probabilities.shape
    uniform = torch.rand(num_rows, 1, dtype=torch.float64, device=probabilities.device)
    if size <= 8 * _BLOCK:  # small enough that one sum costs less than two
        cumulative = probabilities.double().cumsum(-1)
        return _first_above(cumulative, uniform * cumulative[:, -1:]).squeeze(1)
    whole = size // _BLOCK
    sums = probabilities[:, : whole * _BLOCK].unflatten(1, (whole, _BLOCK)).sum(-1)
    if size % _BLOCK:
        sums = torch.cat([sums, probabilities[:, whole * _BLOCK :].sum(-1, keepdim=True)], dim=1)
    cumulative = sums.double().cumsum(-1)
    target = uniform * cumulative[:, -1:]
    block = _first_above(cumulative, target)
    before = torch.where(block > 0, cumulative.gather(1, (block - 1).clamp(min=0)), torch.zeros_like(target))
    inside = block * _BLOCK + torch.arange(_BLOCK, device=probabilities.device)
    part = probabilities.gather(1, inside.clamp(max=size - 1)).double().masked_fill(inside >= size, 0.0)
    return (block * _BLOCK + _first_above(part.cumsum(-1), target - before)).squeeze(1)


def _first_above(cumulative: Tensor, target: Tensor) -> Tensor:
    """Index, shape ``(R, 1)``, of the first sum above the target, which rounding may have made reach the last sum."""
    last = cumulative[:, -1:]
    target = torch.minimum(target, torch.nextafter(last, torch.zeros_like(last)))
    return (cumulative <= target).sum(-1, keepdim=True)


def _nucleus(logits: Tensor, top_p: float) -> Tensor:
    """Smallest logit, shape ``(R, 1)``, of the fewest most probable tokens that have at least probability ``top_p``."""
    total = logits.logsumexp(-1, keepdim=True)
    num_candidates = min(_CANDIDATES, logits.shape[-1])
    while True:
        candidates = logits.topk(num_candidates).values
        reached = (candidates - total).double().exp().cumsum(-1) >= top_p
        if num_candidates == logits.shape[-1] or host.is_true(reached[:, -1].all()):
            first = (~reached).sum(-1, keepdim=True).clamp(max=num_candidates - 1)
            return candidates.gather(1, first)
        num_candidates = min(8 * num_candidates, logits.shape[-1])
