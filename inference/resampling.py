r"""Resampling schemes: from weights to the ancestors of the next generation.

Every scheme is a function of weights ``(G, N)``, each row summing to one, that returns ancestors ``(G, N)``: particle
``i`` of group ``g`` continues particle ``ancestors[g, i]`` of the same group. All are unbiased: the expected number of
copies of particle ``i`` is :math:`N W_i`. They differ in the variance around it. A particle of weight zero is never chosen.

References
----------
Douc, Cappé, Moulines (2005), Comparison of resampling schemes for particle filtering, arXiv cs/0507025;
Gerber, Chopin, Whiteley (2019), Negative association, ordering and convergence of resampling methods, Annals of
Statistics 47, arXiv 1707.01845 (SSP).
"""

from __future__ import annotations

import difflib
from collections.abc import Callable

import torch
from torch import Tensor

__all__ = [
    "RESAMPLING_SCHEMES",
    "ResamplingScheme",
    "multinomial",
    "resampling_scheme",
    "residual",
    "ssp",
    "stratified",
    "systematic",
]

ResamplingScheme = Callable[[Tensor], Tensor]


def multinomial(weights: Tensor) -> Tensor:
    """Independent draws. The simplest scheme and the one of the largest variance."""
    return _inverse_cdf(weights, _uniform(weights, weights.shape))


def stratified(weights: Tensor) -> Tensor:
    """One draw in each of N strata of equal probability."""
    return _inverse_cdf(weights, (_ranks(weights) + _uniform(weights, weights.shape)) / weights.shape[-1])


def systematic(weights: Tensor) -> Tensor:
    """One uniform number shifts a regular grid: floor or ceiling of ``N W`` copies of each particle.

    The copies of different particles are not independent: where weights have a regular pattern, such as large and small by
    turns, the grid may fall in step with it, and the number of copies of many particles together then varies far more than
    by the other schemes. :func:`ssp` has no such pattern.
    """
    return _inverse_cdf(weights, (_ranks(weights) + _uniform(weights, (len(weights), 1))) / weights.shape[-1])


def residual(weights: Tensor) -> Tensor:
    """``floor(N W)`` copies of each particle for certain, the rest by independent draws from what is left."""
    size = weights.shape[-1]
    expected = weights * size
    copies = expected.floor()
    left = size - copies.sum(-1, keepdim=True)
    remainder = expected - copies
    # Where nothing is left to draw, the draws are not used; any weights will do.
    drawn = multinomial(torch.where(left > 0, remainder, weights))
    is_used = _ranks(weights) < left
    copies = copies.scatter_add(-1, drawn, is_used.to(copies.dtype))
    return _ancestors(copies)


def ssp(weights: Tensor) -> Tensor:
    """Srinivasan sampling process: floor or ceiling copies, negatively associated, so always at least as good as iid.

    Fractions of two particles at a time are moved from one to the other until one of them is a whole number.
    """
    size = weights.shape[-1]
    expected = weights * size
    copies = expected.floor()
    fractions = expected - copies
    uniforms = _uniform(weights, weights.shape)
    first = torch.zeros(len(weights), 1, dtype=torch.long, device=weights.device)
    for other in range(1, size):
        second = torch.full_like(first, other)
        p, q = fractions.gather(-1, first), fractions.gather(-1, second)
        # Moving `up` to the first, or `down` from it, makes one of the two whole; the chances keep the expectation.
        up, down = torch.minimum(1 - p, q), torch.minimum(p, 1 - q)
        gains = uniforms[:, other : other + 1] * (up + down) < down
        change = torch.where(gains, up, -down)
        p, q = p + change, q - change
        # By the choice of `up` and `down` exactly the first or the second is whole now; go on with the one that is not.
        first_is_whole = torch.where(gains, 1 - fractions.gather(-1, first) <= up, fractions.gather(-1, first) <= down)
        p = torch.where(first_is_whole, p.round(), p)
        q = torch.where(first_is_whole, q, q.round())
        fractions = fractions.scatter(-1, first, p).scatter(-1, second, q)
        first = torch.where(first_is_whole, second, first)
    # One fraction is left over, 0 or 1 but for rounding; it takes what makes the total right.
    fractions = fractions.round().scatter(-1, first, torch.zeros_like(first, dtype=fractions.dtype))
    copies = copies + fractions
    copies = copies.scatter_add(-1, first, size - copies.sum(-1, keepdim=True))
    return _ancestors(copies)


RESAMPLING_SCHEMES: dict[str, ResamplingScheme] = {
    scheme.__name__: scheme for scheme in (multinomial, stratified, systematic, residual, ssp)
}
"""The schemes by name, for the command line."""


def resampling_scheme(name: str) -> ResamplingScheme:
    """Look up a scheme by its name.

    Raises
    ------
    ValueError
        If there is no such scheme; the message lists those there are.
    """
    try:
        return RESAMPLING_SCHEMES[name]
    except KeyError:
        near = difflib.get_close_matches(name, RESAMPLING_SCHEMES, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"expected a resampling scheme among {', '.join(RESAMPLING_SCHEMES)}, got {name!r}{hint}") from None


def _uniform(weights: Tensor, shape: tuple[int, ...]) -> Tensor:
    return torch.rand(shape, dtype=weights.dtype, device=weights.device)


def _ranks(weights: Tensor) -> Tensor:
    return torch.arange(weights.shape[-1], device=weights.device).expand(weights.shape)


def _inverse_cdf(weights: Tensor, uniforms: Tensor) -> Tensor:
    """Smallest index whose cumulative weight exceeds each uniform number; such an index has a weight above zero."""
    cdf = weights.cumsum(-1)
    cdf = cdf / cdf[..., -1:]  # rounding may leave the last one below 1, where no index would be found
    below_one = 1 - torch.finfo(cdf.dtype).eps / 2
    return torch.searchsorted(cdf, uniforms.clamp(max=below_one).contiguous(), right=True)


def _ancestors(copies: Tensor) -> Tensor:
    """Ancestors in ascending order from numbers of copies that sum to N."""
    return torch.searchsorted(copies.cumsum(-1), _ranks(copies).to(copies.dtype) + 0.5)
