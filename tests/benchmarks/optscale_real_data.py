"""Real verifier scores: what a population of problems looks like, and which law of scores fits.

    PPL_SCALING_DATA=... OMP_NUM_THREADS=1 python tests/benchmarks/optscale_real_data.py

Three data sets, the first two found where the variable says (without them the script says so and goes on):

- mean and standard deviation of the scores of Qwen2.5-Math-PRM-7B for each of 4501 MATH problems
  (Albertwyk/OptScale, MIT). They have no shapes; but they say which means and deviations there are, and that some cannot be
  those of a truncated normal at all.
- 100 MATH problems with 8 completions each, the scores of an outcome verifier and whether each is right
  (QwenLM/Qwen2.5-Math, MIT). Scores are mapped to (0, 1) by the logistic function. Each law is fitted as a hierarchy over
  problems, and compared by leaving scores out. Then half of the problems keep their labels, and the joint model of score and
  correctness says how probably each score of the other half is right.
- The first 8 different scores of each tuning problem of the embedded models (``draw_pools.py``), for the same comparison.
"""

import argparse
import itertools
import json
import os
import time
from pathlib import Path

import numpy as np
import torch
from draw_pools import load_pools
from rich.console import Console
from rich.table import Table
from scipy import special, stats

from ppl_scaling.draw_statistics import compare
from ppl_scaling.inference.optscale.fitting import fit_laplace, fit_nuts, fit_svi
from ppl_scaling.inference.optscale.plug_in import exponential_variance
from ppl_scaling.models.scores import (
    BetaScores,
    HierarchicalScores,
    LogitNormalScores,
    ScoreAndCorrectness,
    TruncatedNormalScores,
    TwoComponentScores,
)

LAWS = TruncatedNormalScores, BetaScores, LogitNormalScores, TwoComponentScores
FITS = {"nuts": fit_nuts, "svi": fit_svi, "laplace": fit_laplace}
console = Console(width=140)


def means_and_deviations(path):
    """Print what 4501 means and deviations say."""
    rows = np.array([(one["mean"], one["std"]) for one in json.loads(path.read_text()).values()])
    mean, deviation = rows[rows[:, 1] > 0].T
    quantiles = 0.05, 0.25, 0.5, 0.75, 0.95
    console.print(f"\n[bold]{len(rows)} problems, Qwen2.5-Math-PRM-7B[/bold]; {(rows[:, 1] == 0).sum()} with deviation 0")
    for name, values in (("mean", mean), ("deviation", deviation)):
        console.print(f"{name:10s}", "  ".join(f"{q:g}: {np.quantile(values, q):.3f}" for q in quantiles), highlight=False)
    means = np.linspace(0.001, 0.999, 400)
    limit = np.interp(mean, means, [exponential_variance(one) for one in means])
    console.print(
        f"a truncated normal has this mean and variance at no location and scale: {(deviation**2 >= limit).mean():.3f} of "
        f"the problems (maximum likelihood has no maximum there); with a location above 1 where it has: "
        f"{((deviation**2 < limit) & (mean > 0.5) & (location_of(mean, deviation) > 1)).mean():.3f}"
    )
    size = mean * (1 - mean) / deviation**2 - 1
    fits = size > 0
    console.print(
        f"a Beta law has them: {fits.mean():.3f}; with its density highest at 1: "
        f"{((1 - mean[fits]) * size[fits] < 1).mean():.3f} of these, at both ends: "
        f"{(((1 - mean[fits]) * size[fits] < 1) & (mean[fits] * size[fits] < 1)).mean():.3f}"
    )
    for name, values in (("logit mean", special.logit(mean[fits])), ("log concentration", np.log(size[fits]))):
        console.print(
            f"population of Beta laws, {name}: {values.mean():.2f} ± {values.std():.2f}, skewness {stats.skew(values):.2f}"
        )
    both = np.corrcoef(special.logit(mean[fits]), np.log(size[fits]))[0, 1]
    console.print(f"correlation of the two {both:.2f}")


def location_of(mean, deviation):
    """Location of the truncated normal with these moments, up to a few per cent: from a table of locations and scales."""
    location, scale = np.meshgrid(np.linspace(-3, 4, 141), np.geomspace(0.01, 3, 80))
    law = stats.truncnorm(-location / scale, (1 - location) / scale, location, scale)
    with np.errstate(all="ignore"):
        table = np.stack([law.mean().ravel(), law.std().ravel()], -1)
    table[~np.isfinite(table).all(1)] = 1e3
    nearest = [np.argmin(((table - one) ** 2).sum(1)) for one in np.stack([mean, deviation], -1)]
    return location.ravel()[nearest]


def outcome_scores(path):
    """Scores in (0, 1) and labels, each of shape (problems, completions)."""
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    scores = special.expit(np.array([one["rm_score"] for one in rows], dtype=float))
    return scores, np.array([one["correct"] for one in rows], dtype=float)


def embedded_scores():
    """First 8 different scores of each tuning problem, shape (problems, 8); problems with fewer are left out.

    The language model often writes the same text again, with the same score up to rounding. Laws with a density have an
    unbounded likelihood there, and a comparison would be one of how close to equal they can be.
    """
    stored = load_pools()
    found = []
    for logits, answers in zip(
        *(stored[name][stored["split"] == "validation"] for name in ("logit", "answer")), strict=True
    ):
        seen = logits[answers >= 0].astype(float)
        places = np.sort(np.unique(np.round(seen, 2), return_index=True)[1])[:8]
        if len(places) == 8:
            found.append(special.expit(seen[places]))
    return np.array(found)


def compare_laws(scores, laws, how, settings, seed):
    """Fit every law as a hierarchy and print the comparison by leave-one-out."""
    fits = {}
    for law in LAWS:
        if law.name not in laws:
            continue
        started = time.perf_counter()
        fits[law.name] = FITS[how](HierarchicalScores(law()), scores, seed=seed, **settings)
        prior = fits[law.name].prior_for_new_problem()
        console.print(f"{fits[law.name]!r}, {time.perf_counter() - started:.0f} s")
        console.print(
            "  a new problem:", ", ".join(f"{k} {prior.location[k]:.2f} ± {prior.scale[k]:.2f}" for k in prior.location)
        )
    found = compare({name: fit.log_likelihood for name, fit in fits.items()})
    table = Table(title=f"leave-one-out, {scores.shape[0]} problems x {scores.shape[1]} scores, {how}", title_justify="left")
    for column in ("law", "elpd", "difference to the best", "its standard error", "effective parameters", "Pareto k > 0.7"):
        table.add_column(column)
    for one in found:
        figures = one.elpd, one.difference, one.difference_standard_error, one.p_loo
        table.add_row(one.name, *(f"{figure:.1f}" for figure in figures), str(one.num_bad))
    console.print(table)


def correctness(scores, correct, how, settings, seed):
    """Hide the labels of every second problem and compare what is predicted with them."""
    hidden = np.arange(len(scores)) % 2 == 1
    labels = np.where(hidden[:, None], np.nan, correct)
    fit = FITS[how](
        HierarchicalScores(ScoreAndCorrectness()), scores, correct=torch.from_numpy(labels), seed=seed, **settings
    )
    names = fit.model.parameters
    values = {name: torch.from_numpy(fit.draws[name]).flatten(0, 1) for name in names}  # (draws, problems)
    predicted = fit.model.probability_correct(torch.from_numpy(scores), values).mean(0).numpy()[hidden]
    truth = correct[hidden]
    share = np.full(truth.shape, correct[~hidden].mean())
    console.print(f"\n[bold]labels of {hidden.sum()} problems from the other half[/bold], {fit!r}")
    for name, probability in (("score and correctness", predicted), ("share of right ones", share)):
        log_loss = -np.mean(np.where(truth == 1, np.log(probability), np.log1p(-probability)))
        console.print(
            f"{name:25s} log loss {log_loss:.3f}, Brier {np.mean((probability - truth) ** 2):.3f}", highlight=False
        )
    edges = np.quantile(predicted, [0, 0.1, 0.25, 0.5, 1])
    for low, high in itertools.pairwise(edges):
        inside = (predicted >= low) & (predicted <= high)
        console.print(
            f"  predicted {predicted[inside].mean():.3f}: right {truth[inside].mean():.3f} of {inside.sum()}",
            highlight=False,
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--fit", choices=FITS, default="nuts")
    parser.add_argument("--num-draws", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=("moments", "laws", "correctness", "pools"))
    parser.add_argument("--laws", nargs="+", choices=[law.name for law in LAWS], default=[law.name for law in LAWS])
    options = parser.parse_args()
    folder = Path(os.environ.get("PPL_SCALING_DATA", "nowhere"))
    moments, outcomes = folder / "optscale_train_mu_sigma_dict.json", folder / "qwen_rm72b_math100x8.jsonl"
    settings = {"num_draws": options.num_draws}
    for path, parts in ((moments, ("moments",)), (outcomes, ("laws", "correctness"))):
        if options.only not in (None, *parts):
            continue
        if not path.exists():
            console.print(f"skipped: needs {path.name} in the folder that PPL_SCALING_DATA names")
            continue
        if path == moments:
            means_and_deviations(path)
            continue
        scores, correct = outcome_scores(path)
        console.print(
            f"\n[bold]{scores.shape[0]} problems x {scores.shape[1]} outcome scores[/bold], {correct.mean():.3f} right"
        )
        if options.only in (None, "laws"):
            compare_laws(scores, options.laws, options.fit, settings, options.seed)
        if options.only in (None, "correctness"):
            correctness(scores, correct, options.fit, settings, options.seed)
    if options.only in (None, "pools"):
        scores = embedded_scores()
        console.print(f"\n[bold]{scores.shape[0]} problems x {scores.shape[1]} scores of the embedded models[/bold]")
        compare_laws(scores, options.laws, options.fit, settings, options.seed)


if __name__ == "__main__":
    main()
