"""What can be seen in results: tables and pictures. Diagnostics read results and change nothing."""

from ppl_scaling.diagnostics.scaling_curve import plot_scaling_curve, write_curve_comparison, write_scaling_curve

__all__ = ["plot_scaling_curve", "write_curve_comparison", "write_scaling_curve"]
