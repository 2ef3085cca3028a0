"""Generated word problems: right by recomputation, deterministic, disjoint splits, clear errors."""

import random
import re

import pytest

from ppl_scaling.tasks.arithmetic import (
    DEFAULT_MAX_NUMBER,
    DEFAULT_NUM_STEPS,
    MIN_MAX_NUMBER,
    SPLITS,
    generate_problems,
)

COMPUTATION = re.compile(r"(\d+) ([-+*/]) (\d+) = (\d+)")


def computations(problem):
    found = [COMPUTATION.findall(step) for step in problem.steps]
    assert all(len(line) == 1 for line in found)
    return [(int(left), operation, int(right), int(result)) for ((left, operation, right, result),) in found]


def structure(problem):
    return "; ".join(COMPUTATION.search(step).group() for step in problem.steps)


@pytest.mark.parametrize("num_steps", [1, 2, 3, DEFAULT_NUM_STEPS, 10])
@pytest.mark.parametrize("split", SPLITS)
def test_every_line_is_right_and_the_last_one_holds_the_answer(num_steps, split):
    for problem in generate_problems(100, num_steps=num_steps, split=split, seed=3):
        assert len(problem.steps) == num_steps
        for left, operation, right, result in computations(problem):
            expected = {"+": left + right, "-": left - right, "*": left * right}.get(operation)
            if operation == "/":
                assert left % right == 0
                expected = left // right
            assert result == expected
        boxed = re.findall(r"\\boxed\{(\d+)\}", "\n".join(problem.steps))
        assert boxed == [problem.answer]
        assert problem.steps[-1].endswith(f"\\boxed{{{problem.answer}}}")
        assert int(problem.answer) == computations(problem)[-1][-1]
        assert problem.answer == str(int(problem.answer))


@pytest.mark.parametrize("max_number", [MIN_MAX_NUMBER, 50, DEFAULT_MAX_NUMBER, 1000])
def test_numbers_stay_in_bounds(max_number):
    for problem in generate_problems(200, num_steps=4, max_number=max_number, seed=1):
        numbers = [int(number) for number in re.findall(r"\d+", "\n".join((problem.problem, *problem.steps)))]
        assert all(0 <= number <= max_number for number in numbers)


def test_every_number_of_a_solution_comes_from_the_problem_or_an_earlier_line():
    words = {"twice": 2, "half": 2, "doubles": 2, "three times": 3, "triples": 3, "four times": 4, "five times": 5}
    for problem in generate_problems(300, seed=5):
        known = {int(number) for number in re.findall(r"\d+", problem.problem)}
        known |= {number for word, number in words.items() if word in problem.problem}
        for left, _, right, result in computations(problem):
            assert {left, right} <= known
            known.add(result)


def test_one_step_is_one_line():
    for problem in generate_problems(100):
        assert all(step.strip() and "\n" not in step for step in problem.steps)
        assert problem.problem.endswith("?")
        assert "\n" not in problem.problem


def test_same_arguments_give_the_same_problems():
    assert generate_problems(50, seed=4) == generate_problems(50, seed=4)
    assert generate_problems(50, seed=4) != generate_problems(50, seed=5)
    assert generate_problems(20, seed=4) == generate_problems(50, seed=4)[:20]


def test_problems_are_different():
    problems = generate_problems(3000, num_steps=2, split="train")
    assert len({problem.problem for problem in problems}) == 3000


@pytest.mark.parametrize("num_steps", [1, 2, DEFAULT_NUM_STEPS])
def test_splits_are_disjoint_whatever_the_seed(num_steps):
    seen = {}
    for split in SPLITS:
        problems = [
            problem for seed in range(4) for problem in generate_problems(250, num_steps=num_steps, split=split, seed=seed)
        ]
        seen[split] = {structure(problem) for problem in problems}
        assert len(problems) == 1000
    assert not seen["train"] & seen["test"]
    assert not seen["train"] & seen["validation"]
    assert not seen["validation"] & seen["test"]


def test_all_operations_and_distractors_occur():
    problems = generate_problems(400, seed=2)
    assert {operation for problem in problems for _, operation, _, _ in computations(problem)} == set("+-*/")
    assert any("years old" in problem.problem for problem in problems)
    assert len({problem.problem.split()[0] for problem in problems}) >= 15


def test_global_random_state_is_left_alone():
    random.seed(1)
    state = random.getstate()
    generate_problems(20)
    assert random.getstate() == state


def test_no_problems():
    assert generate_problems(0) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_problems": -1}, r"num_problems >= 0, got -1"),
        ({"num_problems": 1, "num_steps": 0}, r"num_steps >= 1, got 0"),
        ({"num_problems": 1, "max_number": MIN_MAX_NUMBER - 1}, rf"max_number >= {MIN_MAX_NUMBER}, got"),
        ({"num_problems": 1, "split": "dev"}, r"train, validation, test, got 'dev'"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        generate_problems(**arguments)


def test_too_few_different_problems_is_an_error(monkeypatch):
    monkeypatch.setattr("ppl_scaling.tasks.arithmetic._MAX_REJECTIONS_IN_A_ROW", 40)
    with pytest.raises(ValueError, match=r"expected at least 10000000 different test problems .*, got \d+"):
        generate_problems(10_000_000, num_steps=1, max_number=MIN_MAX_NUMBER)
