"""What can be seen in results: tables and pictures. Diagnostics read results and change nothing."""

from ppl_scaling.diagnostics.scaling_curve import plot_scaling_curve, write_curve_comparison, write_scaling_curve
from ppl_scaling.diagnostics.score_models import PredictiveCheck, check_score_model, compare_score_models

__all__ = [
    "PredictiveCheck",
    "check_score_model",
    "compare_score_models",
    "plot_scaling_curve",
    "write_curve_comparison",
    "write_scaling_curve",
]
