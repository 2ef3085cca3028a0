"""Inference algorithms: how a posterior is computed, by sampling or exactly."""

from ppl_scaling.inference.answers import Answer
from ppl_scaling.inference.enumeration import ExactPosterior, ExactTrajectory, enumerate_posterior
from ppl_scaling.inference.genealogy import Genealogy
from ppl_scaling.inference.method import Method, Progress
from ppl_scaling.inference.particle_filter import ParticleFilter
from ppl_scaling.inference.particle_state import ParticleState
from ppl_scaling.inference.records import StepRecord
from ppl_scaling.inference.resampling import (
    RESAMPLING_SCHEMES,
    multinomial,
    resampling_scheme,
    residual,
    ssp,
    stratified,
    systematic,
)
from ppl_scaling.inference.results import ParticleFilterResult, Result, Trajectory
from ppl_scaling.inference.smc_filter import SMCFilter

__all__ = [
    "RESAMPLING_SCHEMES",
    "Answer",
    "ExactPosterior",
    "ExactTrajectory",
    "Genealogy",
    "Method",
    "ParticleFilter",
    "ParticleFilterResult",
    "ParticleState",
    "Progress",
    "Result",
    "SMCFilter",
    "StepRecord",
    "Trajectory",
    "enumerate_posterior",
    "multinomial",
    "resampling_scheme",
    "residual",
    "ssp",
    "stratified",
    "systematic",
]
