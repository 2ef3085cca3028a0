"""What can be seen in results: tables and pictures. Diagnostics read results and change nothing."""

from ppl_scaling.diagnostics.answer_picture import plot_answers
from ppl_scaling.diagnostics.calibration import CalibrationReport, Estimate, measure_calibration
from ppl_scaling.diagnostics.checks import HealthCheck, HealthReport
from ppl_scaling.diagnostics.coverage_picture import plot_coverage
from ppl_scaling.diagnostics.evaluation_pictures import evaluation_pictures
from ppl_scaling.diagnostics.evidence_error import EvidenceSpread, chan_lai_standard_error, evidence_spread
from ppl_scaling.diagnostics.genealogy_picture import plot_genealogy
from ppl_scaling.diagnostics.health import diagnose
from ppl_scaling.diagnostics.particle_trace import ParticleTrace, particle_trace
from ppl_scaling.diagnostics.picture import Picture
from ppl_scaling.diagnostics.pictures import result_pictures, write_pictures
from ppl_scaling.diagnostics.reliability_picture import plot_reliability
from ppl_scaling.diagnostics.report import write_report
from ppl_scaling.diagnostics.scaling_curve import plot_scaling_curve, write_curve_comparison, write_scaling_curve
from ppl_scaling.diagnostics.score_law_picture import plot_score_law
from ppl_scaling.diagnostics.score_models import PredictiveCheck, check_score_model, compare_score_models
from ppl_scaling.diagnostics.score_paths import plot_score_trajectories
from ppl_scaling.diagnostics.trace_pictures import draw_traces, plot_chain, plot_traces
from ppl_scaling.diagnostics.truth import CredibleCoverage, answer_calibration, credible_coverage, score_calibration
from ppl_scaling.pareto import pareto_k

__all__ = [
    "CalibrationReport",
    "CredibleCoverage",
    "Estimate",
    "EvidenceSpread",
    "HealthCheck",
    "HealthReport",
    "ParticleTrace",
    "Picture",
    "PredictiveCheck",
    "answer_calibration",
    "chan_lai_standard_error",
    "check_score_model",
    "compare_score_models",
    "credible_coverage",
    "diagnose",
    "draw_traces",
    "evaluation_pictures",
    "evidence_spread",
    "measure_calibration",
    "pareto_k",
    "particle_trace",
    "plot_answers",
    "plot_chain",
    "plot_coverage",
    "plot_genealogy",
    "plot_reliability",
    "plot_scaling_curve",
    "plot_score_law",
    "plot_score_trajectories",
    "plot_traces",
    "result_pictures",
    "score_calibration",
    "write_curve_comparison",
    "write_pictures",
    "write_report",
    "write_scaling_curve",
]
