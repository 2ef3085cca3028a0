"""What can be seen in results: tables and pictures. Diagnostics read results and change nothing."""

from ppl_scaling.diagnostics.evidence_error import EvidenceSpread, chan_lai_standard_error, evidence_spread
from ppl_scaling.diagnostics.particle_trace import ParticleTrace, pareto_k, particle_trace
from ppl_scaling.diagnostics.scaling_curve import plot_scaling_curve, write_curve_comparison, write_scaling_curve
from ppl_scaling.diagnostics.score_models import PredictiveCheck, check_score_model, compare_score_models

__all__ = [
    "EvidenceSpread",
    "ParticleTrace",
    "PredictiveCheck",
    "chan_lai_standard_error",
    "check_score_model",
    "compare_score_models",
    "evidence_spread",
    "pareto_k",
    "particle_trace",
    "plot_scaling_curve",
    "write_curve_comparison",
    "write_scaling_curve",
]
