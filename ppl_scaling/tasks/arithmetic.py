r"""Generate multi-step arithmetic word problems in plain English, each with a worked solution.

A problem tells a story about one person's collection of things. Every line of its solution is one reasoning step that
holds one computation, such as ``Mia buys 3 boxes of 12 pens: 3 * 12 = 36.``, and the last line ends in the answer as
``\boxed{N}``. Generation is deterministic in its arguments, and the splits ``train``, ``validation`` and ``test`` are
disjoint by construction: the split of a problem is a hash of its computations, whatever the names and the words.
"""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass

from ppl_scaling.tasks.stories import tell

__all__ = [
    "DEFAULT_MAX_NUMBER",
    "DEFAULT_NUM_STEPS",
    "MIN_MAX_NUMBER",
    "SPLITS",
    "ArithmeticProblem",
    "generate_problems",
]

DEFAULT_NUM_STEPS = 5
"""Lines of the solution of a problem of the default difficulty."""
DEFAULT_MAX_NUMBER = 200
"""Largest number that appears in a problem of the default difficulty, its solution included."""
MIN_MAX_NUMBER = 20
"""Smallest bound on the numbers for which every kind of sentence can be told."""
SPLITS = ("train", "validation", "test")
"""Names of the disjoint splits."""

_MAX_REJECTIONS_IN_A_ROW = 2000


@dataclass(frozen=True)
class ArithmeticProblem:
    """A word problem with its answer and its worked solution.

    Attributes
    ----------
    problem : str
        The text of the problem, ending in a question.
    answer : str
        The answer as a canonical integer: digits only, no leading zeros.
    steps : tuple of str
        The lines of the solution in order; the last one ends in the boxed answer.
    """

    problem: str
    answer: str
    steps: tuple[str, ...]

    @property
    def id(self) -> str:
        """Eight digits of the problem's text, by which an evaluation knows it."""
        return hashlib.sha256(self.problem.encode()).hexdigest()[:8]


def _split_of(computations: str) -> str:
    """Give the split of a problem: one in ten is for tests, one in ten for validation, the rest for training."""
    bucket = int.from_bytes(hashlib.sha256(computations.encode()).digest()[:8], "big") % 10
    return {0: "test", 1: "validation"}.get(bucket, "train")


def generate_problems(
    num_problems: int,
    *,
    num_steps: int = DEFAULT_NUM_STEPS,
    max_number: int = DEFAULT_MAX_NUMBER,
    split: str = "test",
    seed: int = 0,
) -> list[ArithmeticProblem]:
    """Generate different word problems of one split and one difficulty.

    Parameters
    ----------
    num_problems : int
        How many problems.
    num_steps : int
        Lines of the solution of each problem, at least 1.
    max_number : int
        Bound on every number in a problem and its solution, at least ``MIN_MAX_NUMBER``; all are nonnegative integers.
    split : {"train", "validation", "test"}
        Which of the disjoint splits to draw from.
    seed : int
        Seed of the generator. The same arguments always give the same problems.

    Returns
    -------
    list of ArithmeticProblem
        Problems with pairwise different texts.

    Raises
    ------
    ValueError
        If an argument is out of range, or there are too few different problems of this difficulty.
    """
    if num_problems < 0:
        raise ValueError(f"expected num_problems >= 0, got {num_problems}")
    if num_steps < 1:
        raise ValueError(f"expected num_steps >= 1, got {num_steps}")
    if max_number < MIN_MAX_NUMBER:
        raise ValueError(f"expected max_number >= {MIN_MAX_NUMBER}, got {max_number}")
    if split not in SPLITS:
        raise ValueError(f"expected split to be one of {', '.join(SPLITS)}, got {split!r}")
    rng = random.Random(f"{seed}/{split}/{num_steps}/{max_number}")
    problems: dict[str, ArithmeticProblem] = {}
    rejections = 0
    while len(problems) < num_problems:
        story = tell(rng, num_steps, max_number)
        text = "" if story is None else " ".join(story.sentences)
        if story is not None and _split_of("; ".join(story.computations)) == split and text not in problems:
            problems[text] = ArithmeticProblem(text, str(story.value), tuple(story.steps))
            rejections = 0
        elif (rejections := rejections + 1) >= _MAX_REJECTIONS_IN_A_ROW:
            raise ValueError(
                f"expected at least {num_problems} different {split} problems with num_steps={num_steps} and "
                f"max_number={max_number}, got {len(problems)}: ask for fewer problems or a higher difficulty"
            )
    return list(problems.values())
