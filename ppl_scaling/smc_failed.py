"""The failure of a particle filter, which is Pyro's as well; import it from :mod:`ppl_scaling.errors`."""

from __future__ import annotations

from pyro.infer.smcfilter import SMCFailed

from ppl_scaling.errors import PPLScalingError

__all__ = ["AllWeightsZeroError"]


class AllWeightsZeroError(PPLScalingError, SMCFailed):
    """Every particle of a group has log-weight minus infinity.

    It is also Pyro's ``SMCFailed``, so that code written for ``pyro.infer.SMCFilter`` catches it.

    Attributes
    ----------
    step : int
        The step at which the last particle died; 0 is ``init``.
    group : int
        The group of particles that died.
    site : str
        The site of the program after which none was left.
    """

    def __init__(self, step: int, group: int, site: str) -> None:
        super().__init__(
            f"all particles of group {group} have weight zero after site '{site}' of step {step}: no particle is "
            "possible under the model. Use more particles, a proposal that covers the likelihood, or a smaller beta."
        )
        self.step = step
        self.group = group
        self.site = site
