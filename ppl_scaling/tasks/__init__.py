"""Problems and grading: generated word problems, and what counts as the same answer."""

from ppl_scaling.tasks.answers import MathAnswers, answers_equivalent, extract_boxed
from ppl_scaling.tasks.arithmetic import ArithmeticProblem, generate_problems

__all__ = ["ArithmeticProblem", "MathAnswers", "answers_equivalent", "extract_boxed", "generate_problems"]
