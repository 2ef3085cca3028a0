"""Try settings on validation problems, side by side: this is where the defaults come from.

    OMP_NUM_THREADS=1 python tests/benchmarks/choose_settings.py --output settings.jsonl

Half of the problems have the default number of steps, half are harder. Every setting runs on the same problems, with the
same seeds, at every number of particles; each run is read in two ways, by the posterior's mode and by the best final score.
A setting's accuracy is printed with its paired difference from the first one. Runs are appended to the output, so that an
interrupted command goes on where it was; the test problems are touched by none of this.
"""

import argparse
import json
import time
from collections import defaultdict
from pathlib import Path

import numpy as np

from ppl_scaling.backends import TokenClassificationRewardModel, TransformersLanguageModel
from ppl_scaling.inference import ParticleFilter, resampling_scheme
from ppl_scaling.inference.baselines import DVTS, BeamSearch, BestOfN, WeightedBestOfN
from ppl_scaling.inference.evaluation_summary import bootstrap_interval
from ppl_scaling.models import BernoulliLikelihood, LanguageModelStateSpace, OddsLikelihood, TwistLikelihood
from ppl_scaling.models.pretrained import LANGUAGE_MODEL_PATH, REWARD_MODEL_PATH
from ppl_scaling.tasks import answers_equivalent, generate_problems
from ppl_scaling.tasks.arithmetic import DEFAULT_NUM_STEPS

BATCH = 5  # problems at once: the caches of more than a few hundred particles are slower than those of fewer
HARDER = DEFAULT_NUM_STEPS + 2


def settings():
    """Every setting: its name, and a function of the models and the number of particles that makes the method."""
    filters = {}
    for beta in (1, 2, 0.5, 4):
        filters[f"bernoulli beta={beta}"] = (BernoulliLikelihood(beta), {})
    for beta in (1, 2, 4, 8, 16):
        filters[f"twist beta={beta}"] = (TwistLikelihood(beta), {})
    for temperature in (1, 2, 4):
        filters[f"odds temperature={temperature}"] = (OddsLikelihood(temperature), {})
    for likelihood in (BernoulliLikelihood(1), TwistLikelihood(4), TwistLikelihood(8)):
        for threshold in (0.25, 0.75, 1.0):
            name = f"{type(likelihood).__name__.removesuffix('Likelihood').lower()} beta={likelihood.beta:g}"
            filters[f"{name} ess_threshold={threshold}"] = (likelihood, {"ess_threshold": threshold})
    for scheme in ("multinomial", "stratified", "residual", "ssp"):
        filters[f"twist beta=8 {scheme}"] = (TwistLikelihood(8), {"resampling": resampling_scheme(scheme)})

    def filtering(likelihood, given):
        return lambda lm, prm, number: ParticleFilter(
            LanguageModelStateSpace(lm, prm, likelihood), num_particles=number, **given
        )

    def searching(kind, width):
        return lambda lm, prm, number: kind(LanguageModelStateSpace(lm, prm), num_particles=number, beam_width=width)

    def selecting(kind):
        return lambda lm, prm, number: kind(LanguageModelStateSpace(lm, prm), num_completions=number)

    made = {name: filtering(*how) for name, how in filters.items()}
    made |= {"best-of-n": selecting(BestOfN), "weighted-best-of-n": selecting(WeightedBestOfN)}
    made |= {f"beam-search width={width}": searching(BeamSearch, width) for width in (2, 4)}
    return made | {f"dvts width={width}": searching(DVTS, width) for width in (2, 4)}


def correct(answer, problem):
    return answer is not None and answers_equivalent(answer, problem.answer)


def run(method, problems, seed):
    """Rows of the problems: whether mode and best score are right, and the cost."""
    for first in range(0, len(problems), BATCH):
        batch = problems[first : first + BATCH]
        started = time.perf_counter()
        results = method.run_batch([one.problem for one in batch], seed=seed + first)
        seconds = (time.perf_counter() - started) / len(batch)
        for offset, (problem, result) in enumerate(zip(batch, results, strict=True)):
            chosen = {how: result.choose(how) if result.answers else None for how in ("mode", "best_score")}
            yield {
                "problem": first + offset,
                **{how: correct(answer, problem) for how, answer in chosen.items()},
                "generated_tokens": result.generated_tokens,
                "seconds": seconds,
            }


def rows(path):
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def table(found, names, sizes, readings):
    """Print accuracy by setting, reading and size, with paired differences from the first setting read by its mode."""
    cells = defaultdict(lambda: defaultdict(list))
    for row in found:
        for how in readings:
            cells[row["setting"], row["num_particles"], how][row["problem"]].append(row[how])
    for size in sizes:
        base = cells[names[0], size, readings[0]]
        for name in names:
            for how in readings:
                cell = cells.get((name, size, how))
                if not cell:
                    continue
                means = {problem: np.mean(right) for problem, right in cell.items()}
                gains = np.array([means[one] - np.mean(base[one]) for one in means if one in base])
                low, high = bootstrap_interval(gains) if len(gains) else (np.nan, np.nan)
                half = [np.mean([means[one] for one in means if one % 2 == parity]) for parity in (0, 1)]
                print(
                    f"N={size:<3d} {name:38s} {how:10s} {np.mean(list(means.values())):.3f} "
                    f"({half[0]:.3f} at {DEFAULT_NUM_STEPS} steps, {half[1]:.3f} at {HARDER}) "
                    f"{100 * gains.mean():+5.1f} [{100 * low:+5.1f}, {100 * high:+5.1f}]  {len(means)} problems"
                )


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--num-problems", type=int, default=200)
    parser.add_argument("--num-particles", type=int, nargs="+", default=[4, 16])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--only", nargs="+", help="settings of these names")
    parser.add_argument("--table", action="store_true", help="print what the output holds and run nothing")
    options = parser.parse_args()

    half = options.num_problems // 2
    easy, hard = (
        generate_problems(half, num_steps=steps, split="validation", seed=11) for steps in (DEFAULT_NUM_STEPS, HARDER)
    )
    problems = [one for pair in zip(easy, hard, strict=True) for one in pair]
    made = settings()
    if options.only:
        if unknown := set(options.only) - set(made):
            parser.error(f"expected settings among {', '.join(made)}, got {', '.join(unknown)}")
        made = {name: made[name] for name in options.only}
    known = rows(options.output)
    if not options.table:
        lm = TransformersLanguageModel.from_pretrained(LANGUAGE_MODEL_PATH)
        prm = TokenClassificationRewardModel.from_pretrained(REWARD_MODEL_PATH)
        counts = defaultdict(int)
        for row in known:
            counts[row["setting"], row["num_particles"], row["seed"]] += 1
        for name, make in made.items():
            for size in options.num_particles:
                for seed in options.seeds:
                    if counts[name, size, seed] >= len(problems):
                        continue
                    cell = {"setting": name, "num_particles": size, "seed": seed}
                    new = [cell | row for row in run(make(lm, prm, size), problems, 100_000 + 1000 * seed)]
                    with options.output.open("a") as file:
                        file.writelines(json.dumps(row) + "\n" for row in new)
                    known += new
    table(known, list(made), options.num_particles, ("mode", "best_score"))


if __name__ == "__main__":
    main()
