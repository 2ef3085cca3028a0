r"""Accuracy against its_hub's ``ParticleFiltering`` on the same models and problems.

    OMP_NUM_THREADS=1 python tests/benchmarks/compare_its_hub.py --peer-python PEERS/bin/python --output its_hub.jsonl

Three particle filters on the embedded models, at each number of particles:

- its_hub's own (1.2.0), as it is: a particle's weight is the odds of its *current* score alone, all particles are resampled
  multinomially after every step, those that have finished too (each time by the odds of their last score), and the answer is
  that of the largest weight;
- ours with the settings it has by default;
- ours with ``OddsLikelihood``, which uses its weights, but lets a finished particle rest.

The test problems have the default number of steps and two more in turn; all answers end by the model's own end token, a step
is a line. A line a run is appended to the output, problem by problem, so that an interrupted command goes on where it was.
The label of our filters is made of their settings, so other settings are other runs. Differences are paired.

The interpreter of the peer needs its_hub==1.2.0, and torch and transformers in the versions of this one.
"""

import argparse
import json
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
from _peers import worker
from _workloads import load

from ppl_scaling.inference import ParticleFilter
from ppl_scaling.inference.evaluation_summary import bootstrap_interval
from ppl_scaling.models import LanguageModelStateSpace, OddsLikelihood
from ppl_scaling.tasks import MathAnswers, answers_equivalent, generate_problems
from ppl_scaling.tasks.arithmetic import DEFAULT_NUM_STEPS

PEER = "its_hub"
LENGTHS = DEFAULT_NUM_STEPS, DEFAULT_NUM_STEPS + 2
PROBLEM_SEED = 2026


def interleaved(number):
    """Easier and harder test problems in turn."""
    half = -(-number // 2)
    kinds = [generate_problems(half, num_steps=steps, split="test", seed=PROBLEM_SEED) for steps in LENGTHS]
    return [one for pair in zip(*kinds, strict=True) for one in pair][:number]


def correct(answer, problem):
    return answer is not None and answers_equivalent(answer, problem.answer)


def our_filters(models):
    """Functions of the number of particles that make our filters, by their settings."""
    made = {}
    for likelihood in ({}, {"likelihood": OddsLikelihood()}):
        program = LanguageModelStateSpace(models.natural, models.reward, **likelihood)
        default = ParticleFilter(program)
        scheme = default.resampling.__name__
        label = f"ours, {program.likelihood!r}, ess_threshold={default.ess_threshold:g}, {scheme}, {default.choice}"
        made[label] = lambda number, program=program: ParticleFilter(program, num_particles=number)
    return made


def run_ours(smc, problem, seed):
    started = time.perf_counter()
    result = smc.run(problem.problem, seed=seed)
    seconds = time.perf_counter() - started
    best = result.choose("best_score") if result.answers else None
    return {
        "answer": result.answer,
        "correct": correct(result.answer, problem),
        "correct_by_best_score": correct(best, problem),
        "generated_tokens": result.generated_tokens,
        "forwarded_tokens": {"lm": result.lm_tokens_forwarded, "prm": result.prm_tokens_forwarded},
        "seconds": seconds,
    }


def run_peer(process, limits, number, problem, seed):
    reply = process.ask(peer=PEER, task="solve", problem=problem.problem, num_particles=number, seed=seed, **limits)
    answer = MathAnswers().extract(reply.pop("text"))
    del reply["num_steps"], reply["log_weights"]
    return {"answer": answer, "correct": correct(answer, problem), **reply}


def known_rows(path):
    """Rows of the output; a last line that a kill has left half-written is cut off."""
    if not path.exists():
        return []
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if len(whole) < len(content):
        path.write_bytes(whole)
    return [json.loads(line) for line in whole.splitlines()]


def table(rows, labels, sizes):
    """Print each filter's accuracy, cost and time, and the paired differences of its_hub from ours."""
    cells = defaultdict(lambda: defaultdict(list))
    for row in rows:
        cells[row["num_particles"], row["filter"]][row["problem"]].append(row)
    for size in sizes:
        print(f"{size} particles")
        shared = set.intersection(*(set(cells[size, label]) for label in labels))
        if not shared:
            print("    no problem has been run by all filters yet")
            continue
        problems = sorted(shared)

        def by_problem(label, name, size=size, problems=problems):
            return np.array([np.mean([row[name] for row in cells[size, label][one]]) for one in problems])

        theirs = by_problem(PEER, "correct")
        for label in labels:
            for name in ("correct", "correct_by_best_score"):
                if label == PEER and name != "correct":
                    continue
                rights = by_problem(label, name)
                low, high = bootstrap_interval(rights)
                title = label if name == "correct" else f"{label}, by best score".replace(", mode,", ",")
                line = f"    {title:75s} {rights.mean():6.1%} [{low:6.1%}, {high:6.1%}]"
                if name == "correct":
                    tokens, seconds = by_problem(label, "generated_tokens").mean(), by_problem(label, "seconds").mean()
                    line += f"  {tokens:6.0f} tokens  {seconds:5.2f} s a problem"
                print(line)
                if label != PEER:
                    low, high = bootstrap_interval(theirs - rights)
                    gain = 100 * (theirs - rights).mean()
                    print(f"        its_hub minus this: {gain:+.1f} points, 95 % [{100 * low:+.1f}, {100 * high:+.1f}]")
        print(f"    {len(problems)} problems that all have run")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--peer-python", help="interpreter with its_hub; without it nothing is run, and the output is shown")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--num-problems", type=int, default=150)
    parser.add_argument("--num-particles", type=int, nargs="+", default=[4, 8, 16])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    options = parser.parse_args()

    models = load("embedded")
    ours = our_filters(models)
    labels = [PEER, *ours]
    rows = known_rows(options.output)
    if options.peer_python is not None:
        limits = {
            name: getattr(LanguageModelStateSpace(models.natural, None), name) for name in ("max_steps", "max_step_tokens")
        }
        problems = interleaved(options.num_problems)
        done = {(row["filter"], row["num_particles"], row["problem"], row["seed"]) for row in rows}
        cells = [
            (index, seed, size, label)
            for index in range(len(problems))
            for seed in options.seeds
            for size in options.num_particles
            for label in labels
            if (label, size, index, seed) not in done
        ]
        with worker(options.peer_python, models, ends=True) as process, options.output.open("a") as file:
            if cells:  # what is imported and allocated first is nobody's time
                run_peer(process, {**limits, "max_steps": 1}, 2, problems[0], 0)
                run_ours(ours[labels[1]](2), problems[0], 0)
            for index, seed, size, label in cells:
                own = 100_000 * (1 + seed) + index
                if label == PEER:
                    found = run_peer(process, limits, size, problems[index], own)
                else:
                    found = run_ours(ours[label](size), problems[index], own)
                cell = {"filter": label, "num_particles": size, "problem": index, "seed": seed}
                rows.append({**cell, "num_steps": LENGTHS[index % 2], **found})
                print(json.dumps(rows[-1]), file=file, flush=True)
    table([row for row in rows if row["seed"] in options.seeds], labels, options.num_particles)


if __name__ == "__main__":
    main()
