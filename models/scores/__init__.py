"""Laws of verifier scores, each a Pyro program with documented priors."""

from ppl_scaling.models.scores.base import Prior, ScoreLaw, ScoreModel, Values, validate_scores
from ppl_scaling.models.scores.beta import BetaScores
from ppl_scaling.models.scores.inflated_beta import InflatedBetaScores
from ppl_scaling.models.scores.logit_normal import LogitNormalScores
from ppl_scaling.models.scores.truncated_normal import TruncatedNormalScores

__all__ = [
    "SCORE_MODELS",
    "BetaScores",
    "InflatedBetaScores",
    "LogitNormalScores",
    "Prior",
    "ScoreLaw",
    "ScoreModel",
    "TruncatedNormalScores",
    "Values",
    "validate_scores",
]

SCORE_MODELS: dict[str, type[ScoreModel]] = {
    law.name: law for law in (TruncatedNormalScores, BetaScores, InflatedBetaScores, LogitNormalScores)
}
"""The laws with finitely many parameters, by name."""
