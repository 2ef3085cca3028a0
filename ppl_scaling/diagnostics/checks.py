"""A check of a result and a report of many: value, threshold with its reason, verdict and advice."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ppl_scaling.diagnostics.particle_trace import ParticleTrace

__all__ = ["STATUSES", "HealthCheck", "HealthReport", "judge"]

STATUSES = ("bad", "warn", "unknown", "ok")
"""Verdicts, the gravest first."""


@dataclass(frozen=True)
class HealthCheck:
    """One number and the verdict on it.

    Attributes
    ----------
    name : str
    value : float
        NaN if the result can't tell.
    threshold : str
        From where on it is not ``"ok"``, as ``"warn below 4, bad below 2"``.
    reason : str
        Why there.
    status : {"ok", "warn", "bad", "unknown"}
        ``"unknown"``: the result can't tell, which is no reassurance.
    found : str
        What was found, such as "ESS fell to 1.3 of 16 at step 4".
    advice : str
        What to do about it; empty if there is nothing to do.
    worse : {"below", "above"}
        On which side of the threshold it is worse.
    """

    name: str
    value: float
    threshold: str
    reason: str
    status: str
    found: str
    advice: str
    worse: str

    @property
    def message(self) -> str:
        """What was found, and the advice."""
        return f"{self.found}: {self.advice}" if self.advice else self.found

    def to_dict(self) -> dict[str, Any]:
        """Return what can be written as JSON; a value that is not finite becomes None."""
        return {**vars(self), "value": self.value if math.isfinite(self.value) else None}


@dataclass(frozen=True, repr=False)
class HealthReport:
    """All checks of a result.

    Attributes
    ----------
    subject : str
        What was looked at, in a line.
    checks : tuple of HealthCheck
        In the order in which they are best read; look one up by its name, ``report["ess"]``.
    traces : tuple of ParticleTrace
        The steps of each particle filter that is part of the result.

    Examples
    --------
    >>> check = judge("ess", 1.3, warn=4, bad=2, worse="below", reason="...", found="ESS fell to 1.3", advice="raise it")
    >>> report = HealthReport("one run", (check,))
    >>> report
    HealthReport(one run: bad; bad: ess)
    >>> print(report)
    one run: bad
      bad      ess     1.3  ESS fell to 1.3: raise it
    """

    subject: str
    checks: tuple[HealthCheck, ...]
    traces: tuple[ParticleTrace, ...] = field(default=(), compare=False)

    @property
    def status(self) -> str:
        """The gravest verdict; ``"ok"`` if there are no checks, and what is unknown does not count."""
        found = {one.status for one in self.checks}
        return next((status for status in ("bad", "warn") if status in found), "ok")

    def __getitem__(self, name: str) -> HealthCheck:
        for one in self.checks:
            if one.name == name:
                return one
        raise KeyError(f"expected one of {', '.join(one.name for one in self.checks)}, got {name!r}")

    def __repr__(self) -> str:
        lists = []
        for status in STATUSES[:-1]:
            if names := [one.name for one in self.checks if one.status == status]:
                lists.append(f"{status}: {', '.join(names)}")
        return f"HealthReport({'; '.join([f'{self.subject}: {self.status}', *lists])})"

    def __str__(self) -> str:
        width = max((len(one.name) for one in self.checks), default=0)
        rows = [
            f"  {one.status:7}  {one.name:{width}}  {number(one.value):>6}  {one.message}"
            for one in sorted(self.checks, key=lambda one: STATUSES.index(one.status))
        ]
        return "\n".join([f"{self.subject}: {self.status}", *rows])

    def to_dict(self) -> dict[str, Any]:
        """Return what can be written as JSON."""
        return {
            "subject": self.subject,
            "status": self.status,
            "checks": [one.to_dict() for one in self.checks],
            "traces": [one.to_dict() for one in self.traces],
        }


def judge(
    name: str,
    value: float,
    *,
    warn: float,
    worse: str,
    reason: str,
    found: str,
    advice: str,
    bad: float | None = None,
) -> HealthCheck:
    """Hold a value against its thresholds.

    Parameters
    ----------
    name : str
    value : float
    warn, bad : float
        The thresholds; None for ``bad`` if nothing is as grave as that.
    worse : {"below", "above"}
        On which side of the thresholds.
    reason, found, advice : str
        As in :class:`HealthCheck`; the advice is left out if the verdict is ``"ok"``.
    """
    beyond = (lambda limit: value < limit) if worse == "below" else (lambda limit: value > limit)
    if math.isnan(value):
        status = "unknown"
    elif bad is not None and beyond(bad):
        status = "bad"
    else:
        status = "warn" if beyond(warn) else "ok"
    threshold = f"warn {worse} {number(warn)}" if warn != bad else ""
    if bad is not None:
        threshold += f"{', ' if threshold else ''}bad {worse} {number(bad)}"
    return HealthCheck(name, float(value), threshold, reason, status, found, "" if status == "ok" else advice, worse)


def number(value: float) -> str:
    """Write a number in three digits, and a dash for one that is not known."""
    return "-" if math.isnan(value) else f"{value:.3g}"


def unrounded(value: float) -> float:
    """Return 0 for what is below 1e-9, which no number of particles comes to but rounding does; NaN stays."""
    return 0.0 if abs(value) < 1e-9 else value


def smallest(values: NDArray[np.float64]) -> tuple[int, float]:
    """Return place and value of the smallest number of those that are known; 0 and NaN if none is."""
    known = np.flatnonzero(np.isfinite(values))
    if not len(known):
        return 0, math.nan
    place = int(known[values[known].argmin()])
    return place, float(values[place])


def gravest(found: Sequence[tuple[str, HealthCheck]]) -> HealthCheck:
    """Of one check made on several named parts, take the gravest verdict with the worst value, and say where it was."""

    def gravity(entry: tuple[str, HealthCheck]) -> tuple[int, float]:
        check = entry[1]
        value = 0.0 if math.isnan(check.value) else check.value
        return STATUSES.index(check.status), value if check.worse == "below" else -value

    place, worst = min(found, key=gravity)
    return worst if len(found) == 1 else replace(worst, found=f"{place}: {worst.found}")
