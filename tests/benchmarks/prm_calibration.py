"""Calibrate the embedded reward model on validation problems, and see what that does on test problems.

    OMP_NUM_THREADS=1 python tests/benchmarks/prm_calibration.py                 # samples, fits, measures, filters
    OMP_NUM_THREADS=1 python tests/benchmarks/prm_calibration.py --pools         # whole solutions of data/pools.npz only

A prefix is labelled by whether the very solution that it belongs to ends in the right answer: one rollout of the prefix,
drawn from the same language model that the filter uses. Prefixes of one solution share that label, so each counts one over
their number. Printed for every map: its parameters, the evidence, metrics on the test problems before and after, and the
gain in log loss with a 95 % bootstrap interval over problems. Then the particle filter runs on test problems with the
scores as they are and with calibrated ones, each with a power of 1 and with the recommended one; beside its accuracy stands
the mean of exp(log evidence), which for calibrated scores and power 1 predicts pass@1.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from scipy.special import log_expit, logit

from ppl_scaling.backends import TokenClassificationRewardModel, TransformersLanguageModel
from ppl_scaling.inference import ParticleFilter, fit_calibration, score_metrics
from ppl_scaling.inference.baselines import BestOfN
from ppl_scaling.inference.evaluation_summary import bootstrap_interval
from ppl_scaling.models import (
    BetaCalibration,
    CalibratedLikelihood,
    LanguageModelStateSpace,
    MonotoneCalibration,
    PlattCalibration,
    TemperatureCalibration,
    TwistLikelihood,
)
from ppl_scaling.models.pretrained import LANGUAGE_MODEL_PATH, REWARD_MODEL_PATH
from ppl_scaling.tasks import answers_equivalent, generate_problems
from ppl_scaling.tasks.arithmetic import DEFAULT_NUM_STEPS

POOLS = Path(__file__).parent / "data" / "pools.npz"
PROBLEM_SEED = 606
BATCH = 5
LARGEST = 36.0  # the largest logit that a score in float64 still tells


def correct(answer, problem):
    return answer is not None and answers_equivalent(answer, problem.answer)


def labelled_prefixes(method, problems, seed):
    """Columns ``logit``, ``label``, ``count`` and ``problem`` of all prefixes of sampled solutions, and pass@1."""
    rows, ends = [], []
    for first in range(0, len(problems), BATCH):
        batch = problems[first : first + BATCH]
        results = method.run_batch([one.problem for one in batch], seed=seed + first)
        for number, (problem, result) in enumerate(zip(batch, results, strict=True), start=first):
            for one in result.trajectories:
                label = correct(one.answer, problem)
                ends.append(label)
                rows += [(logit(score), label, 1 / len(one.scores), number) for score in one.scores]
    columns = dict(zip(("logit", "label", "count", "problem"), np.array(rows, dtype=float).T, strict=True))
    columns["logit"] = columns["logit"].clip(-LARGEST, LARGEST)
    return columns, np.mean(ends)


def pooled_solutions(path, split):
    """The same columns of the final scores of the pools."""
    with np.load(path) as stored:
        chosen = stored["split"] == split
        logits, labels = stored["logit"][chosen].astype(float), stored["correct"][chosen].astype(float)
    problems = np.repeat(np.arange(len(logits)), logits.shape[1])
    # The answers of one problem hang together: its solutions count as about ten.
    counts = np.full(logits.size, 10 / logits.shape[1])
    return {
        "logit": logits.ravel().clip(-LARGEST, LARGEST),
        "label": labels.ravel(),
        "count": counts,
        "problem": problems,
    }, labels.mean()


def losses(columns, logits):
    """Weighted log loss of every problem."""
    each = -np.where(columns["label"] == 1, log_expit(logits), log_expit(-logits)) * columns["count"]
    sums, weights = (np.bincount(columns["problem"].astype(int), one) for one in (each, columns["count"]))
    return sums[weights > 0] / weights[weights > 0]


def report(name, columns, logits):
    found = score_metrics(logits, columns["label"], counts=columns["count"])
    gains = losses(columns, columns["logit"]) - losses(columns, logits)
    low, high = bootstrap_interval(gains)
    print(
        f"{name:12s} log loss {found.log_loss:.4f}  Brier {found.brier_score:.4f}  ECE {found.calibration_error:.4f}  "
        f"AUC {found.auc:.4f}  gain {1000 * gains.mean():+6.2f} [{1000 * low:+.2f}, {1000 * high:+.2f}] millinats"
    )


def compare(validation, test):
    """Fit every map, print what it does on the test columns, and return the fits by name."""
    report("as they are", test, test["logit"])
    maps = (
        TemperatureCalibration(),
        PlattCalibration(),
        BetaCalibration(),
        MonotoneCalibration.at_quantiles(validation["logit"]),
    )
    fits = {}
    for calibration in maps:
        fit = fit_calibration(calibration, validation["logit"], validation["label"], counts=validation["count"], seed=0)
        fits[calibration.name] = fit
        for how in ("plug_in", "marginal"):
            mapped = getattr(fit.posterior, how)(torch.from_numpy(test["logit"])).numpy()
            report(calibration.name if how == "plug_in" else "  marginal", test, mapped)
        print(f"             log evidence {fit.log_evidence:.2f}, {fit!r}")
    return fits


def filtered(models, problems, num_particles, fit, power):
    """Print accuracy and predicted pass rate with scores as they are and calibrated."""
    answers = {}
    for beta in (1.0, power):
        for name, posterior in {"as they are": None, **fit}.items():
            likelihood = TwistLikelihood(beta)
            if posterior is not None:
                likelihood = CalibratedLikelihood(likelihood, posterior, "marginal")
            smc = ParticleFilter(LanguageModelStateSpace(*models, likelihood), num_particles=num_particles)
            results = []
            for first in range(0, len(problems), BATCH):
                results += smc.run_batch([one.problem for one in problems[first : first + BATCH]], seed=first)
            right = np.array([correct(one.answer, problem) for one, problem in zip(results, problems, strict=True)])
            base = answers.setdefault(beta, right)
            predicted = np.mean([np.exp(one.log_evidence) for one in results])
            posterior_mass = np.mean(
                [
                    sum(answer.probability for answer in one.answers if correct(answer.answer, problem))
                    for one, problem in zip(results, problems, strict=True)
                ]
            )
            low, high = bootstrap_interval(right.astype(float) - base)
            print(
                f"twist beta={beta:g} {name:12s} accuracy {right.mean():.3f} ({100 * (right.mean() - base.mean()):+.1f} "
                f"[{100 * low:+.1f}, {100 * high:+.1f}])  posterior of the right answer {posterior_mass:.3f}  "
                f"mean evidence {predicted:.3f}  mean ESS {np.mean([one.ess.mean() for one in results]):.1f}"
            )


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--num-validation", type=int, default=100)
    parser.add_argument("--num-test", type=int, default=100)
    parser.add_argument("--num-completions", type=int, default=8, help="solutions sampled for each problem")
    parser.add_argument("--num-filtered", type=int, default=100, help="test problems for the filter; 0 leaves it out")
    parser.add_argument("--num-particles", type=int, default=16)
    parser.add_argument(
        "--pools", type=Path, nargs="?", const=POOLS, help="use the whole solutions of pools and run no model"
    )
    options = parser.parse_args()

    if options.pools:
        (validation, _), (test, rate) = (pooled_solutions(options.pools, split) for split in ("validation", "test"))
        print(f"{len(validation['logit'])} validation and {len(test['logit'])} test solutions, pass@1 on test {rate:.3f}")
        compare(validation, test)
        return
    models = (
        TransformersLanguageModel.from_pretrained(LANGUAGE_MODEL_PATH),
        TokenClassificationRewardModel.from_pretrained(REWARD_MODEL_PATH),
    )
    method = BestOfN(LanguageModelStateSpace(*models), num_completions=options.num_completions)
    problems = {
        split: generate_problems(number, num_steps=DEFAULT_NUM_STEPS, split=split, seed=PROBLEM_SEED)
        for split, number in (("validation", options.num_validation), ("test", options.num_test))
    }
    validation, _ = labelled_prefixes(method, problems["validation"], 1000)
    test, rate = labelled_prefixes(method, problems["test"], 500_000)
    print(f"{len(validation['logit'])} validation and {len(test['logit'])} test prefixes, pass@1 on test {rate:.3f}")
    fits = compare(validation, test)
    if options.num_filtered:
        chosen = {name: fits[name].posterior for name in ("platt", "monotone")}
        filtered(models, problems["test"][: options.num_filtered], options.num_particles, chosen, models[1].likelihood_beta)


if __name__ == "__main__":
    main()
