"""What can be seen in results: tables and pictures. Diagnostics read results and change nothing."""

from ppl_scaling.diagnostics.calibration import Calibration, Estimate, measure_calibration
from ppl_scaling.diagnostics.checks import HealthCheck, HealthReport
from ppl_scaling.diagnostics.evidence_error import EvidenceSpread, chan_lai_standard_error, evidence_spread
from ppl_scaling.diagnostics.health import diagnose
from ppl_scaling.diagnostics.particle_trace import ParticleTrace, pareto_k, particle_trace
from ppl_scaling.diagnostics.scaling_curve import plot_scaling_curve, write_curve_comparison, write_scaling_curve
from ppl_scaling.diagnostics.score_models import PredictiveCheck, check_score_model, compare_score_models
from ppl_scaling.diagnostics.truth import CredibleCoverage, answer_calibration, credible_coverage, score_calibration

__all__ = [
    "Calibration",
    "CredibleCoverage",
    "Estimate",
    "EvidenceSpread",
    "HealthCheck",
    "HealthReport",
    "ParticleTrace",
    "PredictiveCheck",
    "answer_calibration",
    "chan_lai_standard_error",
    "check_score_model",
    "compare_score_models",
    "credible_coverage",
    "diagnose",
    "evidence_spread",
    "measure_calibration",
    "pareto_k",
    "particle_trace",
    "plot_scaling_curve",
    "score_calibration",
    "write_curve_comparison",
    "write_scaling_curve",
]
