r"""Grading with a time limit that holds.

An answer such as ``9^{9^{9^{9}}}`` keeps a single operation on integers busy for ever, and no alarm signal interrupts that.
So answers that are neither equal texts nor plain numbers are compared in a process of their own, which is killed, and
replaced, when it overruns.
"""

from __future__ import annotations

import atexit
import json
import os
import queue
import subprocess
import sys
import threading
from dataclasses import dataclass
from functools import lru_cache
from types import TracebackType

from ppl_scaling.boxed import extract_boxed
from ppl_scaling.errors import PPLScalingError
from ppl_scaling.tasks.answers import settled

__all__ = ["Grade", "MathGrader", "shared_grader"]

_START = 120.0  # seconds that Python may take to import the libraries on a busy machine
_GRACE = 5.0  # seconds after which it ends itself, should this process be gone


@dataclass(frozen=True)
class Grade:
    """Whether an answer is right.

    Attributes
    ----------
    correct : bool
    timed_out : bool
        Whether the comparison was given up; then the answer counts as wrong.
    """

    correct: bool
    timed_out: bool = False


class MathGrader:
    r"""Answers in ``\boxed{}`` compared as mathematics, with a wall-clock limit on each comparison.

    It is an answer format too: give it to a method and no sampled answer can hold up the run. The process starts when it is
    first needed; close the grader, or use it in a ``with`` block, to end it.

    Parameters
    ----------
    time_limit : float, default 5
        Seconds for one comparison.

    Raises
    ------
    ValueError
        If the limit is not positive.

    Examples
    --------
    >>> with MathGrader() as grader:
    ...     grader.grade("0.50", "1/2"), grader.grade(None, "1/2")
    (Grade(correct=True, timed_out=False), Grade(correct=False, timed_out=False))
    """

    def __init__(self, time_limit: float = 5.0) -> None:
        if not time_limit > 0:
            raise ValueError(f"expected time_limit to be above 0 seconds, got {time_limit}")
        self.time_limit = time_limit
        self._process: subprocess.Popen[str] | None = None
        self._replies: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._known: dict[tuple[str, str], Grade] = {}
        self._endless: set[str] = set()
        self._one_at_a_time = threading.Lock()

    def __enter__(self) -> MathGrader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    def extract(self, text: str) -> str | None:
        """Return the last boxed answer, or None."""
        return extract_boxed(text)

    def equivalent(self, first: str, second: str) -> bool:
        """Whether two answers mean the same; False as well if that takes too long to tell."""
        return self.grade(first, second).correct

    def grade(self, answer: str | None, expected: str) -> Grade:
        """Compare an answer with the right one; no answer is wrong.

        Raises
        ------
        PPLScalingError
            If the process for it does not start.
        """
        if answer is None:
            return Grade(False)
        quick = settled(answer, expected)
        if quick is not None:
            return Grade(quick)
        pair = (answer, expected) if answer <= expected else (expected, answer)
        with self._one_at_a_time:
            if pair not in self._known:
                self._known[pair] = self._ask(*pair)
            return self._known[pair]

    def close(self) -> None:
        """End the process; the next comparison starts another."""
        process, self._process = getattr(self, "_process", None), None
        if process is None:
            return
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()

    def _ask(self, first: str, second: str) -> Grade:
        if self._endless & {first, second}:
            return Grade(False, timed_out=True)
        process = self._running()
        assert process.stdin is not None
        try:
            process.stdin.write(json.dumps([first, second, self.time_limit + _GRACE]) + "\n")
            process.stdin.flush()
            reply = self._replies.get(timeout=self.time_limit)
        except queue.Empty:
            self.close()
            # Against a plain number it is the other one that takes for ever, whatever it is compared with.
            self._endless |= {one for one, other in ((first, second), (second, first)) if settled(other, "0") is not None}
            return Grade(False, timed_out=True)
        except BrokenPipeError:
            reply = ""
        if not reply:  # it died, for want of memory or by a fault in a library
            self.close()
            return Grade(False)
        return Grade(json.loads(reply))

    def _running(self) -> subprocess.Popen[str]:
        if self._process is not None and self._process.poll() is None:
            return self._process
        self.close()
        process = subprocess.Popen(
            [sys.executable, "-m", "ppl_scaling.tasks.grading_worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            encoding="utf-8",
            env=os.environ | {"PYTHONPATH": os.pathsep.join(one for one in sys.path if one)},
            start_new_session=True,  # Ctrl-C is for the run; it closes this process when it ends
        )
        replies: queue.SimpleQueue[str] = queue.SimpleQueue()
        threading.Thread(target=_listen, args=(process, replies), daemon=True).start()
        self._process, self._replies = process, replies
        try:
            started = replies.get(timeout=_START).strip() == "ready"
        except queue.Empty:
            started = False
        if not started:
            self.close()
            raise PPLScalingError("the process that grades answers did not start; does `import math_verify` work?")
        return process


@lru_cache(maxsize=1)
def shared_grader() -> MathGrader:
    """Return the one grader that everybody uses who has none of their own; it ends with the program."""
    grader = MathGrader()
    atexit.register(grader.close)
    return grader


def _listen(process: subprocess.Popen[str], replies: queue.SimpleQueue[str]) -> None:
    """Pass on each line of the process, and an empty one when it has ended."""
    assert process.stdout is not None
    try:
        for line in process.stdout:
            replies.put(line)
    except ValueError:  # closed meanwhile
        pass
    replies.put("")
