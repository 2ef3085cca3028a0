"""What the numbers beside the answers of a result mean: a posterior, or shares of a vote."""

from __future__ import annotations

from ppl_scaling.inference import IslandsResult, ParticleFilterResult, ParticleGibbsResult, Result

__all__ = ["has_posterior"]


def has_posterior(result: Result) -> bool:
    """Whether the weights are those of a posterior; baselines and OptScale draw completions and let them vote."""
    return isinstance(result, ParticleFilterResult | ParticleGibbsResult | IslandsResult)
