"""The errors of the library.

A user's mistake is a ``ValueError`` or a ``TypeError``. What fails while the library is at work is a subclass of
:class:`PPLScalingError`, so that one ``except`` clause catches all of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ppl_scaling.smc_failed import AllWeightsZeroError

__all__ = [
    "AllWeightsZeroError",
    "BackendError",
    "ConstantScoreError",
    "MemoryExhaustedError",
    "NoAnswerError",
    "PPLScalingError",
    "ScoreError",
]


class PPLScalingError(Exception):
    """Base class of every failure of the library itself."""


class ScoreError(PPLScalingError):
    """A log-probability or a score is NaN or plus infinity.

    Attributes
    ----------
    step : int
        The step at which it appeared.
    particle : int
        The first particle (slot in the batch) that has it.
    """

    def __init__(self, what: str, value: float, step: int, particle: int) -> None:
        super().__init__(
            f"{what} of particle {particle} at step {step} is {value}; expected a finite number or minus infinity"
        )
        self.step = step
        self.particle = particle


class ConstantScoreError(PPLScalingError):
    """A reward model gives one and the same score to everything, so it carries no information."""


class NoAnswerError(PPLScalingError):
    """No particle reached an answer, so there is no posterior over answers to choose from."""


class BackendError(PPLScalingError):
    """A checkpoint cannot be loaded, or a loaded model cannot do what was asked of it."""


class MemoryExhaustedError(PPLScalingError):
    """There is no memory for even one row at a time.

    Attributes
    ----------
    num_tokens : int
        Length of the row.
    """

    def __init__(self, num_tokens: int) -> None:
        super().__init__(
            f"out of memory with a micro-batch of a single row of {num_tokens} tokens. Use a smaller dtype (bfloat16), "
            "fewer particles, a smaller max_tokens, or device_map to spread the model over several devices."
        )
        self.num_tokens = num_tokens


def __getattr__(name: str) -> Any:
    # This one is a kind of Pyro's, and Pyro takes seconds to import; help texts and mistakes need none of it.
    if name == "AllWeightsZeroError":
        from ppl_scaling.smc_failed import AllWeightsZeroError

        return AllWeightsZeroError
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
