"""Inference algorithms: how a posterior is computed, by sampling or exactly."""

from ppl_scaling.inference.annealed import AnnealedResult, AnnealedSMC
from ppl_scaling.inference.answers import Answer
from ppl_scaling.inference.auxiliary import AuxiliaryParticleFilter
from ppl_scaling.inference.baselines import (
    BASELINES,
    DVTS,
    AdaptiveSelfConsistency,
    BeamSearch,
    BestOfN,
    CompletionsResult,
    DifficultyAdaptiveSelfConsistency,
    EarlyStoppingSelfConsistency,
    Greedy,
    MajorityVote,
    SingleSample,
    WeightedBestOfN,
    nested_budgets,
)
from ppl_scaling.inference.calibration import CalibrationFit, fit_calibration
from ppl_scaling.inference.calibration_metrics import ScoreMetrics, score_metrics
from ppl_scaling.inference.chain_results import ParallelTemperingResult, ParticleGibbsResult
from ppl_scaling.inference.conditional_smc import ConditionalSMCFilter, Reference
from ppl_scaling.inference.curve_comparison import (
    BudgetRatio,
    CensoredRatio,
    MatchedTokens,
    budget_ratios,
    compare_at_tokens,
)
from ppl_scaling.inference.entropic import EntropicParticleFilter, EntropicResult
from ppl_scaling.inference.enumeration import ExactPosterior, ExactTrajectory, enumerate_posterior
from ppl_scaling.inference.evaluation import Evaluation, evaluate
from ppl_scaling.inference.evaluation_file import EvaluationRecord, read_evaluation
from ppl_scaling.inference.evaluation_summary import CurvePoint, EvaluationSummary, scaling_curve, summarize
from ppl_scaling.inference.genealogy import Genealogy
from ppl_scaling.inference.islands import Islands
from ppl_scaling.inference.method import Method, Progress
from ppl_scaling.inference.parallel_tempering import ParallelTempering
from ppl_scaling.inference.particle_filter import ParticleFilter
from ppl_scaling.inference.particle_gibbs import ParticleGibbs
from ppl_scaling.inference.particle_state import ParticleState
from ppl_scaling.inference.pooling import IslandsResult
from ppl_scaling.inference.records import StepRecord
from ppl_scaling.inference.resample_move import ResampleMoveFilter, ResampleMoveResult
from ppl_scaling.inference.resampling import (
    RESAMPLING_SCHEMES,
    multinomial,
    resampling_scheme,
    residual,
    ssp,
    stratified,
    systematic,
)
from ppl_scaling.inference.result_arrays import to_arviz
from ppl_scaling.inference.result_file import load_result
from ppl_scaling.inference.results import ParticleFilterResult, Result, Trajectory
from ppl_scaling.inference.smc_filter import SMCFilter

__all__ = [
    "BASELINES",
    "DVTS",
    "RESAMPLING_SCHEMES",
    "AdaptiveSelfConsistency",
    "AnnealedResult",
    "AnnealedSMC",
    "Answer",
    "AuxiliaryParticleFilter",
    "BeamSearch",
    "BestOfN",
    "BudgetRatio",
    "CalibrationFit",
    "CensoredRatio",
    "CompletionsResult",
    "ConditionalSMCFilter",
    "CurvePoint",
    "DifficultyAdaptiveSelfConsistency",
    "EarlyStoppingSelfConsistency",
    "EntropicParticleFilter",
    "EntropicResult",
    "Evaluation",
    "EvaluationRecord",
    "EvaluationSummary",
    "ExactPosterior",
    "ExactTrajectory",
    "Genealogy",
    "Greedy",
    "Islands",
    "IslandsResult",
    "MajorityVote",
    "MatchedTokens",
    "Method",
    "ParallelTempering",
    "ParallelTemperingResult",
    "ParticleFilter",
    "ParticleFilterResult",
    "ParticleGibbs",
    "ParticleGibbsResult",
    "ParticleState",
    "Progress",
    "Reference",
    "ResampleMoveFilter",
    "ResampleMoveResult",
    "Result",
    "SMCFilter",
    "ScoreMetrics",
    "SingleSample",
    "StepRecord",
    "Trajectory",
    "WeightedBestOfN",
    "budget_ratios",
    "compare_at_tokens",
    "enumerate_posterior",
    "evaluate",
    "fit_calibration",
    "load_result",
    "multinomial",
    "nested_budgets",
    "read_evaluation",
    "resampling_scheme",
    "residual",
    "scaling_curve",
    "score_metrics",
    "ssp",
    "stratified",
    "summarize",
    "systematic",
    "to_arviz",
]
