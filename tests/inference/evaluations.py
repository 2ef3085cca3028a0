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
from ppl_scaling.inference.method import Method
from ppl_scaling.inference.results import Result, Trajectory
from ppl_scaling.models import LanguageModelStateSpace
from ppl_scaling.tasks.grading import Grade
from ppl_scaling.tasks.problem_files import Problem

PROBLEMS = [Problem(f"p{number}", f"Which letter, {number}?", "ab"[number % 2]) for number in range(11)]
SETTINGS = {"method": "test"}
TIMES = {"seconds"}


class LastLetter:
    def extract(self, text):
        return text[-1:] or None

    def equivalent(self, first, second):
        return first == second


def particle_filter(num_particles=4):
    language = FiniteLanguageModel({"": {"a": 0.5, "b": 0.3, "$": 0.2}})
    reward = FunctionRewardModel(lambda prompt, text: 0.9 if text.endswith("b") else 0.4)
    model = LanguageModelStateSpace(language, reward, max_steps=4)
    return ParticleFilter(model, num_particles=num_particles, answer_format=LastLetter())


class Coin(Method):
    """Answers at random, and fails on problems that say so: ``bad`` for the whole batch, ``dies`` for the group alone."""

    method = "coin"

    def __init__(self, pause=0.0):
        super().__init__(model=None, answer_format=LastLetter())
        self.pause = pause
        self.batches = []

    def _infer(self, problems, seed, on_step):
        self.batches.append(list(problems))
        time.sleep(self.pause)
        if any("bad" in problem for problem in problems):
            raise ValueError("expected a problem that fits, got a bad one\nTrace Shapes: none")
        return [
            AllWeightsZeroError(1, 0, "y_1") if "dies" in problem else self._result(problem, seed) for problem in problems
        ]

    def _result(self, problem, seed):
        answer = "abc"[int(torch.randint(3, ()))]
        answer = None if answer == "c" else answer
        written = Trajectory((), "", (), 0.5, 0.0, 1.0, answer, answer is not None, answer is None, 3, ())
        return Result(problem, self.method, answer, (), float(answer is None), (written,), 3, 5, 7, 1, 0.0, seed, {})


def grade(answer, expected):
    return Grade(answer == expected)


def without_times(path):
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return [json.dumps({name: value for name, value in row.items() if name not in TIMES}) for row in rows]


def main():
    """Run the evaluation in a child for every line that is read; a fork saves the seconds of the imports."""
    for _ in sys.stdin:
        child = os.fork()
        if child == 0:
            method = particle_filter()
            with Evaluation(PROBLEMS, sys.argv[1], settings=SETTINGS, seeds=(0, 1), batch_size=3) as evaluation:
                print(os.getpid(), flush=True)
                evaluation.run(method, grade, on_record=lambda record: time.sleep(0.08))
            os._exit(0)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    main()
