"""Accuracy of the particle filter on held-out problems, beside pass@1 and the majority vote.

All three use the same language model with the same number of samples. Run it as

    python tests/benchmarks/accuracy.py                      # 200 test problems, 16 particles, default settings
    python tests/benchmarks/accuracy.py --split validation --compare   # every likelihood, to choose the defaults

Settings are chosen on validation problems only; the test problems are for the figures that are reported.
"""

import argparse
import time

import numpy as np

from ppl_scaling.backends import TokenClassificationRewardModel, TransformersLanguageModel
from ppl_scaling.inference import ParticleFilter
from ppl_scaling.models import BernoulliLikelihood, LanguageModelStateSpace, OddsLikelihood, TwistLikelihood
from ppl_scaling.models.pretrained import LANGUAGE_MODEL_PATH, REWARD_MODEL_PATH
from ppl_scaling.tasks import answers_equivalent, generate_problems
from ppl_scaling.tasks.arithmetic import DEFAULT_NUM_STEPS

BATCH = 20


def correct(answer, problem):
    return answer is not None and answers_equivalent(answer, problem.answer)


def run(smc, problems, seed):
    """Results of all problems, in batches of groups, and the seconds they took."""
    started, results = time.perf_counter(), []
    for first in range(0, len(problems), BATCH):
        results += smc.run_batch([one.problem for one in problems[first : first + BATCH]], seed=seed + first)
    return results, time.perf_counter() - started


def interval(differences, seed=0):
    """95 % bootstrap interval of a mean over problems."""
    rng = np.random.default_rng(seed)
    means = rng.choice(differences, (10_000, len(differences))).mean(1)
    return tuple(np.quantile(means, [0.025, 0.975]))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--num-problems", type=int, default=200)
    parser.add_argument("--num-steps", type=int, default=DEFAULT_NUM_STEPS)
    parser.add_argument("--num-particles", type=int, default=16)
    parser.add_argument("--split", default="test")
    parser.add_argument("--problem-seed", type=int, default=2024)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--compare", action="store_true", help="all likelihoods and several powers and thresholds")
    parser.add_argument("--model", default=str(LANGUAGE_MODEL_PATH))
    parser.add_argument("--prm", default=str(REWARD_MODEL_PATH))
    options = parser.parse_args()

    problems = generate_problems(
        options.num_problems, num_steps=options.num_steps, split=options.split, seed=options.problem_seed
    )
    language_model = TransformersLanguageModel.from_pretrained(options.model)
    reward_model = TokenClassificationRewardModel.from_pretrained(options.prm)
    print(
        f"{len(problems)} {options.split} problems of {options.num_steps} steps, {options.num_particles} particles, "
        f"seeds {options.seeds}"
    )

    # Without a reward model the particles are independent samples: their equal-weight vote is the majority vote.
    samples, votes, sampling_seconds = [], [], 0.0
    for seed in options.seeds:
        smc = ParticleFilter(LanguageModelStateSpace(language_model, None), num_particles=options.num_particles)
        results, seconds = run(smc, problems, 1_000_000 + 1000 * seed)
        sampling_seconds += seconds
        samples.append([[correct(t.answer, p) for t in r.trajectories] for r, p in zip(results, problems, strict=True)])
        votes.append([correct(r.answer, p) for r, p in zip(results, problems, strict=True)])
    pass_at_1 = np.mean(samples, axis=(0, 2))
    majority = np.mean(votes, axis=0)
    print(f"pass@1                {pass_at_1.mean():6.3f}   (oracle pass@N {np.mean(np.any(samples, axis=2)):.3f})")
    print(f"majority vote         {majority.mean():6.3f}   {sampling_seconds:6.1f} s")

    cases = {"default settings": (None, None)}
    if options.compare:
        cases = {
            f"{likelihood!r}, threshold {threshold}": (likelihood, threshold)
            for likelihood in (
                BernoulliLikelihood(),
                TwistLikelihood(),
                TwistLikelihood(beta=2.0),
                TwistLikelihood(beta=4.0),
                OddsLikelihood(),
                OddsLikelihood(temperature=4.0),
            )
            for threshold in (0.5, 1.0)
        }
    for name, (likelihood, threshold) in cases.items():
        model = LanguageModelStateSpace(language_model, reward_model, likelihood)
        smc = ParticleFilter(model, num_particles=options.num_particles, ess_threshold=threshold)
        modes, best, total_seconds = [], [], 0.0
        for seed in options.seeds:
            results, seconds = run(smc, problems, 1000 * seed)
            total_seconds += seconds
            modes.append([correct(r.answer, p) for r, p in zip(results, problems, strict=True)])
            best.append(
                [correct(r.choose("best_score") if r.answers else None, p) for r, p in zip(results, problems, strict=True)]
            )
        mode = np.mean(modes, axis=0)
        print(
            f"{name:55s} mode {mode.mean():6.3f}  best score {np.mean(best):6.3f}  "
            f"mean ESS {np.mean([r.ess.mean() for r in results]):5.1f}  {total_seconds:6.1f} s "
            f"({total_seconds / sampling_seconds:.2f} times the sampling alone)"
        )
        for other, accuracy in {"pass@1": pass_at_1, "majority vote": majority}.items():
            low, high = interval(mode - accuracy)
            gain = 100 * (mode - accuracy).mean()
            print(f"    minus {other:14s} {gain:+6.1f} points   95 % [{100 * low:+.1f}, {100 * high:+.1f}]")


if __name__ == "__main__":
    main()
