"""What is known of a calibration: draws of its parameters, and the three ways to use them on a score."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import logsigmoid

from ppl_scaling.drafts import draft_of
from ppl_scaling.models.calibration import Calibration
from ppl_scaling.models.calibration_maps import calibration_from

__all__ = ["CalibrationPosterior"]

_VERSION = 1


@dataclass(frozen=True, eq=False, repr=False)
class CalibrationPosterior:
    """A map of score logits and equally weighted draws of its parameters.

    One draw is a map that is known for certain.

    Attributes
    ----------
    calibration : Calibration
    draws : mapping of str to float array, shape (S,)

    Raises
    ------
    TypeError
        If ``calibration`` is no calibration.
    ValueError
        If a parameter has no draws, or they differ in number, or one is not finite.

    Examples
    --------
    >>> from ppl_scaling.models import PlattCalibration
    >>> known = CalibrationPosterior(PlattCalibration(), {"log_slope": [0.0], "offset": [-1.0]})
    >>> known.plug_in(torch.tensor([0.5, 1.0])).tolist()
    [-0.5, 0.0]
    """

    calibration: Calibration
    draws: Mapping[str, NDArray[np.float64]]

    def __post_init__(self) -> None:
        if not isinstance(self.calibration, Calibration):
            raise TypeError(f"expected a Calibration, got {type(self.calibration).__name__}")
        names = self.calibration.parameters
        if set(self.draws) != set(names):
            raise ValueError(f"expected draws of {', '.join(names)}, got {', '.join(self.draws) or 'none'}")
        arrays = {name: np.asarray(self.draws[name], dtype=np.float64) for name in names}
        shapes = {array.shape for array in arrays.values()}
        if len(shapes) > 1 or any(len(shape) != 1 or not shape[0] for shape in shapes):
            raise ValueError(f"expected draws of one shape (S,) with S >= 1, got {sorted(shapes)}")
        for name, array in arrays.items():
            if not np.isfinite(array).all():
                raise ValueError(f"expected the draws of {name} to be finite, got {array[~np.isfinite(array)][0]}")
        object.__setattr__(self, "draws", arrays)

    def __repr__(self) -> str:
        means = ", ".join(f"{name} {array.mean():.3g}±{array.std():.2g}" for name, array in self.draws.items())
        return f"CalibrationPosterior({self.calibration!r}, {self.num_draws} draws: {means})"

    @property
    def num_draws(self) -> int:
        """Number S of draws."""
        return len(next(iter(self.draws.values())))

    def plug_in(self, score_logits: Tensor) -> Tensor:
        """Map logits with the posterior mean of the parameters: one map, taken for certain."""
        values = {name: array.mean(keepdims=True) for name, array in self.draws.items()}
        return self._transform(score_logits.double().unsqueeze(-1), values).squeeze(-1)

    def marginal(self, score_logits: Tensor) -> Tensor:
        r"""Logit of :math:`E_\theta[\sigma(g_\theta(l))]`: the probability with the map's uncertainty averaged out.

        It is computed from logarithms of both probabilities, so that it is exact near 0 and 1.
        """
        mapped = self._transform(score_logits.double().unsqueeze(-1), self.draws)
        return torch.logsumexp(logsigmoid(mapped), -1) - torch.logsumexp(logsigmoid(-mapped), -1)

    def of_draws(self, score_logits: Tensor, index: Tensor) -> Tensor:
        """Map logits of shape (K, ...) with a draw for each row, ``index`` of shape (K,)."""
        logits = score_logits.double()
        shape = (-1, *[1] * (logits.dim() - 1))
        draws = {
            name: torch.as_tensor(array, device=logits.device).index_select(0, index).reshape(shape)
            for name, array in self.draws.items()
        }
        return self.calibration.transform(logits, draws)

    def at(self, index: int) -> CalibrationPosterior:
        """Take one draw for certain."""
        return CalibrationPosterior(self.calibration, {name: array[[index]] for name, array in self.draws.items()})

    def thinned(self, num_draws: int) -> CalibrationPosterior:
        """Keep ``num_draws`` draws at equal distances, or all if there are no more."""
        if num_draws < 1:
            raise ValueError(f"expected num_draws >= 1, got {num_draws}")
        kept = np.unique(np.linspace(0, self.num_draws - 1, min(num_draws, self.num_draws)).round().astype(int))
        return CalibrationPosterior(self.calibration, {name: array[kept] for name, array in self.draws.items()})

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write it to a JSON file, from which :meth:`load` reads exactly the same.

        Raises
        ------
        ValueError
            If the file can't be written.
        """
        draws = {name: array.tolist() for name, array in self.draws.items()}
        record = {"version": _VERSION, "calibration": self.calibration.to_dict(), "draws": draws}
        with draft_of(path, "a calibration") as draft:
            draft.write_text(json.dumps(record) + "\n", encoding="utf-8")
        return Path(path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> CalibrationPosterior:
        """Read what :meth:`save` has written.

        Raises
        ------
        ValueError
            If the file can't be read or holds something else.
        """
        try:
            record = json.loads(Path(path).read_text(encoding="utf-8"))
            if record["version"] != _VERSION:
                raise ValueError(f"expected version {_VERSION}, got {record['version']}")
            return cls(calibration_from(record["calibration"]), record["draws"])
        except OSError as error:
            raise ValueError(f"expected a calibration file, cannot read {path}: {error.strerror or error}") from None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"expected {path} to be a calibration file: {error}") from None

    def _transform(self, score_logits: Tensor, values: Mapping[str, NDArray[np.float64]]) -> Tensor:
        device = score_logits.device
        tensors = {name: torch.as_tensor(array, device=device) for name, array in values.items()}
        return self.calibration.transform(score_logits, tensors)
