r"""Any likelihood with the PRM's scores calibrated first, and the uncertainty of the calibration carried along if asked.

A :class:`~ppl_scaling.models.calibration_posterior.CalibrationPosterior` holds draws of :math:`\theta`, the parameters of
an increasing map :math:`g_\theta` of logits. Write :math:`L(l_{1:T})` for the likelihood of an answer whose scores have the
logits :math:`l_{1:T}`. There are three ways to use the map, each with its own target:

``"plug_in"``
    :math:`p_\mathrm{LM}(x)\, L(g_{\bar\theta}(l_{1:T}))`, with the posterior mean :math:`\bar\theta` taken for certain.
``"marginal"``
    :math:`p_\mathrm{LM}(x)\, L(\bar g(l_{1:T}))` with :math:`\sigma(\bar g(l)) = E_\theta[\sigma(g_\theta(l))]`: each score
    becomes the probability that all draws together give it. The averaged map is an increasing one too.
``"latent"``
    :math:`p(\theta)\, p_\mathrm{LM}(x)\, L(g_\theta(l_{1:T}))`, a joint law of answer and map: every particle draws a map
    once, at the site ``calibration`` (the number of the draw), and keeps it. Over answers that is
    :math:`p_\mathrm{LM}(x)\, E_\theta[L(g_\theta(l_{1:T}))]`: a map errs in the same way at all steps of an answer. The
    particles' own maps are among the latents of a result.

Under ``TwistLikelihood`` with ``beta=1``, :math:`L` is the last score, and ``"marginal"`` and ``"latent"`` have the same law
of answers and the same evidence. Otherwise they differ, as :math:`E[\prod_t r_t] \ne \prod_t E[r_t]` and
:math:`E[r^\beta] \ne E[r]^\beta`. Mind what ``"latent"`` says: :math:`y = 1` is then evidence about the map as well, and
generous maps gain weight. That is right where the observations have been made, and not where :math:`y = 1` is a wish; for
answers to a problem ``"marginal"`` is the one to take. Maps are not renewed, so with few particles resampling leaves few of
them.

Calibration and the power
-------------------------
If a value function is calibrated, ``TwistLikelihood(beta=1)`` has the target
:math:`p_\mathrm{LM}(x)\, P(\text{right} \mid x)`: the law of *right* answers, and its evidence is the language model's rate
of right answers. A power is something else: with ``beta=8`` the target is the law of answers that eight independent verdicts
would all call right. It says how much more an answer counts for being surer; a map does not take its place.

Nor is a temperature a power. Far below zero :math:`\beta \log \sigma(l) \approx \beta l`, and dividing logits by :math:`T`
is as good as the power :math:`1 / T`. Far above zero :math:`\beta \log \sigma(l) \approx -\beta e^{-l}`: a power multiplies
the doubt that is left, a temperature takes it to the power :math:`1 / T`. So a low temperature makes high scores all the
same, and a high power tells them apart. Only under ``OddsLikelihood``, whose increments are logits, are they one thing,
:math:`\beta / (\tau T)`; and there an offset :math:`c` of the map is a reward of :math:`\beta c / \tau` for every step. A
recommended power (``likelihood_beta``) was chosen for scores as they are: choose it again with calibrated ones.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

from ppl_scaling.models.calibration_posterior import CalibrationPosterior
from ppl_scaling.models.likelihoods import Likelihood

__all__ = ["UNCERTAINTIES", "CalibratedLikelihood"]

UNCERTAINTIES = ("plug_in", "marginal", "latent")
"""Ways to use a calibration of which there are draws."""

SITE = "calibration"


class _Mapped(Likelihood):
    """A likelihood of mapped logits."""

    def __init__(self, likelihood: Likelihood) -> None:
        super().__init__(likelihood.beta)
        self.likelihood = likelihood
        self.ess_threshold = likelihood.ess_threshold

    @abstractmethod
    def calibrate(self, score_logits: Tensor) -> Tensor:
        """Map the logits."""

    def log_increment(self, score_logits: Tensor, previous_score_logits: Tensor) -> Tensor:
        """Increment of the likelihood within, of mapped logits."""
        return self.likelihood.log_increment(self.calibrate(score_logits), self.calibrate(previous_score_logits))

    def observe(
        self,
        name: str,
        score_logits: Tensor,
        previous_score_logits: Tensor,
        active: Tensor,
        beta: Tensor | None = None,
    ) -> None:
        """Make the site that the likelihood within makes, of mapped logits."""
        after, before = self.calibrate(score_logits), self.calibrate(previous_score_logits)
        self.likelihood.observe(name, after, before, active, beta)


class CalibratedLikelihood(_Mapped):
    r"""A likelihood of calibrated scores; see the module for its targets.

    It has the power and the recommended ``ess_threshold`` of the likelihood within.

    Parameters
    ----------
    likelihood : Likelihood
        What calibrated scores say: any but a calibrated one.
    calibration : CalibrationPosterior
    uncertainty : {"plug_in", "marginal", "latent"}
        ``"latent"`` needs a program that lets its likelihood put latents into the state, as ``LanguageModelStateSpace``
        does, and a method that takes programs with latents.

    Raises
    ------
    TypeError, ValueError
        If an argument is something else.

    Examples
    --------
    >>> from ppl_scaling.models import PlattCalibration, TwistLikelihood
    >>> known = CalibrationPosterior(PlattCalibration(), {"log_slope": [0.0], "offset": [-1.0]})
    >>> likelihood = CalibratedLikelihood(TwistLikelihood(), known)
    >>> start = torch.tensor(torch.inf, dtype=torch.float64)
    >>> round(likelihood.log_increment(torch.tensor(1.0, dtype=torch.float64), start).exp().item(), 3)
    0.5
    """

    def __init__(self, likelihood: Likelihood, calibration: CalibrationPosterior, uncertainty: str = "plug_in") -> None:
        if not isinstance(likelihood, Likelihood) or isinstance(likelihood, _Mapped):
            raise TypeError(f"expected a Likelihood that is not calibrated yet, got {type(likelihood).__name__}")
        if not isinstance(calibration, CalibrationPosterior):
            raise TypeError(f"expected a CalibrationPosterior, got {type(calibration).__name__}")
        if uncertainty not in UNCERTAINTIES:
            raise ValueError(f"expected uncertainty among {', '.join(UNCERTAINTIES)}, got {uncertainty!r}")
        super().__init__(likelihood)
        self.calibration = calibration
        self.uncertainty = uncertainty

    def __repr__(self) -> str:
        return f"CalibratedLikelihood({self.likelihood!r}, {self.calibration!r}, uncertainty={self.uncertainty!r})"

    def calibrate(self, score_logits: Tensor) -> Tensor:
        """Map logits as ``uncertainty`` says.

        Raises
        ------
        TypeError
            If each particle has a map of its own; :meth:`given` knows them.
        """
        if self.uncertainty == "latent":
            raise TypeError(
                "expected a likelihood without latents, got a calibration with uncertainty='latent': its maps are in the "
                "state of a run; elsewhere take 'marginal', or calibration.at(index)"
            )
        if self.uncertainty == "plug_in":
            return self.calibration.plug_in(score_logits)
        return self.calibration.marginal(score_logits)

    def init(self, state: Any) -> None:
        """Draw a map for each particle if they are latent."""
        if self.uncertainty == "latent":
            equal = torch.zeros(self.calibration.num_draws, dtype=torch.float64, device=state["finished"].device)
            state[SITE] = pyro.sample(SITE, dist.Categorical(logits=equal))

    def given(self, state: Any, slots: Tensor | None = None) -> Likelihood:
        """Return the likelihood of the particles with their own maps if they are latent."""
        if self.uncertainty != "latent":
            return self
        index = state[SITE] if slots is None else state[SITE].index_select(0, slots)
        return _OfDraws(self.likelihood, self.calibration, index)


class _OfDraws(_Mapped):
    """Each particle's logits mapped by a draw of its own."""

    def __init__(self, likelihood: Likelihood, calibration: CalibrationPosterior, index: Tensor) -> None:
        super().__init__(likelihood)
        self._calibration, self._index = calibration, index

    def calibrate(self, score_logits: Tensor) -> Tensor:
        """Map logits whose leading dimension is the particle."""
        return self._calibration.of_draws(score_logits, self._index)
