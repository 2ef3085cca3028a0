"""Evaluation of a method on problems with known answers: interrupted at any moment, it goes on where it was.

Problems run in batches, each problem a group. The batches are fixed by the order of the problems, and the seed of a batch by
the seed of the evaluation and the number of the batch. So an interrupted run that goes on writes the same file, times apart,
as one that was left alone: a batch of which a part is missing is run again as a whole, and only what was missing is kept.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from ppl_scaling.arguments import check_integer
from ppl_scaling.errors import PPLScalingError
from ppl_scaling.inference.answers import Answer
from ppl_scaling.inference.evaluation_file import EvaluationFile, EvaluationRecord
from ppl_scaling.inference.method import Method
from ppl_scaling.inference.results import Result, finite
from ppl_scaling.tasks.grading import Grade, MathGrader
from ppl_scaling.tasks.problem_files import Problem

__all__ = ["Evaluation", "GradeAnswer", "OnRecord", "evaluate"]

GradeAnswer = Callable[["str | None", str], Grade]
"""Compares an answer with the right one."""
OnRecord = Callable[[EvaluationRecord], None]

_ANSWERS = 10  # how many answers of a problem are recorded
_TRACE = "\nTrace Shapes:"
_Task = tuple[int, Problem]


class Evaluation:
    """Problems, seeds and the file of their results; a method is needed only to run what is missing in it.

    Parameters
    ----------
    problems : sequence of Problem
    path : str or Path
        The file of results. If it is there, the evaluation goes on from it.
    settings : mapping
        Everything else that the results depend on: method, models. A file goes on under the same settings only.
    seeds : sequence of int, default (0,)
        Each problem is run once for every seed.
    batch_size : int, default 8
        Problems that run at once.
    overwrite : bool, default False
        Begin again.

    Raises
    ------
    ValueError
        If something is out of range, or the file was made with other settings.
    """

    def __init__(
        self,
        problems: Sequence[Problem],
        path: str | Path,
        *,
        settings: Mapping[str, Any],
        seeds: Sequence[int] = (0,),
        batch_size: int = 8,
        overwrite: bool = False,
    ) -> None:
        if not problems:
            raise ValueError("expected at least one problem, got none")
        self.batch_size = check_integer("batch_size", batch_size)
        self.seeds = [check_integer("a seed", seed, 0) for seed in seeds]
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"expected at least one seed, and seeds that differ, got {self.seeds}")
        self.problems = list(problems)
        digest = hashlib.sha256(json.dumps([[one.id, one.problem, one.answer] for one in problems]).encode()).hexdigest()
        fingerprint = {
            "version": version("ppl-scaling"),
            "problems": digest,
            "num_problems": len(problems),
            "seeds": self.seeds,
            "batch_size": self.batch_size,
            **settings,
        }
        self._file = EvaluationFile(path, fingerprint, overwrite=overwrite)

    def __enter__(self) -> Evaluation:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    @property
    def total(self) -> int:
        """Number of records of a complete file."""
        return len(self.problems) * len(self.seeds)

    @property
    def records(self) -> list[EvaluationRecord]:
        """All that is known so far."""
        return list(self._file.records.values())

    def run(
        self,
        method: Method,
        grade: GradeAnswer,
        *,
        keep_trajectories: bool = False,
        on_record: OnRecord | None = None,
    ) -> list[EvaluationRecord]:
        """Run what is missing.

        A problem that fails (a ``PPLScalingError``, or a ``ValueError`` such as a prompt that is too long) is recorded with
        its error. If a whole batch fails, its problems are run one by one.

        Parameters
        ----------
        method : Method
        grade : callable
            Compares an answer, or None, with the right one: ``MathGrader().grade``.
        keep_trajectories : bool, default False
            Record what every particle wrote.
        on_record : callable, optional
            Called with each new record, once it is on the disk.

        Returns
        -------
        list of EvaluationRecord
            All of them, the old ones too.
        """
        for new in self.advance(method, grade, keep_trajectories=keep_trajectories):
            if on_record is not None:
                for record in new:
                    on_record(record)
        return self.records

    def advance(
        self, method: Method, grade: GradeAnswer, *, keep_trajectories: bool = False
    ) -> Iterator[list[EvaluationRecord]]:
        """Do as :meth:`run` does, batch by batch: gives what is new of each batch, once it is on the disk."""
        for seed, number, batch in self._batches():
            wanted = {index for index, _ in batch if (seed, index) not in self._file.records}
            new: list[EvaluationRecord] = []
            if not wanted:
                yield new
                continue
            for task, outcome, batch_seed, seconds in _outcomes(method, batch, seed, number):
                if task[0] in wanted:
                    graded = Grade(False) if isinstance(outcome, Exception) else grade(outcome.answer, task[1].answer)
                    new.append(_record(task, seed, outcome, graded, batch_seed, seconds, keep_trajectories))
            self._file.append(new)
            yield new

    def _batches(self) -> Iterator[tuple[int, int, list[_Task]]]:
        tasks = list(enumerate(self.problems))
        for seed in self.seeds:
            for number, first in enumerate(range(0, len(tasks), self.batch_size)):
                yield seed, number, tasks[first : first + self.batch_size]


def evaluate(
    method: Method,
    problems: Sequence[Problem],
    path: str | Path,
    *,
    seeds: Sequence[int] = (0,),
    batch_size: int = 8,
    grade: GradeAnswer | None = None,
    overwrite: bool = False,
    on_record: OnRecord | None = None,
) -> list[EvaluationRecord]:
    """Evaluate a method, or go on with it; see :class:`Evaluation`.

    Parameters
    ----------
    method : Method
        Its ``configuration`` are the settings that the file is bound to.
    problems : sequence of Problem
    path : str or path
        Of the results; the evaluation goes on from what is there.
    seeds : sequence of int
        Every problem is run once for each.
    batch_size : int
        Problems that run at once; results depend on it.
    grade : callable, optional
        Default: answers are compared by math-verify, with a time limit.
    overwrite : bool
        Begin again instead of going on.
    on_record : callable, optional
        Called with every new record.

    Returns
    -------
    list of EvaluationRecord
        All of them, those that were there included.

    Raises
    ------
    ValueError
        If a number is out of its range, or the file is of another kind or was made with other settings.
    """
    settings = {"method": method.method, **method.configuration}
    with (
        MathGrader() as grader,
        Evaluation(problems, path, settings=settings, seeds=seeds, batch_size=batch_size, overwrite=overwrite) as evaluation,
    ):
        return evaluation.run(method, grade or grader.grade, on_record=on_record)


def _outcomes(
    method: Method, batch: Sequence[_Task], seed: int, number: int
) -> Iterator[tuple[_Task, Result | Exception, int, float]]:
    """Give for each problem of a batch what came of it, the seed it had and the seconds it took."""
    batch_seed = _derived(seed, number)
    started = time.perf_counter()
    try:
        outcomes = method.run_batch([problem.problem for _, problem in batch], seed=batch_seed)
    except (PPLScalingError, ValueError) as error:
        if len(batch) == 1:
            yield batch[0], error, batch_seed, time.perf_counter() - started
            return
    else:
        seconds = (time.perf_counter() - started) / len(batch)
        for task, outcome in zip(batch, outcomes, strict=True):
            yield task, outcome, batch_seed, outcome.seconds / len(batch) if isinstance(outcome, Result) else seconds
        return
    for position, task in enumerate(batch):
        alone, started = _derived(seed, number, position), time.perf_counter()
        outcome = _alone(method, task[1].problem, alone)
        yield task, outcome, alone, time.perf_counter() - started


def _alone(method: Method, problem: str, seed: int) -> Result | Exception:
    try:
        return method.run_batch([problem], seed=seed)[0]
    except (PPLScalingError, ValueError) as error:
        return error


def _derived(*numbers: int) -> int:
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


def _record(
    task: _Task, seed: int, outcome: Result | Exception, graded: Grade, batch_seed: int, seconds: float, keep: bool
) -> EvaluationRecord:
    index, problem = task
    result = outcome if isinstance(outcome, Result) else None
    trajectories = () if result is None else result.trajectories
    return EvaluationRecord(
        index=index,
        id=problem.id,
        seed=seed,
        expected=problem.answer,
        answer=None if result is None else result.answer,
        correct=graded.correct,
        grading_timed_out=graded.timed_out,
        error=None if result is not None else _message(outcome),
        answers=[] if result is None else [_share(one) for one in result.answers[:_ANSWERS]],
        no_answer_probability=None if result is None else finite(result.no_answer_probability),
        log_evidence=finite(getattr(result, "log_evidence", math.nan)),
        num_trajectories=len(trajectories),
        num_finished=sum(one.finished for one in trajectories),
        num_truncated=sum(one.truncated for one in trajectories),
        generated_tokens=0 if result is None else result.generated_tokens,
        lm_tokens_forwarded=0 if result is None else result.lm_tokens_forwarded,
        prm_tokens_forwarded=0 if result is None else result.prm_tokens_forwarded,
        draft_tokens_forwarded=0 if result is None else result.draft_tokens_forwarded,
        prm_calls=0 if result is None else result.prm_calls,
        batch_seed=batch_seed,
        seconds=seconds,
        trajectories=result.to_dict()["trajectories"] if keep and result is not None else None,
    )


def _share(answer: Answer) -> dict[str, Any]:
    return {"answer": answer.answer, "probability": finite(answer.probability)}


def _message(error: object) -> str:
    # Pyro appends the shapes of its trace to what is raised inside a program.
    return f"{type(error).__name__}: {str(error).partition(_TRACE)[0]}"
