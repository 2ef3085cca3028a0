r"""The monotone maps of score logits: a temperature, a straight line, Kull's map, and any increasing shape.

References
----------
Platt (1999), Probabilistic outputs for support vector machines; Guo et al. (2017), On calibration of modern neural networks,
arXiv 1706.04599 (temperature); Kull, Silva Filho and Flach (2017), Beta calibration, AISTATS.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor
from torch.nn.functional import logsigmoid

from ppl_scaling.models.calibration import Calibration
from ppl_scaling.models.labels import check_labels
from ppl_scaling.models.scores.prior import Prior, Values

__all__ = [
    "CALIBRATIONS",
    "BetaCalibration",
    "MonotoneCalibration",
    "PlattCalibration",
    "TemperatureCalibration",
    "calibration_from",
]


class TemperatureCalibration(Calibration):
    r"""One temperature: :math:`g(l) = l / T`.

    It takes sharpness away (T > 1) or adds some, and leaves a score of one half where it is. **Prior**:
    ``log_temperature ~ Normal(0, 1)``, so that T is within 1/7 and 7 with probability .95: networks are known to be too
    sure by factors of one to three.

    Parameters
    ----------
    prior : Prior, optional
        Of ``log_temperature``.
    """

    name: ClassVar[str] = "temperature"

    @property
    def default_prior(self) -> Prior:
        """Centred on the identity."""
        return Prior({"log_temperature": 0.0}, {"log_temperature": 1.0})

    def transform(self, score_logits: Tensor, values: Values) -> Tensor:
        """Return ``l / T``."""
        return score_logits * torch.exp(-values["log_temperature"])


class PlattCalibration(Calibration):
    r"""A straight line: :math:`g(l) = a\,l + c` with :math:`a > 0`.

    The offset mends scores that are too high or too low throughout, as those of a PRM that was trained on easier problems.
    **Prior**: ``log_slope ~ Normal(0, 1)``, as for the temperature; ``offset ~ Normal(0, 2)``, which takes a score of one
    half anywhere between .02 and .98.

    Parameters
    ----------
    prior : Prior, optional
        Of ``log_slope`` and ``offset``.
    """

    name: ClassVar[str] = "platt"

    @property
    def default_prior(self) -> Prior:
        """Centred on the identity."""
        return Prior({"log_slope": 0.0, "offset": 0.0}, {"log_slope": 1.0, "offset": 2.0})

    def transform(self, score_logits: Tensor, values: Values) -> Tensor:
        """Return ``a l + c``."""
        return score_logits * torch.exp(values["log_slope"]) + values["offset"]


class BetaCalibration(Calibration):
    r"""Kull's map: :math:`g(l) = a \log s - b \log(1 - s) + c` with :math:`s = \sigma(l)` and :math:`a, b > 0`.

    In the logit it is a bend: slope a far below zero, b far above, so that low and high scores may err in different ways;
    ``a = b`` is a straight line. It is the right map if the scores of right and of wrong prefixes follow Beta laws.
    **Prior**: ``log_low_slope`` and ``log_high_slope ~ Normal(0, 1)``, ``offset ~ Normal(0, 2)``, as for the straight line.

    Parameters
    ----------
    prior : Prior, optional
        Of ``log_low_slope`` (a), ``log_high_slope`` (b) and ``offset``.
    """

    name: ClassVar[str] = "beta"

    @property
    def default_prior(self) -> Prior:
        """Centred on the identity."""
        names = ("log_low_slope", "log_high_slope", "offset")
        return Prior(dict.fromkeys(names, 0.0), dict(zip(names, (1.0, 1.0, 2.0), strict=True)))

    def transform(self, score_logits: Tensor, values: Values) -> Tensor:
        """Return ``a log s - b log(1 - s) + c``."""
        low = torch.exp(values["log_low_slope"]) * logsigmoid(score_logits)
        high = torch.exp(values["log_high_slope"]) * logsigmoid(-score_logits)
        return low - high + values["offset"]


class MonotoneCalibration(Calibration):
    r"""Any increasing shape, as isotonic regression, but continuous, with a prior and with straight tails.

    Between knots the map is linear in the logit, and its slope bends at each knot:
    :math:`\log a_k = \log a_{k-1} + \mathrm{bend}_k`. Beyond the outer knots it goes on straight, where isotonic regression
    would call every score the same. **Prior**: ``log_slope ~ Normal(0, 1)`` of the piece above the middle knot,
    ``offset ~ Normal(0, 2)`` at that knot, and ``bend_k ~ Normal(0, smoothing)``: a bend of one half, the default scale,
    changes the slope by two thirds. With few labels it is a straight line.

    Parameters
    ----------
    knots : sequence of float
        Logits, increasing; see :meth:`at_quantiles`.
    smoothing : float
        Scale of the bends: the smaller, the straighter.
    prior : Prior, optional
        Of ``log_slope``, ``offset`` and ``bend_1``, ``bend_2``, ...; takes the place of ``smoothing``.

    Raises
    ------
    ValueError
        If the knots do not increase, or ``smoothing`` is not above 0.
    """

    name: ClassVar[str] = "monotone"

    def __init__(
        self,
        knots: Sequence[float] = (-4.0, -2.0, 0.0, 2.0, 4.0),
        smoothing: float = 0.5,
        prior: Prior | None = None,
    ) -> None:
        self.knots = tuple(float(knot) for knot in knots)
        if not self.knots or not all(map(math.isfinite, self.knots)) or (np.diff(self.knots) <= 0).any():
            raise ValueError(f"expected knots that are finite and increase, got {list(knots)}")
        if not (math.isfinite(smoothing) and smoothing > 0):
            raise ValueError(f"expected smoothing to be a finite number > 0, got {smoothing}")
        self.smoothing = float(smoothing)
        super().__init__(prior)

    @classmethod
    def at_quantiles(
        cls, score_logits: ArrayLike | Tensor, num_knots: int = 5, smoothing: float = 0.5
    ) -> MonotoneCalibration:
        """Place the knots where logits are: at equally spaced quantiles, fewer where quantiles coincide."""
        if num_knots < 1:
            raise ValueError(f"expected num_knots >= 1, got {num_knots}")
        logits, _, _ = check_labels(score_logits)
        levels = np.arange(1, num_knots + 1) / (num_knots + 1)
        return cls(np.unique(np.quantile(logits.numpy(), levels)).tolist(), smoothing)

    @property
    def default_prior(self) -> Prior:
        """Centred on the identity."""
        bends = [f"bend_{number}" for number in range(1, len(self.knots) + 1)]
        scale = {"log_slope": 1.0, "offset": 2.0, **dict.fromkeys(bends, self.smoothing)}
        return Prior(dict.fromkeys(scale, 0.0), scale)

    @property
    def settings(self) -> dict[str, Any]:
        """Knots and smoothing."""
        return {"knots": list(self.knots), "smoothing": self.smoothing}

    def transform(self, score_logits: Tensor, values: Values) -> Tensor:
        """Add up the pieces between the middle knot and the logit."""
        middle = len(self.knots) // 2
        anchor = self.knots[middle]
        log_slope, bends = values["log_slope"], [values[f"bend_{number}"] for number in range(1, len(self.knots) + 1)]
        ends = (-math.inf, *self.knots, math.inf)
        total = anchor + values["offset"]
        for piece in range(len(self.knots) + 1):
            own = log_slope  # the piece above the middle knot has the slope itself
            for bend in bends[middle + 1 : piece]:
                own = own + bend
            for bend in bends[piece : middle + 1]:
                own = own - bend
            low, high = ends[piece], ends[piece + 1]
            covered = score_logits.clamp(low, high) - min(max(anchor, low), high)
            total = total + torch.exp(own) * covered
        return total


CALIBRATIONS: Mapping[str, type[Calibration]] = {
    one.name: one for one in (TemperatureCalibration, PlattCalibration, BetaCalibration, MonotoneCalibration)
}
"""The maps by name."""


def calibration_from(record: Mapping[str, Any]) -> Calibration:
    """Make a map from what :meth:`Calibration.to_dict` has returned.

    Raises
    ------
    ValueError
        If it is of another form.
    """
    try:
        kind = CALIBRATIONS[record["name"]]
        return kind(**record["settings"], prior=Prior(record["prior"]["location"], record["prior"]["scale"]))
    except (KeyError, TypeError) as error:
        raise ValueError(
            f"expected a calibration among {', '.join(CALIBRATIONS)} with its settings and prior: {error}"
        ) from None
