"""What OptScale has decided and why, as lines of a table."""

from __future__ import annotations

import math

from ppl_scaling.inference import Result
from ppl_scaling.inference.optscale.evidence import Decision

__all__ = ["decision_rows"]

_LATEST = 8


def decision_rows(result: Result) -> list[tuple[str, str]]:
    """Name and text of each line; none for a result without decisions."""
    decisions = getattr(result, "decisions", ())
    if not decisions:
        return []
    last = decisions[-1]
    rows = [("stopped", f"after {last.num_seen} in {_counted(len(decisions), 'round')}: {last.reason}")]
    if len(decisions) > _LATEST:
        rows.append(("", f"({len(decisions) - _LATEST} earlier decisions)"))
    for one in decisions[-_LATEST:]:
        best = "no answer yet" if one.best is None else f"best score {one.best:.3f}"
        rows.append((f"after {one.num_seen}", f"{best}; {_outlook(one)}"))
    return rows


def _outlook(decision: Decision) -> str:
    if decision.required_interval is not None:
        low, high = (_number(end) for end in decision.required_interval)
        known = "" if decision.required is None else f"N* {_number(decision.required)} more "
        return f"{known}({low} to {high} with probability 0.9)"
    if decision.stop:
        return decision.because.replace("_", " ")
    return f"{decision.because.replace('_', ' ')}, {decision.further} more"


def _number(value: float) -> str:
    return "infinitely many" if math.isinf(value) else f"{value:,.0f}" if value < 1e9 else f"{value:.2g}"


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")
