"""Stopping rules put together: any of them, or all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ppl_scaling.inference.optscale.evidence import Decision, Evidence, StoppingRule

__all__ = ["AllOf", "AnyOf"]


@dataclass(frozen=True)
class AnyOf:
    """Stop as soon as one of several rules stops; else draw the fewest that one of them asks for.

    Parameters
    ----------
    rules : sequence of StoppingRule
        At least one.
    """

    rules: Sequence[StoppingRule]

    def __post_init__(self) -> None:
        _check_rules(self.rules)

    def decide(self, evidence: Evidence) -> Decision:
        """Return the decision of the first rule that stops, or else of the one that asks for fewest."""
        decisions = [rule.decide(evidence) for rule in self.rules]
        stopping = next((one for one in decisions if one.stop), None)
        return _with_numbers(stopping or min(decisions, key=lambda one: one.further), decisions)


@dataclass(frozen=True)
class AllOf:
    """Stop when all of several rules stop; else draw the most that one of them asks for.

    Parameters
    ----------
    rules : sequence of StoppingRule
        At least one.
    """

    rules: Sequence[StoppingRule]

    def __post_init__(self) -> None:
        _check_rules(self.rules)

    def decide(self, evidence: Evidence) -> Decision:
        """Return the decision of the rule that asks for most, or of the first with the reasons of all."""
        decisions = [rule.decide(evidence) for rule in self.rules]
        if all(one.stop for one in decisions):
            return _with_numbers(replace(decisions[0], reason="; ".join(one.reason for one in decisions)), decisions)
        return _with_numbers(max(decisions, key=lambda one: one.further), decisions)


def _with_numbers(chosen: Decision, decisions: Sequence[Decision]) -> Decision:
    """Let a decision tell how far the target is, if it is a decision of another rule that knows it."""
    known = next((one for one in decisions if one.required is not None), chosen)
    if chosen.required is not None or known is chosen:
        return chosen
    return replace(chosen, required=known.required, required_interval=known.required_interval)


def _check_rules(rules: Sequence[StoppingRule]) -> None:
    if not rules:
        raise ValueError("expected at least one rule, got none")
