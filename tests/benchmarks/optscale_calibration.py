"""Whether posteriors of scores are right, and whether promises are kept, by simulation.

    OMP_NUM_THREADS=1 python tests/benchmarks/optscale_calibration.py                 # everything, about ten minutes
    OMP_NUM_THREADS=1 python tests/benchmarks/optscale_calibration.py --only right --models truncated-normal

*Simulation-based calibration*: parameters are drawn from the prior, scores from the model, and the posterior of each
quantity is asked for the probability below its true value. That is uniform if the posterior is right on average; a
chi-square test says whether it looks so, with Bonferroni's correction for all the tests of the table.

*The promise*: problems are drawn, n scores of each are seen, all below a target, and each rule says how many more it takes
until the best of them reaches the target with a given confidence. How often it does is known exactly given the true
parameters, so the mean over problems has no noise of its own. The plug-ins are those of the paper. Targets are quantiles of
the law of a new problem's scores, so that they are within reach.

*Misspecification*: problems from other laws than the one assumed: means and standard deviations of a verifier on real
problems (``PPL_SCALING_DATA``; left out without it), and a mixture of two Beta laws.
"""

import argparse
import json
import math
import os
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from scipy import stats
from scipy.integrate import cumulative_trapezoid, trapezoid
from scipy.interpolate import CubicSpline

from ppl_scaling.inference.optscale.decisions import required_completions
from ppl_scaling.inference.optscale.plug_in import optscale_0, optscale_t, predicted
from ppl_scaling.inference.optscale.quadrature import infer_scores
from ppl_scaling.models.scores import (
    BetaScores,
    DirichletScores,
    InflatedBetaScores,
    LogitNormalScores,
    ScoreAndCorrectness,
    TruncatedNormalScores,
    TwoComponentScores,
)

SEEN = 3, 5, 10
CONFIDENCES = 0.5, 0.8, 0.9, 0.95
QUANTILES = 0.5, 0.8, 0.95
NUM_BINS = 20
FEW_NODES = 64
FAMILIES = (
    TruncatedNormalScores,
    BetaScores,
    InflatedBetaScores,
    LogitNormalScores,
    TwoComponentScores,
    ScoreAndCorrectness,
    DirichletScores,
)
console = Console(width=200)


class Laws:
    """Problems drawn from the prior of a model: parameters, scores, labels, and the true law of each."""

    def __init__(self, model, num_problems, num_scores, seed):
        generator = torch.Generator().manual_seed(seed)
        self.model, self.labels = model, None
        self.values = model.prior.sample((num_problems,), generator)
        if isinstance(model, ScoreAndCorrectness):
            right = torch.rand((num_scores, num_problems), generator=generator, dtype=torch.float64)
            right = (right < self.values["logit_share"].sigmoid()).double()
            given = [self.values | {"logit_share": torch.full((num_problems,), sign)} for sign in (-40.0, 40.0)]
            wrong_scores, right_scores = (model.sample(one, (num_scores,), generator=generator) for one in given)
            known = torch.rand(right.shape, generator=generator) < 0.5
            self.scores = torch.where(right == 1, right_scores, wrong_scores).T.numpy()
            self.labels = torch.where(known, right, math.nan).T.numpy()
        else:
            self.scores = model.sample(self.values, (num_scores,), generator=generator).T.numpy()

    def log_below(self, target):
        """True log-probability of a score below the target, for every problem; exact however near it is to 0."""
        survival = np.minimum(self.model.log_survival(target, self.values).numpy(), 0.0)
        with np.errstate(divide="ignore"):
            from_above = np.log1p(-np.exp(survival))
        return np.where(survival < -0.7, from_above, self.model.log_cdf(target, self.values).numpy())


class DirichletLaws:
    """The same for a Dirichlet process, by breaking sticks."""

    def __init__(self, model, num_problems, num_scores, seed, sticks=400):
        rng = np.random.default_rng(seed)
        broken = rng.beta(1, model.concentration, (num_problems, sticks))
        broken[:, -1] = 1
        left = np.concatenate([np.ones((num_problems, 1)), np.cumprod(1 - broken[:, :-1], 1)], 1)
        self.weights, self.atoms, self.labels = broken * left, model.base.ppf(rng.random((num_problems, sticks))), None
        drawn = (rng.random((num_problems, num_scores, 1)) > np.cumsum(self.weights, 1)[:, None]).sum(-1)
        self.scores = np.take_along_axis(self.atoms, np.minimum(drawn, sticks - 1), 1)

    def log_below(self, target):
        with np.errstate(divide="ignore"):
            # The weights add up to 1 but for rounding.
            return np.minimum(np.log((self.weights * (self.atoms < target)).sum(1)), 0.0)


class OtherLaws:
    """Problems whose laws are mixtures of Beta laws: shares, and two shapes for each component."""

    def __init__(self, share, shapes, num_scores, seed):
        rng = np.random.default_rng(seed)
        self.share, self.shapes, self.labels = share, shapes, None
        first = rng.random((len(share), num_scores)) < share[:, None]
        drawn = [rng.beta(shapes[:, i, 0, None], shapes[:, i, 1, None], first.shape) for i in (0, 1)]
        self.scores = np.clip(np.where(first, *drawn), 0, 1)

    def log_below(self, target):
        parts = [stats.beta.cdf(target, self.shapes[:, i, 0], self.shapes[:, i, 1]) for i in (0, 1)]
        with np.errstate(divide="ignore"):
            return np.log(self.share * parts[0] + (1 - self.share) * parts[1])


def laws_of(model, num_problems, num_scores, seed):
    kind = DirichletLaws if isinstance(model, DirichletScores) else Laws
    return kind(model, num_problems, num_scores, seed)


def others(num_problems, num_scores, seed):
    """Laws that no model assumes, by name."""
    rng = np.random.default_rng(seed)
    good = np.stack([rng.uniform(5, 40, num_problems), rng.uniform(1, 3, num_problems)], -1)
    bad = np.stack([rng.uniform(1, 4, num_problems), rng.uniform(2, 10, num_problems)], -1)
    found = {"mixture of two Beta laws": OtherLaws(rng.beta(1, 1, num_problems), np.stack([good, bad], 1), num_scores, seed)}
    path = Path(os.environ.get("PPL_SCALING_DATA", "nowhere")) / "optscale_train_mu_sigma_dict.json"
    if path.exists():
        rows = np.array([(one["mean"], one["std"]) for one in json.loads(path.read_text()).values()])
        rows = rows[(rows[:, 1] > 1e-3) & (rows[:, 1] ** 2 < 0.98 * rows[:, 0] * (1 - rows[:, 0]))]
        mean, deviation = rows[rng.integers(len(rows), size=num_problems)].T
        size = mean * (1 - mean) / deviation**2 - 1
        shapes = np.stack([mean * size, (1 - mean) * size], -1)
        laws = OtherLaws(np.ones(num_problems), np.stack([shapes] * 2, 1), num_scores, seed)
        found["real means and deviations, Beta"] = laws
    return found


def below(points, weights, truth):
    """Posterior probability below the truth, from weighted points.

    Many points are as good as draws: linear between them. A few are the nodes of a rule, and their weights over their
    distances are values of a smooth density: a spline goes through its logarithm.
    """
    points, which = np.unique(np.round(points, 9), return_inverse=True)
    weights = np.bincount(which, weights=weights)
    if not 4 <= len(points) <= FEW_NODES:
        middle = np.cumsum(weights) - weights / 2
        return float(np.interp(truth, points, middle, left=0.0, right=1.0))
    fine = np.linspace(points[0], points[-1], 4001)
    density = np.exp(CubicSpline(points, np.log(np.maximum(weights, 1e-300) / np.gradient(points)))(fine))
    return float(np.interp(truth, fine, cumulative_trapezoid(density, fine, initial=0.0) / trapezoid(density, fine)))


def ranks(laws, j, posterior, target):
    """Probability below the truth for every parameter and for the probability of a score below the target."""
    truth = float(laws.log_below(target)[j])
    if isinstance(laws, DirichletLaws):
        levels = np.linspace(0, 1, 2001)[1:-1]
        quantiles = posterior.cdf_quantile(target, levels)
        return {"F(target)": float(np.interp(np.exp(truth), quantiles, levels, left=0.0, right=1.0))}
    weights = np.exp(posterior.log_weights)
    found = {name: below(value, weights, float(laws.values[name][j])) for name, value in posterior.values.items()}
    given = {name: torch.from_numpy(np.asarray(value)) for name, value in posterior.values.items()}
    found["F(target)"] = below(laws.model.log_cdf(target, given).numpy(), weights, truth)
    return found


def uniformity(probabilities, num_bins=NUM_BINS):
    """P-value of the chi-square test of uniformity."""
    counts = np.histogram(probabilities, num_bins, (0, 1))[0]
    return float(stats.chisquare(counts).pvalue)


def calibration_table(rows, title):
    """Print ranks of every quantity and the tests of their uniformity. ``rows``: model, n, quantity, ranks."""
    table = Table(title=title, title_justify="left")
    for column in ("model", "problems", "n", "quantity", "mean", "in 50 %", "in 90 %", "p (chi-square)", f"p x {len(rows)}"):
        table.add_column(column)
    smallest = 1.0
    for name, n, what, found in rows:
        found = np.array(found)
        inside = [np.mean(np.abs(found - 0.5) <= share / 2) for share in (0.5, 0.9)]
        p = uniformity(found)
        smallest = min(smallest, p)
        figures = f"{found.mean():.3f}", *(f"{one:.3f}" for one in inside), f"{p:.3g}", f"{min(1.0, p * len(rows)):.3g}"
        table.add_row(name, str(len(found)), str(n), what, *figures)
    console.print(table)
    console.print(f"{len(rows)} tests, smallest p {smallest:.2g}, after Bonferroni {min(1.0, smallest * len(rows)):.2g}")


def plug_ins(scores):
    """The paper's two fits: maximum likelihood, and maximum a posteriori with its prior about (0.8, 0.2)."""
    return {"MLE": optscale_0(scores), "MAP": optscale_t(scores, predicted(0.8, 0.2))}


def promises(laws, j, posterior, num_seen, targets, confidences=CONFIDENCES):
    """What a rule asks for and how probable the target is then: {(target, confidence): (probability, number)}.

    Targets that have been reached are left out. Where no number is enough the number is infinite: then nothing is promised.
    """
    best = laws.scores[j, :num_seen].max()
    found = {}
    for target in (one for one in targets if best < one):
        log_below = float(laws.log_below(target)[j])
        for confidence in confidences:
            number = float(required_completions(posterior, target, confidence).number)
            reached = 0.0 if log_below == 0 else -math.expm1(number * log_below)
            found[target, confidence] = reached, number
    return found


def promise_table(rows, title, confidences=CONFIDENCES):
    """Print how often promises are kept. ``rows``: problems, n, target, rule, {confidence: [(probability, number), ...]}."""
    table = Table(title=title, title_justify="left")
    asked = [f"asked {one}" for one in confidences]
    columns = "law", "n", "target", "rule", "problems", *asked, "median further", "unreachable"
    for column in columns:
        table.add_column(column)
    for law, n, target, rule, found in rows:
        cells = [np.array(found[one]) for one in confidences]
        promised = [one[np.isfinite(one[:, 1]), 0] for one in cells]  # no promise where no number is said to be enough
        shares = [f"{one.mean():.3f} ± {one.std(ddof=1) / math.sqrt(len(one)):.3f}" for one in promised]
        numbers = "/".join(f"{np.median(one[:, 1]):.3g}" for one in cells)
        never = "/".join(f"{np.isinf(one[:, 1]).mean():.2f}" for one in cells)
        table.add_row(law, str(n), target, rule, str(len(cells[0])), *shares, numbers, never)
    console.print(table)


def study(name, laws, rules, num_problems, calibrated=None):
    """Rows of both tables for one source of problems.

    ``rules(scores, labels)`` gives posteriors by name; ranks are taken of the one that is named ``calibrated``.
    """
    targets = [float(one) for one in np.quantile(laws.scores, QUANTILES)]
    ranked, kept = [], []
    for n in SEEN:
        found, results = {}, {}
        for j, scores in enumerate(laws.scores[:num_problems, :n]):
            labels = None if laws.labels is None else laws.labels[j, :n]
            for rule, posterior in rules(scores, labels).items():
                if rule == calibrated:
                    for what, rank in ranks(laws, j, posterior, targets[0]).items():
                        found.setdefault(what, []).append(rank)
                for (target, confidence), result in promises(laws, j, posterior, n, targets).items():
                    results.setdefault((target, rule), {}).setdefault(confidence, []).append(result)
        ranked += [(name, n, what, values) for what, values in found.items()]
        for (target, rule), by_confidence in sorted(results.items(), key=lambda one: one[0][0]):
            quantile = QUANTILES[targets.index(target)]
            kept.append((name, n, f"q{quantile:g} = {target:.3f}", rule, by_confidence))
    return ranked, kept


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--num-problems", type=int, default=2000)
    parser.add_argument("--num-slow", type=int, default=200, help="problems for models whose quadrature takes a second")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=("right", "wrong"), help="problems that the model assumes, or others")
    parser.add_argument("--models", nargs="+", choices=[family.name for family in FAMILIES], default=None)
    options = parser.parse_args()
    models = [family() for family in FAMILIES if not options.models or family.name in options.models]
    numbers = {one.name: options.num_slow if isinstance(one, TwoComponentScores) else options.num_problems for one in models}

    if options.only != "wrong":
        ranked = []
        for model in models:

            def rules(scores, labels, model=model):
                given = {} if labels is None else {"correct": labels}
                return {"ours": infer_scores(model, scores, **given), **plug_ins(scores)}

            laws = laws_of(model, options.num_problems, max(SEEN), options.seed)
            more = study(model.name, laws, rules, numbers[model.name], "ours")
            ranked += more[0]
            promise_table(more[1], f"how often the target is reached after the promised number: {model.name}")
            calibration_table(more[0], f"simulation-based calibration: {model.name}")
        if len(models) > 1:
            calibration_table(ranked, "simulation-based calibration")
    if options.only != "right":
        fast = [one for one in models if not isinstance(one, TwoComponentScores)]
        for name, laws in others(options.num_problems, max(SEEN), options.seed + 2).items():

            def rules(scores, labels):
                return {one.name: infer_scores(one, scores) for one in fast} | plug_ins(scores)

            _, kept = study(name, laws, rules, options.num_problems)
            promise_table(kept, f"how often the target is reached, no model being right: {name}")


if __name__ == "__main__":
    main()
