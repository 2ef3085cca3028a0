"""Probabilistic programs in Pyro: what is believed about how an answer comes about.

Nothing in here loops over time or resamples; that is :mod:`ppl_scaling.inference`.
"""

from ppl_scaling.models.calibrated_likelihood import CalibratedLikelihood
from ppl_scaling.models.calibration import Calibration
from ppl_scaling.models.calibration_maps import (
    CALIBRATIONS,
    BetaCalibration,
    MonotoneCalibration,
    PlattCalibration,
    TemperatureCalibration,
)
from ppl_scaling.models.calibration_posterior import CalibrationPosterior
from ppl_scaling.models.draft import DraftProposal
from ppl_scaling.models.handlers import Handled
from ppl_scaling.models.likelihoods import BernoulliLikelihood, Emission, Likelihood, OddsLikelihood, TwistLikelihood
from ppl_scaling.models.proposals import GivenSteps, SamplingProposal
from ppl_scaling.models.state_space import LanguageModelStateSpace
from ppl_scaling.models.token_block import TokenBlock

__all__ = [
    "CALIBRATIONS",
    "BernoulliLikelihood",
    "BetaCalibration",
    "CalibratedLikelihood",
    "Calibration",
    "CalibrationPosterior",
    "DraftProposal",
    "Emission",
    "GivenSteps",
    "Handled",
    "LanguageModelStateSpace",
    "Likelihood",
    "MonotoneCalibration",
    "OddsLikelihood",
    "PlattCalibration",
    "SamplingProposal",
    "TemperatureCalibration",
    "TokenBlock",
    "TwistLikelihood",
]
