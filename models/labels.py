"""Labels of prefixes: their law given the logits of their probability, and the checks of what users give."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
from pyro.distributions import Binomial, constraints
from pyro.distributions.torch_distribution import TorchDistribution
from torch import Tensor
from torch.nn.functional import logsigmoid

__all__ = ["LabelShare", "check_labels"]


class LabelShare(TorchDistribution):
    r"""Share :math:`y` of ``counts`` labels that are 1, each with probability :math:`\sigma(l)`.

    The log-density is :math:`n\,(y \log \sigma(l) + (1 - y) \log \sigma(-l))`: that of the labels one by one, without the
    number of their orders, which no parameter depends on. With one label it is Bernoulli's. A soft label :math:`y` with
    :math:`n = 1` counts its cross entropy: the mean log-density of a label that is right with probability :math:`y`.

    Parameters
    ----------
    logits : Tensor
    counts : Tensor or float, default 1
        Above 0. Below 1 they take weight from labels that hang together, as those of one solution.
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}
    support = constraints.unit_interval
    has_rsample = False

    def __init__(self, logits: Tensor, counts: Tensor | float = 1.0, *, validate_args: bool | None = None) -> None:
        self.logits, self.counts = torch.broadcast_tensors(logits, torch.as_tensor(counts, dtype=logits.dtype))
        super().__init__(self.logits.shape, validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> LabelShare:
        """Expand to ``batch_shape``."""
        return LabelShare(self.logits.expand(batch_shape), self.counts.expand(batch_shape), validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-density of the labels that ``value`` is the share of."""
        if self._validate_args:
            self._validate_sample(value)
        return self.counts * (value * logsigmoid(self.logits) + (1 - value) * logsigmoid(-self.logits))

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Draw labels; ``counts`` must be whole numbers."""
        with torch.no_grad():
            return (
                Binomial(self.counts, logits=self.logits, validate_args=True).sample(torch.Size(sample_shape)) / self.counts
            )


def check_labels(score_logits: Any, labels: Any = None, counts: Any = None) -> tuple[Tensor, Tensor | None, Tensor]:
    """Check labelled scores and return logits, labels and counts in float64, each of shape (n,).

    Raises
    ------
    TypeError
        If one of them is no array of numbers.
    ValueError
        If shapes differ or a number is out of its range.
    """
    logits = _numbers("score_logits", score_logits)
    if logits.ndim != 1 or not len(logits):
        raise ValueError(f"expected score_logits of shape (n,) with n >= 1, got {tuple(logits.shape)}")
    _all("score_logits to be finite, as no map moves a score of exactly 0 or 1 (leave those out)", logits, logits.isfinite())
    checked = None
    if labels is not None:
        checked = _numbers("labels", labels)
        if checked.shape != logits.shape:
            raise ValueError(f"expected one label for each of the {len(logits)} scores, got shape {tuple(checked.shape)}")
        _all("labels between 0 and 1", checked, (checked >= 0) & (checked <= 1))
    number = torch.ones_like(logits)
    if counts is not None:
        number = _numbers("counts", counts)
        if number.shape not in (logits.shape, ()):
            raise ValueError(f"expected one count for each of the {len(logits)} scores, got shape {tuple(number.shape)}")
        number = number.expand(logits.shape)
        _all("counts to be finite and above 0", number, number.isfinite() & (number > 0))
    return logits, checked, number


def _numbers(name: str, values: Any) -> Tensor:
    array = values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
    if array.dtype.kind not in "fiub":
        raise TypeError(f"expected {name} to be numbers, got {values!r}")
    return torch.from_numpy(array.astype(np.float64))


def _all(wanted: str, values: Tensor, right: Tensor) -> None:
    if not bool(right.all()):
        position = int((~right).nonzero()[0])
        raise ValueError(f"expected {wanted}, got {values[position].item()} at position {position}")
