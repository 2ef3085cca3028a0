"""Small evaluations for tests: a finite world, and a method that fails where it is told to. Also a program to be killed."""

import json
import os
import sys
import time

import torch

from ppl_scaling.backends.finite import FiniteLanguageModel, FunctionRewardModel
from ppl_scaling.errors import AllWeightsZeroError
from ppl_scaling.inference import ParticleFilter
from ppl_scaling.inference.evaluation import Evaluation
from ppl_scaling.inference.evaluation_file import EvaluationRecord
from ppl_scaling.inference.method import Method
from ppl_scaling.inference.results import Result, Trajectory
from ppl_scaling.models import LanguageModelStateSpace
from ppl_scaling.tasks.grading import Grade
from ppl_scaling.tasks.problem_files import Problem
from tests.worlds import LastLetter

PROBLEMS = [Problem(f"p{number}", f"Which letter, {number}?", "ab"[number % 2]) for number in range(11)]
SETTINGS = {"method": "test"}
TIMES = {"seconds"}


def particle_filter(num_particles=4):
    language = FiniteLanguageModel({"": {"a": 0.5, "b": 0.3, "$": 0.2}})
    reward = FunctionRewardModel(lambda prompt, text: 0.9 if text.endswith("b") else 0.4)
    model = LanguageModelStateSpace(language, reward, max_steps=4)
    return ParticleFilter(model, num_particles=num_particles, answer_format=LastLetter())


class Coin(Method):
    """Answers at random, and fails on problems that say so: ``bad`` for the whole batch, ``dies`` for the group alone."""

    method = "coin"

    def __init__(self):
        super().__init__(model=None, answer_format=LastLetter())
        self.batches = []

    def _infer(self, problems, seed, on_step):
        self.batches.append(list(problems))
        if any("bad" in problem for problem in problems):
            raise ValueError("expected a problem that fits, got a bad one\nTrace Shapes: none")
        return [
            AllWeightsZeroError(1, 0, "y_1") if "dies" in problem else self._result(problem, seed) for problem in problems
        ]

    def _result(self, problem, seed):
        answer = "abc"[int(torch.randint(3, ()))]
        answer = None if answer == "c" else answer
        written = Trajectory((), "", (), 0.5, 0.0, 1.0, answer, answer is not None, answer is None, 3, ())
        spent = {"generated_tokens": 3, "lm_tokens_forwarded": 5, "prm_tokens_forwarded": 7, "prm_calls": 1}
        spent |= {"draft_tokens_forwarded": 2, "seconds": 0.0}
        share = float(answer is None)
        return Result(problem, self.method, answer, (), share, (written,), seed=seed, configuration={}, **spent)


def grade(answer, expected):
    return Grade(answer == expected)


def record(index, correct, seed=0, **changes):
    """A made-up record of a problem that was answered rightly or wrongly."""
    settings = {
        "index": index,
        "id": str(index),
        "seed": seed,
        "expected": "1",
        "answer": "1" if correct else "2",
        "correct": bool(correct),
        "grading_timed_out": False,
        "error": None,
        "answers": [],
        "no_answer_probability": 0.0,
        "log_evidence": None,
        "num_trajectories": 4,
        "num_finished": 3,
        "num_truncated": 1,
        "generated_tokens": 10,
        "lm_tokens_forwarded": 20,
        "prm_tokens_forwarded": 30,
        "draft_tokens_forwarded": 2,
        "prm_calls": 5,
        "batch_seed": 1,
        "seconds": 0.5,
    }
    return EvaluationRecord(**(settings | changes))


def without_times(path):
    """Lines of a file of records, less what differs from run to run."""
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return [json.dumps({name: value for name, value in row.items() if name not in TIMES}) for row in rows]


def main():
    """Run the evaluation in a child for every line that is read; a fork saves the seconds of the imports.

    To be run as ``python -m tests.inference.evaluations PATH``, from the root of the repository.
    """
    for _ in sys.stdin:
        child = os.fork()
        if child == 0:
            method = particle_filter()
            with Evaluation(PROBLEMS, sys.argv[1], settings=SETTINGS, seeds=(0, 1), batch_size=3) as evaluation:
                print(os.getpid(), flush=True)
                evaluation.run(method, grade, on_record=lambda _: time.sleep(0.08))
            os._exit(0)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    main()
