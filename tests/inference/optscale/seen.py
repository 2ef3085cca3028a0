"""Scores that have been seen, and the evidence that they are."""

from ppl_scaling.inference.optscale import Evidence
from ppl_scaling.models.scores import BetaScores
from ppl_scaling.models.scores.dirichlet import DirichletScores

SEEN = (0.55, 0.7, 0.62, 0.8, 0.45)
LAWS = {"beta": BetaScores(), "dirichlet": DirichletScores()}


def evidence(scores=SEEN, allowed=20, law="beta", **more):
    return Evidence(tuple(scores), allowed, LAWS.get(law, law), **more)
