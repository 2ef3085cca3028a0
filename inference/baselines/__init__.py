"""Baselines under the same interface, on the same sessions and with the same accounting as the particle methods."""

from ppl_scaling.inference.baselines.adaptive import AdaptiveSelfConsistency, EarlyStoppingSelfConsistency
from ppl_scaling.inference.baselines.base import Baseline
from ppl_scaling.inference.baselines.completions import CompletionsResult, TokenCost
from ppl_scaling.inference.baselines.difficulty import DifficultyAdaptiveSelfConsistency
from ppl_scaling.inference.baselines.independent import (
    BestOfN,
    Greedy,
    IndependentSampling,
    MajorityVote,
    SingleSample,
    WeightedBestOfN,
    nested_budgets,
)
from ppl_scaling.inference.baselines.rounds import AdaptiveResult
from ppl_scaling.inference.baselines.search import DVTS, BeamSearch
from ppl_scaling.inference.baselines.stopping import STOPPING_RULES, beta_confidence, dirichlet_confidence

BASELINES: dict[str, type[Baseline]] = {
    one.method: one
    for one in (
        Greedy,
        SingleSample,
        MajorityVote,
        BestOfN,
        WeightedBestOfN,
        BeamSearch,
        DVTS,
        AdaptiveSelfConsistency,
        EarlyStoppingSelfConsistency,
        DifficultyAdaptiveSelfConsistency,
    )
}
"""The baselines by name. Each is made with ``(model, **settings)``; its ``budget`` names the setting that scales it."""

__all__ = [
    "BASELINES",
    "DVTS",
    "STOPPING_RULES",
    "AdaptiveResult",
    "AdaptiveSelfConsistency",
    "Baseline",
    "BeamSearch",
    "BestOfN",
    "CompletionsResult",
    "DifficultyAdaptiveSelfConsistency",
    "EarlyStoppingSelfConsistency",
    "Greedy",
    "IndependentSampling",
    "MajorityVote",
    "SingleSample",
    "TokenCost",
    "WeightedBestOfN",
    "beta_confidence",
    "dirichlet_confidence",
    "nested_budgets",
]
