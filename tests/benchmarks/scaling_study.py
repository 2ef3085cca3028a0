"""The scaling study: methods at budgets 1 to 64 on 300 held-out problems, half of them harder, with three seeds.

    OMP_NUM_THREADS=1 python tests/benchmarks/scaling_study.py --folder build/study       # or: make study

It writes the problems, runs ``ppl-scaling curve`` on them, which goes on where it was when it is interrupted (about five
hours of one core in all), and packs what tutorial 8 reads: who was right, and for how many tokens. ``--pack-only`` packs
what is there; what was packed before stays. The settings of each method are those that won on validation problems
(``choose_settings.py``).
"""

import argparse
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np

from ppl_scaling.inference import read_evaluation
from ppl_scaling.tasks import generate_problems
from ppl_scaling.tasks.arithmetic import DEFAULT_NUM_STEPS

PROBLEM_SEED = 2026
LENGTHS = DEFAULT_NUM_STEPS, DEFAULT_NUM_STEPS + 2
PACKED = Path(__file__).parents[2] / "tutorials" / "scaling_study.npz"
ALL = (1, 2, 4, 8, 16, 32, 64)
# What a method is called in the tables, how it is typed, and its budgets. A beam search has two candidates at least; the
# other likelihoods run where the ratios need them.
METHODS = {
    "majority vote": ("majority-vote", ALL),
    "best-of-n": ("best-of-n", ALL),
    "weighted best-of-n": ("weighted-best-of-n", ALL),
    "particle filter, twist": ("particle-filter:likelihood=twist,beta=8,choice=mode", ALL),
    "dvts": ("dvts", ALL[1:]),
    "beam search": ("beam-search:beam_width=2", ALL[1:]),
    "particle filter, bernoulli": ("particle-filter:likelihood=bernoulli,beta=1,choice=mode", (4, 8, 16)),
    "particle filter, odds": ("particle-filter:likelihood=odds,choice=mode", (4, 8, 16)),
}


def write_problems(path, number):
    """Easier and harder problems in turn."""
    kinds = [generate_problems(number // 2, num_steps=steps, split="test", seed=PROBLEM_SEED) for steps in LENGTHS]
    rows = [
        {"id": f"{steps}-{position}", "problem": one.problem, "answer": one.answer, "num_steps": steps}
        for position, pair in enumerate(zip(*kinds, strict=True))
        for steps, one in zip(LENGTHS, pair, strict=True)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def run(folder, seeds, number):
    """Run every method at its budgets; those that share completions go together."""
    folder.mkdir(parents=True, exist_ok=True)
    write_problems(folder / "problems.jsonl", number)
    sweeps = {}
    for typed, budgets in METHODS.values():
        sweeps.setdefault((budgets, typed.startswith("particle")), []).append(typed)
    for (budgets, _), methods in sweeps.items():
        command = [sys.executable, "-c", "from ppl_scaling.cli import main; main()", "curve", str(folder / "problems.jsonl")]
        command += ["--methods", *methods, "--budgets", *map(str, budgets), "--seeds", *map(str, seeds)]
        subprocess.run([*command, "--batch-size", "5", "--output-dir", str(folder)], check=True)


COLUMNS = ("method", "budget", "seed", "problem", "correct", "generated_tokens", "prm_calls")
KINDS = {"method": np.uint8, "budget": np.uint8, "seed": np.uint8, "correct": np.bool_, "problem": np.uint16}


def pack(folder, path, number):
    """Write one row a problem, seed, method and budget: complete cells of the folder, and what else the file had."""
    cells = {}
    if path.exists():
        with np.load(path) as known:
            of_known = [list(METHODS).index(str(name)) for name in known["names"]]
            for row in np.stack([known[name].astype(np.int64) for name in COLUMNS], 1):
                cells.setdefault((of_known[row[0]], int(row[1]), int(row[2])), []).append([of_known[row[0]], *row[1:]])
    for method, (typed, _) in enumerate(METHODS.values()):
        slug = re.sub(r"[^A-Za-z0-9@._-]+", "_", typed)  # as the sweep names its folders
        for file in sorted((folder / "results").glob(f"{slug}*/**/budget-*-seed-*.jsonl")):
            budget, seed = map(int, re.fullmatch(r"budget-(\d+)-seed-(\d+)", file.stem).groups())
            records = read_evaluation(file)
            if len(records) == number:
                cells[method, budget, seed] = [
                    [method, budget, seed, one.index, one.correct, one.generated_tokens, one.prm_calls] for one in records
                ]
    columns = np.array([row for cell in sorted(cells) for row in cells[cell]]).T
    arrays = {name: column.astype(KINDS.get(name, np.uint32)) for name, column in zip(COLUMNS, columns, strict=True)}
    np.savez_compressed(path, **arrays, names=np.array(list(METHODS)), lengths=np.array(LENGTHS))
    print(f"{path}: {path.stat().st_size / 1e3:.0f} kB")
    for method, name in enumerate(METHODS):
        print(f"{name:28s} budget and seed:", *(f"{budget}/{seed}" for one, budget, seed in sorted(cells) if one == method))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--num-problems", type=int, default=300)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--pack-only", action="store_true")
    parser.add_argument("--packed", type=Path, default=PACKED)
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    if not options.pack_only:
        run(options.folder, options.seeds, options.num_problems)
    pack(options.folder, options.packed, options.num_problems)


if __name__ == "__main__":
    main()
