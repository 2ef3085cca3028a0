"""Offline fits of score models with Pyro: NUTS, variational inference and Laplace, for one problem and for hierarchies.

Decisions in real time use quadrature. These fits learn a population of problems, check quadrature and each other, and give
the draws that ArviZ compares and criticises. All three work in coordinates in which Laplace's approximation is a standard
normal: for NUTS that is a good mass matrix from the first step.
"""

from ppl_scaling.inference.optscale.approximate import fit_laplace, fit_svi
from ppl_scaling.inference.optscale.nuts import fit_nuts
from ppl_scaling.inference.optscale.score_fit import ObservedScores, ScoreFit

__all__ = ["ObservedScores", "ScoreFit", "fit_laplace", "fit_nuts", "fit_svi"]
