"""Problems and grading: generated word problems, files of problems, and what counts as the same answer."""

from ppl_scaling.boxed import extract_boxed
from ppl_scaling.tasks.answers import MathAnswers, answers_equivalent
from ppl_scaling.tasks.arithmetic import ArithmeticProblem, generate_problems
from ppl_scaling.tasks.grading import Grade, MathGrader
from ppl_scaling.tasks.problem_files import Problem, read_problems

__all__ = [
    "ArithmeticProblem",
    "Grade",
    "MathAnswers",
    "MathGrader",
    "Problem",
    "answers_equivalent",
    "extract_boxed",
    "generate_problems",
    "read_problems",
]
