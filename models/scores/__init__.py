"""Laws of verifier scores, each a Pyro program with documented priors."""

from ppl_scaling.models.scores.base import ScoreLaw, ScoreModel, validate_scores
from ppl_scaling.models.scores.beta import BetaScores
from ppl_scaling.models.scores.binned import BaseLaw, StepLaw
from ppl_scaling.models.scores.correctness import ScoreAndCorrectness
from ppl_scaling.models.scores.dirichlet import DirichletScores, HierarchicalDirichletScores
from ppl_scaling.models.scores.hierarchy import HierarchicalScores
from ppl_scaling.models.scores.inflated_beta import InflatedBetaScores
from ppl_scaling.models.scores.logit_normal import LogitNormalScores
from ppl_scaling.models.scores.prior import Prior, Values
from ppl_scaling.models.scores.prior_function import LinearPriorFunction, PriorFunction
from ppl_scaling.models.scores.truncated_normal import TruncatedNormalScores
from ppl_scaling.models.scores.two_component import TwoComponentScores

__all__ = [
    "SCORE_MODELS",
    "BaseLaw",
    "BetaScores",
    "DirichletScores",
    "HierarchicalDirichletScores",
    "HierarchicalScores",
    "InflatedBetaScores",
    "LinearPriorFunction",
    "LogitNormalScores",
    "Prior",
    "PriorFunction",
    "ScoreAndCorrectness",
    "ScoreLaw",
    "ScoreModel",
    "StepLaw",
    "TruncatedNormalScores",
    "TwoComponentScores",
    "Values",
    "validate_scores",
]

SCORE_MODELS: dict[str, type[ScoreModel]] = {
    law.name: law
    for law in (
        TruncatedNormalScores,
        BetaScores,
        InflatedBetaScores,
        LogitNormalScores,
        TwoComponentScores,
        ScoreAndCorrectness,
    )
}
"""The laws with finitely many parameters, by name."""
