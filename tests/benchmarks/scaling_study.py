"""The scaling study: methods at budgets 1 to 64 on 300 held-out problems, half of them harder, with three seeds.

    OMP_NUM_THREADS=1 python tests/benchmarks/scaling_study.py --folder build/study       # or: make study

It writes the problems, runs ``ppl-scaling curve`` on them, which goes on where it was when it is interrupted (about four
hours of one core in all), and packs what tutorial 8 reads: who was right, and for how many tokens. ``--pack-only`` packs
what is there. The settings of each method are those that won on validation problems (``choose_settings.py``).
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
# What a method is called in the tables, how it is typed, and its budgets: the searches and the other likelihoods run where
# the ratios need them.
METHODS = {
    "majority vote": ("majority-vote", ALL),
    "best-of-n": ("best-of-n", ALL),
    "weighted best-of-n": ("weighted-best-of-n", ALL),
    "particle filter, twist": ("particle-filter:likelihood=twist,beta=8,choice=mode", ALL),
    "dvts": ("dvts", (4, 16)),
    "beam search": ("beam-search:beam_width=2", (4, 16)),
    "particle filter, bernoulli": ("particle-filter:likelihood=bernoulli,beta=1,choice=mode", (4, 16)),
    "particle filter, odds": ("particle-filter:likelihood=odds,choice=mode", (4, 16)),
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


def pack(folder, path):
    """Write one row a problem, seed, method and budget as arrays of small integers."""
    columns = {name: [] for name in ("method", "budget", "seed", "problem", "correct", "generated_tokens", "prm_calls")}
    names = list(METHODS)
    for number, (typed, budgets) in enumerate(METHODS.values()):
        slug = re.sub(r"[^A-Za-z0-9@._-]+", "_", typed)  # as the sweep names its folders
        files = sorted((folder / "results").glob(f"{slug}*/**/budget-*-seed-*.jsonl"))
        for file in files:
            budget, seed = map(int, re.fullmatch(r"budget-(\d+)-seed-(\d+)", file.stem).groups())
            records = read_evaluation(file)
            if budget not in budgets or not records:
                continue
            for record in records:
                row = (number, budget, seed, record.index, record.correct, record.generated_tokens, record.prm_calls)
                for column, value in zip(columns.values(), row, strict=True):
                    column.append(int(value))
    kinds = {"method": np.uint8, "budget": np.uint8, "seed": np.uint8, "correct": np.bool_, "problem": np.uint16}
    arrays = {name: np.array(values, dtype=kinds.get(name, np.uint32)) for name, values in columns.items()}
    np.savez_compressed(path, **arrays, names=np.array(names), lengths=np.array(LENGTHS))
    found = {name: int((arrays["method"] == number).sum()) for number, name in enumerate(names)}
    print(f"{path}: {path.stat().st_size / 1e3:.0f} kB, rows {found}")


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
    pack(options.folder, options.packed)


if __name__ == "__main__":
    main()
