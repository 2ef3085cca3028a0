"""How many completions are enough: Bayesian inference of the law of scores, and decisions by it."""

from ppl_scaling.inference.optscale.combined_rules import AllOf, AnyOf
from ppl_scaling.inference.optscale.coverage_rule import CoverageRule
from ppl_scaling.inference.optscale.decisions import (
    RequiredCompletions,
    WorthwhileCompletions,
    needed_if_known,
    required_completions,
    worthwhile_completions,
)
from ppl_scaling.inference.optscale.dirichlet import DirichletPosterior
from ppl_scaling.inference.optscale.evidence import Decision, Evidence, StoppingRule, ask, replay
from ppl_scaling.inference.optscale.fitting import ScoreFit, fit_laplace, fit_nuts, fit_svi
from ppl_scaling.inference.optscale.method import OptScale, OptScaleResult
from ppl_scaling.inference.optscale.plug_in import (
    PlugInFit,
    PlugInPosterior,
    maximum_a_posteriori,
    maximum_likelihood,
    optscale_0,
    optscale_t,
    plug_in_completions,
    predicted,
)
from ppl_scaling.inference.optscale.plug_in_rule import PlugInRule
from ppl_scaling.inference.optscale.posterior import NodePosterior, ScorePosterior
from ppl_scaling.inference.optscale.predictive import posterior_predictive
from ppl_scaling.inference.optscale.quadrature import QuadraturePosterior, infer_scores
from ppl_scaling.inference.optscale.replicates import OptScaleReplicates, OptScaleReplicatesResult
from ppl_scaling.inference.optscale.rules import AnswerRule, GuaranteeRule, PriceRule
from ppl_scaling.inference.optscale.settings import RULES, stopping_rule

__all__ = [
    "RULES",
    "AllOf",
    "AnswerRule",
    "AnyOf",
    "CoverageRule",
    "Decision",
    "DirichletPosterior",
    "Evidence",
    "GuaranteeRule",
    "NodePosterior",
    "OptScale",
    "OptScaleReplicates",
    "OptScaleReplicatesResult",
    "OptScaleResult",
    "PlugInFit",
    "PlugInPosterior",
    "PlugInRule",
    "PriceRule",
    "QuadraturePosterior",
    "RequiredCompletions",
    "ScoreFit",
    "ScorePosterior",
    "StoppingRule",
    "WorthwhileCompletions",
    "ask",
    "fit_laplace",
    "fit_nuts",
    "fit_svi",
    "infer_scores",
    "maximum_a_posteriori",
    "maximum_likelihood",
    "needed_if_known",
    "optscale_0",
    "optscale_t",
    "plug_in_completions",
    "posterior_predictive",
    "predicted",
    "replay",
    "required_completions",
    "stopping_rule",
    "worthwhile_completions",
]
