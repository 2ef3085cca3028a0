"""Draw the pools of completions on which stopping rules are replayed.

    OMP_NUM_THREADS=1 python tests/benchmarks/draw_pools.py

100 validation problems, to tune on, and 200 test problems; half of each have the default number of steps, half have two
more. Each has 128 independent completions of the embedded models, by best-of-n as the library runs it. What is kept of
a completion: the logits of its last score and its mean score, number of its answer among those of the problem (-1: none),
whether that is right, and its tokens. Every batch is written when it is done, so that an interrupted command goes on where
it was; the same command gives the same pools again (up to how a machine rounds).
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
from scipy.special import logit

from ppl_scaling.backends import TokenClassificationRewardModel, TransformersLanguageModel
from ppl_scaling.errors import PPLScalingError
from ppl_scaling.inference.answers import group_answers
from ppl_scaling.inference.baselines import BestOfN
from ppl_scaling.models import LanguageModelStateSpace
from ppl_scaling.models.pretrained import LANGUAGE_MODEL_PATH, REWARD_MODEL_PATH
from ppl_scaling.tasks import answers_equivalent, generate_problems
from ppl_scaling.tasks.arithmetic import DEFAULT_NUM_STEPS

POOLS = Path(__file__).parent / "data" / "pools.npz"
SIZES = {"validation": 100, "test": 200}
LENGTHS = DEFAULT_NUM_STEPS, DEFAULT_NUM_STEPS + 2
PROBLEM_SEED = 515
BATCH = 5  # problems at once
AT_ONCE = 64  # completions of each of them
ROUNDS = 2


def problems_of(split):
    """Easier and harder problems in turn: the split, the number of steps and the problem."""
    half = SIZES[split] // 2
    kinds = [generate_problems(half, num_steps=steps, split=split, seed=PROBLEM_SEED) for steps in LENGTHS]
    return [(split, steps, one) for pair in zip(*kinds, strict=True) for steps, one in zip(LENGTHS, pair, strict=True)]


def drawn(method, chosen, seed):
    """Arrays of shape (problems, completions)."""
    rounds = [method.run_batch([one.problem for _, _, one in chosen], seed=seed + number) for number in range(ROUNDS)]
    found = {"logit": [], "mean_logit": [], "answer": [], "correct": [], "tokens": []}
    for results, (_, _, problem) in zip(zip(*rounds, strict=True), chosen, strict=True):
        if any(isinstance(one, PPLScalingError) for one in results):
            raise next(one for one in results if isinstance(one, PPLScalingError))
        written = [one for result in results for one in result.trajectories]
        numbers = group_answers([one.answer for one in written], method.answer_format)
        right = {
            number: answers_equivalent(one.answer, problem.answer)
            for one, number in reversed(list(zip(written, numbers, strict=True)))
            if number is not None
        }
        found["logit"].append([logit(one.score) for one in written])
        found["mean_logit"].append([logit(np.mean(one.scores)) for one in written])
        found["answer"].append([-1 if number is None else number for number in numbers])
        found["correct"].append([right.get(number, False) for number in numbers])
        found["tokens"].append([one.num_tokens for one in written])
    kinds = {"logit": np.float32, "mean_logit": np.float32, "answer": np.int16, "correct": bool, "tokens": np.uint16}
    return {name: np.array(rows, dtype=kinds[name]) for name, rows in found.items()}


def load_pools(path=POOLS):
    """Read the pools: a dictionary of arrays, the problems in the first dimension and the completions in the second."""
    with np.load(path) as stored:
        return {name: stored[name] for name in stored.files}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--output", type=Path, default=POOLS)
    parser.add_argument("--parts", type=Path, default=Path(tempfile.gettempdir()) / "ppl-scaling-pools")
    options = parser.parse_args()
    options.parts.mkdir(parents=True, exist_ok=True)
    options.output.parent.mkdir(parents=True, exist_ok=True)

    problems = problems_of("validation") + problems_of("test")
    method = BestOfN(
        LanguageModelStateSpace(
            TransformersLanguageModel.from_pretrained(LANGUAGE_MODEL_PATH),
            TokenClassificationRewardModel.from_pretrained(REWARD_MODEL_PATH),
        ),
        num_completions=AT_ONCE,
    )
    parts = []
    for first in range(0, len(problems), BATCH):
        part = options.parts / f"{first:04d}.npz"
        parts.append(part)
        if part.exists():
            continue
        started = time.perf_counter()
        rows = drawn(method, problems[first : first + BATCH], seed=700_000 + 10 * first)
        with tempfile.NamedTemporaryFile(dir=options.parts, suffix=".npz", delete=False) as file:
            np.savez(file, **rows)
        Path(file.name).replace(part)
        seconds = time.perf_counter() - started
        print(
            f"problems {first + 1}-{first + BATCH} of {len(problems)}: {rows['correct'].mean():.3f} right, {seconds:.0f} s",
            flush=True,
        )
    rows = [load_pools(part) for part in parts]
    pools = {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}
    configuration = json.dumps({"problem_seed": PROBLEM_SEED, **method.configuration}, default=str)
    np.savez_compressed(
        options.output,
        **pools,
        split=np.array([split for split, _, _ in problems]),
        num_steps=np.array([steps for _, steps, _ in problems], dtype=np.int8),
        configuration=np.array(configuration),
    )
    print(f"{pools['correct'].size} completions, {options.output.stat().st_size / 2**20:.2f} MiB")


if __name__ == "__main__":
    main()
