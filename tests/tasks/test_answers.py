"""Finding answers and telling whether they are the same."""

import threading

import pytest

from ppl_scaling.tasks import MathAnswers, answers_equivalent, extract_boxed


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"so \boxed{42}", "42"),
        (r"\boxed{1} no, \boxed{2}.", "2"),
        (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"\boxed{ 7 } and then \boxed{8", "7"),
        (r"\boxed{}", None),
        ("42", None),
        ("", None),
    ],
)
def test_extraction(text, answer):
    assert extract_boxed(text) == answer == MathAnswers().extract(text)


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("12", "12.0", True),
        ("1,234", "1234", True),
        ("0.5", r"\frac{1}{2}", True),
        ("1/2", "0.50", True),
        ("$7$", "7", True),
        ("x+1", "1+x", True),
        (r"\sqrt{8}", r"2\sqrt{2}", True),
        ("12", "21", False),
        ("x", "y", False),
        ("1/0", "2", False),
        ("12", "", False),
        ("a" * 400, "a" * 401, False),
        ("9**9**9**9", "1", False),
    ],
)
def test_equivalence(first, second, same):
    assert answers_equivalent(first, second) is same
    assert answers_equivalent(second, first) is same


def test_it_works_in_a_thread():
    found = []
    thread = threading.Thread(target=lambda: found.append(answers_equivalent(r"\frac{3}{6}", r"\frac{1}{2}")))
    thread.start()
    thread.join()
    assert found == [True]
