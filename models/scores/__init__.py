"""Laws of verifier scores, each a Pyro program with documented priors."""

from ppl_scaling.models.scores.base import Prior, ScoreLaw, ScoreModel, Values, validate_scores

__all__ = ["Prior", "ScoreLaw", "ScoreModel", "Values", "validate_scores"]
