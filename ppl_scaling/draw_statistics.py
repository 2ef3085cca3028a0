"""Statistics of plain arrays of draws, by ArviZ and in one form whatever its version.

All draws have the same weight here. Who has weighted draws resamples them first.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ppl_scaling.arviz_export import arviz, build, is_new

__all__ = ["Comparison", "DrawsSummary", "Loo", "compare", "ess", "loo", "mcse", "rhat", "summary"]


@dataclass(frozen=True, eq=False)
class Loo:
    """Leave-one-out cross-validation by Pareto-smoothed importance sampling.

    Attributes
    ----------
    elpd : float
        Expected log pointwise predictive density of all observations together.
    standard_error : float
        Of ``elpd``, from the spread between observations.
    p_loo : float
        Effective number of parameters.
    pointwise : float array, shape (n,)
        What each observation adds to ``elpd``.
    pareto_k : float array, shape (n,)
        Above 0.7 the part of that observation is not to be trusted: it decides too much of the posterior.
    """

    elpd: float
    standard_error: float
    p_loo: float
    pointwise: NDArray[np.float64]
    pareto_k: NDArray[np.float64]


@dataclass(frozen=True)
class Comparison:
    """How one model stands among others.

    Attributes
    ----------
    name : str
    rank : int
        From 0, the best.
    elpd, standard_error, p_loo : float
        As in :class:`Loo`.
    difference : float
        ``elpd`` minus that of the best model: at most 0.
    difference_standard_error : float
        Of the difference, observation by observation, so usually much smaller than that of ``elpd``.
    weight : float
        In a mixture of the models that predicts best (stacking).
    num_bad : int
        Observations with a Pareto k above 0.7.
    """

    name: str
    rank: int
    elpd: float
    standard_error: float
    p_loo: float
    difference: float
    difference_standard_error: float
    weight: float
    num_bad: int


@dataclass(frozen=True)
class DrawsSummary:
    """What the draws of one number say.

    Attributes
    ----------
    name : str
        Of the variable, with the place in it if it has more than one number: ``"mu[2]"``.
    mean, standard_deviation : float
    mcse : float
        Monte-Carlo standard error of the mean.
    ess_bulk, ess_tail, rhat : float
        Rank-normalised; NaN where :func:`ess` and :func:`rhat` are.
    """

    name: str
    mean: float
    standard_deviation: float
    mcse: float
    ess_bulk: float
    ess_tail: float
    rhat: float


def loo(log_likelihood: ArrayLike, *, reff: float | None = None) -> Loo:
    """Leave-one-out cross-validation from the log-likelihood of every observation under every draw.

    It means something where the observations are exchangeable given the parameters, as completions of a problem are, and
    the draws have equal weights. ArviZ warns if it can't be trusted; ``pareto_k`` says for which observations.

    Parameters
    ----------
    log_likelihood : float array, shape (chain, draw, observation)
    reff : float, optional
        Effective number of draws relative to their number; default: estimated from the likelihoods.

    Raises
    ------
    ValueError
        If the array has another number of dimensions, or a number in it is not finite.
    """
    return _loo(_three_dimensional(log_likelihood, "the log-likelihood"), reff)[0]


def compare(log_likelihoods: Mapping[str, ArrayLike]) -> tuple[Comparison, ...]:
    """Rank models by how well they predict observations that are left out, each seen by all of them in the same order.

    Parameters
    ----------
    log_likelihoods : mapping of str to float array, shape (chain, draw, observation)
        By the name of the model. The numbers of chains and draws may differ.

    Returns
    -------
    tuple of Comparison
        The best first.

    Raises
    ------
    ValueError
        If there are fewer than two models, or they differ in the number of observations.
    """
    if len(log_likelihoods) < 2:
        raise ValueError(f"expected at least two models to compare, got {len(log_likelihoods)}")
    arrays = {name: _three_dimensional(one, f"the log-likelihood of {name!r}") for name, one in log_likelihoods.items()}
    counts = {name: one.shape[2] for name, one in arrays.items()}
    if len(set(counts.values())) > 1:
        raise ValueError(f"expected the same observations for every model, got numbers of them {counts}")
    found = {name: _loo(one, None) for name, one in arrays.items()}
    settings = {"round_to": "none"} if is_new() else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # ArviZ 0.23 calls pandas as pandas 3.1 no longer likes it
        table = arviz().compare({name: raw for name, (_, raw) in found.items()}, method="stacking", **settings)
    order = sorted(found, key=lambda name: -found[name][0].elpd)
    best = found[order[0]][0]
    rows = []
    for rank, name in enumerate(order):
        one = found[name][0]
        differences = one.pointwise - best.pointwise
        rows.append(
            Comparison(
                name=name,
                rank=rank,
                elpd=one.elpd,
                standard_error=one.standard_error,
                p_loo=one.p_loo,
                difference=float(differences.sum()),
                difference_standard_error=float(math.sqrt(len(differences)) * differences.std()),
                weight=float(table.loc[name, "weight"]),
                num_bad=int((one.pareto_k > 0.7).sum()),
            )
        )
    return tuple(rows)


def rhat(draws: ArrayLike) -> float:
    """Rank-normalised split R-hat of one number, shape (chain, draw): near 1 if the chains agree.

    NaN for fewer than two chains or four draws, for draws that are not all finite, and for draws that are all the same:
    then nothing can be told.
    """
    array = _chains(draws)
    if len(array) < 2 or not _tells(array):
        return math.nan
    # Where draws have two values, folding them at the median may leave one; then the other half of the diagnostic counts.
    with np.errstate(divide="ignore", invalid="ignore"):
        found = float(arviz().rhat(array))
        return float(arviz().rhat(array, method="z_scale")) if math.isnan(found) else found


def ess(draws: ArrayLike, *, method: str = "bulk") -> float:
    """Effective number of draws of one number, shape (chain, draw).

    ``method`` is ``"bulk"`` for the middle, ``"tail"`` for the 5 % and 95 % quantiles, ``"mean"`` for the mean as it is. NaN
    for fewer than four draws, for draws that are not all finite, and for draws that are all the same.
    """
    array = _chains(draws)
    tails = {"prob": (0.05, 0.95)} if method == "tail" else {}
    return float(arviz().ess(array, method=method, **tails)) if _tells(array) else math.nan


def mcse(draws: ArrayLike) -> float:
    """Monte-Carlo standard error of the mean of one number, shape (chain, draw); NaN where :func:`ess` is."""
    array = _chains(draws)
    return float(array.std(ddof=1) / math.sqrt(ess(array, method="mean"))) if _tells(array) else math.nan


def summary(draws: Mapping[str, ArrayLike]) -> tuple[DrawsSummary, ...]:
    """Describe the draws of variables, number by number, in the same way under every ArviZ.

    Parameters
    ----------
    draws : mapping of str to array, shape (chain, draw, ...)
        All with the same weight.

    Raises
    ------
    ValueError
        If a variable has no draws, or no dimensions for chain and draw.
    """
    rows = []
    for name, values in draws.items():
        array = np.asarray(values, dtype=np.float64)
        if array.ndim < 2 or 0 in array.shape[:2]:
            raise ValueError(f"expected {name} to begin with draws along chain and draw, got the shape {array.shape}")
        for place in np.ndindex(array.shape[2:]):
            one = array[(slice(None), slice(None), *place)]
            rows.append(
                DrawsSummary(
                    name=name + (f"[{', '.join(map(str, place))}]" if place else ""),
                    mean=float(one.mean()),
                    standard_deviation=float(one.std(ddof=1)) if one.size > 1 else math.nan,
                    mcse=mcse(one),
                    ess_bulk=ess(one),
                    ess_tail=ess(one, method="tail"),
                    rhat=rhat(one),
                )
            )
    return tuple(rows)


def _loo(array: NDArray[np.float64], reff: float | None) -> tuple[Loo, Any]:
    if reff is None:
        likelihood = np.exp(array - array.max(axis=(0, 1)))
        shares = [ess(likelihood[:, :, place], method="mean") for place in range(array.shape[2])]
        known = [share / array[:, :, 0].size for share in shares if not math.isnan(share)]
        reff = min(1.0, float(np.mean(known))) if known else 1.0
    data = build({"log_likelihood": {"y": (("chain", "draw", "observation"), array)}})
    found = arviz().loo(data, pointwise=True, reff=reff)
    if is_new():
        parts = (found.elpd, found.se, found.p, found.elpd_i, found.pareto_k)
    else:
        parts = (found.elpd_loo, found.se, found.p_loo, found.loo_i, found.pareto_k)
    elpd, error, p_loo, pointwise, pareto_k = parts
    return Loo(float(elpd), float(error), float(p_loo), np.array(pointwise, float), np.array(pareto_k, float)), found


def _three_dimensional(values: ArrayLike, what: str) -> NDArray[np.float64]:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 3 or 0 in array.shape:
        raise ValueError(f"expected {what} to have the shape (chain, draw, observation), got {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"expected {what} to be finite, got {int((~np.isfinite(array)).sum())} numbers that are not")
    return array


def _chains(draws: ArrayLike) -> NDArray[np.float64]:
    array = np.asarray(draws, dtype=np.float64)
    if array.ndim != 2:
        raise ValueError(f"expected draws of the shape (chain, draw), got {array.shape}")
    return array


def _tells(array: NDArray[np.float64]) -> bool:
    """Whether chains are long enough and not all the same."""
    return array.shape[1] >= 4 and array.size > 0 and bool(np.isfinite(array).all()) and bool(np.ptp(array) > 0)
