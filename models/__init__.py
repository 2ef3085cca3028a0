"""Probabilistic programs in Pyro: what is believed about how an answer comes about.

Nothing in here loops over time or resamples; that is :mod:`ppl_scaling.inference`.
"""

from ppl_scaling.models.draft import DraftProposal
from ppl_scaling.models.handlers import Handled
from ppl_scaling.models.likelihoods import BernoulliLikelihood, Emission, Likelihood, OddsLikelihood, TwistLikelihood
from ppl_scaling.models.proposals import GivenSteps, SamplingProposal
from ppl_scaling.models.state_space import LanguageModelStateSpace
from ppl_scaling.models.token_block import TokenBlock

__all__ = [
    "BernoulliLikelihood",
    "DraftProposal",
    "Emission",
    "GivenSteps",
    "Handled",
    "LanguageModelStateSpace",
    "Likelihood",
    "OddsLikelihood",
    "SamplingProposal",
    "TokenBlock",
    "TwistLikelihood",
]
