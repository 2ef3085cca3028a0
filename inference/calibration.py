"""Fit a calibration of score logits to labelled prefixes: the posterior of its parameters, by Laplace's method or by NUTS.

Both work in coordinates in which the normal law around the mode is a standard one. A calibration has a handful of
parameters and its posterior is close to normal once there are some dozens of labels, so Laplace's method is the default.
Importance resampling corrects it: points come from a t law around the mode, which has heavier tails than the posterior.
Their weights say how far off it was (``pareto_k``), and give the evidence, by which calibrations are compared.

Labels are taken to be independent given the scores. Those of the prefixes of one solution, or of one problem, are not: give
them ``counts`` below 1, such as one over their number, or the posterior is narrower than it should be.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from numpy.typing import ArrayLike, NDArray
from pyro.infer import MCMC, NUTS
from torch import Tensor

from ppl_scaling.arguments import check_counts
from ppl_scaling.arviz_export import from_draws
from ppl_scaling.inference.optscale.convergence import PARETO_K, Convergence, chain_convergence
from ppl_scaling.inference.optscale.laplace import SLOPE, Mode, find_mode
from ppl_scaling.inference.optscale.log_joint import LogJoint
from ppl_scaling.inference.optscale.whitened import isolated
from ppl_scaling.inference.resampling import systematic
from ppl_scaling.log_weights import log_mean_exp
from ppl_scaling.models.calibration import Calibration
from ppl_scaling.models.calibration_posterior import CalibrationPosterior
from ppl_scaling.models.labels import LabelShare, check_labels
from ppl_scaling.pareto import pareto_k
from ppl_scaling.seeding import fresh_seed

__all__ = ["CalibrationFit", "fit_calibration"]

METHODS = ("laplace", "nuts")
SITE = "whitened"
_POINTS = 5  # for each draw
_DEGREES = 5.0
_CHUNK = 1_000_000  # entries of a table of points by labels that are worked on at once


@dataclass(frozen=True, eq=False, repr=False)
class CalibrationFit:
    """The posterior of a calibration, and whether it can be trusted.

    Attributes
    ----------
    method : str
        ``"laplace"`` or ``"nuts"``.
    calibration : Calibration
    draws : mapping of str to float array, shape (chain, draw)
        Of each parameter; Laplace's are in one chain, as good as independent.
    statistics : mapping of str to array, shape (chain, draw)
        Under the names of ArviZ: ``lp``, and for NUTS ``diverging``.
    diagnostics : Convergence
    log_evidence : float
        Log-probability of the labels under prior and map, by importance sampling; NaN for NUTS.
    score_logits, labels, counts : float array, shape (n,)
        What it was fitted to.
    seed : int
    """

    method: str
    calibration: Calibration
    draws: Mapping[str, NDArray[np.float64]]
    statistics: Mapping[str, NDArray[Any]]
    diagnostics: Convergence
    log_evidence: float
    score_logits: NDArray[np.float64]
    labels: NDArray[np.float64]
    counts: NDArray[np.float64]
    seed: int

    def __repr__(self) -> str:
        warning = "" if self.converged else f", NOT CONVERGED: {'; '.join(self.diagnostics.reasons)}"
        return f"CalibrationFit({self.method}, {len(self.labels)} labels, {self.posterior!r}{warning})"

    @property
    def converged(self) -> bool:
        """Whether nothing speaks against the draws; the reasons are in ``diagnostics.reasons`` and in the repr."""
        return self.diagnostics.converged

    @property
    def posterior(self) -> CalibrationPosterior:
        """All draws, for :class:`~ppl_scaling.models.CalibratedLikelihood`."""
        return CalibrationPosterior(self.calibration, {name: array.reshape(-1) for name, array in self.draws.items()})

    def to_arviz(self) -> Any:
        """Give draws, log-likelihoods and labels to ArviZ, so that calibrations can be compared by LOO.

        Returns
        -------
        arviz.InferenceData or xarray.DataTree
        """
        shape = next(iter(self.draws.values())).shape
        points = torch.stack([torch.from_numpy(self.draws[name].reshape(-1, 1)) for name in self.calibration.parameters])
        logits, labels, counts = (torch.from_numpy(one) for one in (self.score_logits, self.labels, self.counts))
        mapped = self.calibration.transform(logits, dict(zip(self.calibration.parameters, points, strict=True)))
        log_likelihood = LabelShare(mapped, counts).log_prob(labels).reshape(*shape, -1).numpy()
        return from_draws(
            self.draws,
            log_likelihood={"label": log_likelihood},
            sample_stats=self.statistics,
            observed_data={"label": self.labels},
            constant_data={"score_logits": self.score_logits, "counts": self.counts, "calibration": repr(self.calibration)},
            attrs={"method": self.method, "seed": self.seed},
        )


def fit_calibration(
    calibration: Calibration,
    score_logits: ArrayLike | Tensor,
    labels: ArrayLike | Tensor,
    *,
    counts: ArrayLike | Tensor | None = None,
    method: str = "laplace",
    num_draws: int = 400,
    num_chains: int = 4,
    num_warmup: int = 150,
    seed: int | None = None,
) -> CalibrationFit:
    """Fit a calibration to labelled scores.

    Parameters
    ----------
    calibration : Calibration
        The map and the prior of its parameters.
    score_logits : array, shape (n,)
        Logits of the scores of the prefixes, finite.
    labels : array, shape (n,)
        1 for a right prefix and 0 for a wrong one, or the share of several labels or the probability that it is right.
    counts : array, shape (n,), or float, optional
        How many labels each share stands for; default 1. Need not be whole numbers.
    method : {"laplace", "nuts"}
    num_draws : int
        In all for Laplace, of each chain for NUTS.
    num_chains, num_warmup : int
        For NUTS.
    seed : int, optional
        The global random state is left as it was. Without it one is drawn from torch's generator.

    Returns
    -------
    CalibrationFit

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong kind or out of its range.

    Examples
    --------
    >>> from ppl_scaling.models import TemperatureCalibration
    >>> fit = fit_calibration(TemperatureCalibration(), [4.0, 4.0, -4.0, -4.0], [1, 0, 0, 1], seed=0)
    >>> bool(fit.draws["log_temperature"].mean() > 0.5)
    True
    """
    if not isinstance(calibration, Calibration):
        raise TypeError(f"expected a Calibration, got {type(calibration).__name__}")
    if method not in METHODS:
        raise ValueError(f"expected method among {', '.join(METHODS)}, got {method!r}")
    check_counts(num_draws=num_draws, num_chains=num_chains, num_warmup=num_warmup)
    if num_draws < 8:
        raise ValueError(f"expected num_draws >= 8, to judge the fit by, got {num_draws}")
    logits, checked, number = check_labels(score_logits, labels, counts)
    if checked is None:
        raise TypeError("expected labels, got None")
    seed = fresh_seed() if seed is None else seed
    with isolated(seed), pyro.validation_enabled(False):
        joint = _LabelLogJoint(calibration, logits, checked, number)
        mode = find_mode(joint, joint.start())
        fitted = (
            _laplace(joint, mode, num_draws)
            if method == "laplace"
            else _nuts(joint, mode, num_draws, num_chains, num_warmup, seed)
        )
    draws, statistics, diagnostics, log_evidence = fitted
    return CalibrationFit(
        method,
        calibration,
        draws,
        statistics,
        diagnostics,
        log_evidence,
        score_logits=logits.numpy().copy(),
        labels=checked.numpy().copy(),
        counts=number.numpy().copy(),
        seed=seed,
    )


class _LabelLogJoint(LogJoint):
    """Log-joint density of the parameters of a calibration and the labels: that of its Pyro program."""

    batched = True

    def __init__(self, calibration: Calibration, logits: Tensor, labels: Tensor, counts: Tensor) -> None:
        self._calibration, self._logits, self._labels, self._counts = calibration, logits, labels, counts
        self.shared = torch.arange(len(calibration.parameters))
        self.local = torch.empty((0, 0), dtype=torch.long)

    def __call__(self, point: Tensor) -> Tensor:
        """Log-joint density at ``point`` of shape (..., D), normalised."""
        values = self.constrain(point)
        columns = {name: value.unsqueeze(-1) for name, value in values.items()}
        law = LabelShare(self._calibration.transform(self._logits, columns), self._counts, validate_args=False)
        return self._calibration.prior.log_prob(values) + law.log_prob(self._labels).sum(-1)

    def start(self) -> Tensor:
        """Return the prior's centre."""
        location = self._calibration.prior.location
        return torch.tensor([location[name] for name in self._calibration.parameters], dtype=torch.float64)

    def constrain(self, points: Tensor) -> dict[str, Tensor]:
        """Name the columns of ``points``."""
        return dict(zip(self._calibration.parameters, points.unbind(-1), strict=True))

    def many(self, points: Tensor) -> Tensor:
        """Log-joint density at points of shape (S, D), few at a time."""
        size = max(1, _CHUNK // len(self._logits))
        with torch.no_grad():
            return torch.cat([self(part) for part in points.split(size)])


_Fitted = tuple[dict[str, NDArray[np.float64]], dict[str, NDArray[Any]], Convergence, float]


def _laplace(joint: _LabelLogJoint, mode: Mode, num_draws: int) -> _Fitted:
    size = _POINTS * num_draws
    around = dist.MultivariateStudentT(
        torch.tensor(_DEGREES, dtype=torch.float64),
        torch.zeros(joint.size, dtype=torch.float64),
        torch.eye(joint.size, dtype=torch.float64),
    )
    whitened = around.sample((size,))
    points = mode.whitening(whitened)
    log_volume = torch.linalg.slogdet(mode.whitening.shared_factor).logabsdet
    log_p = joint.many(points)
    log_weights = log_p - (around.log_prob(whitened) - log_volume)
    reasons = []
    if not (mode.steepest < SLOPE and mode.positive):
        reasons.append(f"the climb stopped on a slope of {mode.steepest:.2g} nats a standard deviation: take method='nuts'")
    index = pareto_k(log_weights.numpy())
    if index > PARETO_K:
        reasons.append(
            f"the Pareto index of the importance weights is {index:.2f}, expected at most {PARETO_K}: take method='nuts'"
        )
    chosen = systematic(torch.softmax(log_weights, 0)[None])[0]  # as many as there are points; every so many-th is kept
    chosen = chosen[torch.randint(_POINTS, ()) :: _POINTS][torch.randperm(num_draws)]
    draws = {name: value[chosen][None].numpy() for name, value in joint.constrain(points).items()}
    diagnostics = Convergence({}, {}, 0, index, tuple(reasons))
    return draws, {"lp": log_p[chosen][None].numpy()}, diagnostics, float(log_mean_exp(log_weights))


def _nuts(joint: _LabelLogJoint, mode: Mode, num_draws: int, num_chains: int, num_warmup: int, seed: int) -> _Fitted:
    def potential(values: dict[str, Tensor]) -> Tensor:
        return -joint(mode.whitening(values[SITE]))

    chains, diverging = [], np.zeros((num_chains, num_draws), dtype=bool)
    for chain, chain_seed in enumerate(np.random.SeedSequence(seed).generate_state(num_chains)):
        pyro.set_rng_seed(int(chain_seed))
        sampler = MCMC(
            NUTS(potential_fn=potential, step_size=0.5, full_mass=True, max_tree_depth=6),
            num_samples=num_draws,
            warmup_steps=num_warmup,
            initial_params={SITE: torch.randn(joint.size, dtype=torch.float64)},
            disable_progbar=True,
        )
        sampler.run()
        diverging[chain, sampler.diagnostics()["divergences"]["chain 0"]] = True
        chains.append(mode.whitening(sampler.get_samples()[SITE]))
    points = torch.stack(chains)
    draws = {name: value.numpy() for name, value in joint.constrain(points).items()}
    lp = joint.many(points.flatten(0, 1)).reshape(num_chains, num_draws).numpy()
    return draws, {"lp": lp, "diverging": diverging}, chain_convergence(draws, diverging), math.nan
