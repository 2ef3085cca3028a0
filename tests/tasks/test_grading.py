"""Grading by math-verify in a process of its own: the same verdicts, and a time limit that holds."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ppl_scaling.errors import PPLScalingError
from ppl_scaling.tasks.answers import answers_equivalent
from ppl_scaling.tasks.grading import Grade, MathGrader

ENDLESS = "9^{9^{9^{9}}}"


@pytest.fixture(scope="module")
def grader():
    with MathGrader(time_limit=20) as one:
        yield one


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (r"\frac{1}{2}", "0.5"),
        (r"\frac{14}{3}", r"\frac{28}{6}"),
        ("x^2+2x+1", "(x+1)^2"),
        (r"\left( 3, \frac{\pi}{2} \right)", r"(3, \pi/2)"),
        (r"\sqrt{50}", r"5\sqrt{2}"),
        ("x+1", "x+2"),
        (r"\text{Evelyn}", "Evelyn"),
        ("12", "21"),
        ("}{", "3"),
        ("nonsense \\", r"\frac{1}{"),
    ],
)
def test_verdicts_are_those_of_math_verify(grader, answer, expected):
    assert grader.grade(answer, expected) == Grade(answers_equivalent(answer, expected))
    assert grader.equivalent(expected, answer) == answers_equivalent(answer, expected)


def test_no_answer_is_wrong_and_boxes_are_found(grader):
    assert grader.grade(None, "3") == Grade(False)
    assert grader.extract(r"so \boxed{3}") == "3"


@pytest.mark.parametrize(
    "answer",
    ["9**9**9**9", r"\frac{1}{1+" * 30 + "1" + "}" * 30, "7" * 10**6, "(" * 10**6, r"\boxed{" * 1000, "\x00\n\r", "é\u2028"],
    ids=["tower", "nested fraction", "digits", "parentheses", "boxes", "control", "separators"],
)
def test_odd_answers_are_wrong_and_quick(grader, answer):
    started = time.monotonic()
    assert not grader.grade(answer, "36").correct
    assert time.monotonic() - started < 30  # generous: the limit of 20 s, and the start of another process


def test_an_endless_comparison_is_given_up_and_the_next_one_works():
    with MathGrader(time_limit=0.5) as grader:
        grader.equivalent("x", "y")  # start the process
        started = time.monotonic()
        assert grader.grade(ENDLESS, "36") == Grade(False, timed_out=True)
        assert time.monotonic() - started < 5
        started = time.monotonic()
        assert grader.grade(ENDLESS, "x+1") == Grade(False, timed_out=True)  # known by now
        assert grader.grade(ENDLESS, ENDLESS) == Grade(True)
        assert time.monotonic() - started < 0.5
        assert grader._process is None
        grader.time_limit = 20
        assert grader.grade("2x", "x+x") == Grade(True)


def test_a_process_that_dies_is_replaced():
    with MathGrader(time_limit=20) as grader:
        assert grader.equivalent("2y", "y+y")
        os.kill(grader._process.pid, signal.SIGKILL)
        grader._process.wait()
        assert grader.equivalent("3y", "y+y+y")
        process = grader._process
    assert process.returncode is not None


def test_the_process_does_not_outlive_a_parent_that_was_killed(tmp_path):
    code = (
        "import ppl_scaling.tasks.grading as g; g._GRACE = 0.2\n"
        "grader = g.MathGrader(time_limit=0.3); grader.equivalent('x', 'y'); print(grader._process.pid, flush=True)\n"
        f"grader.equivalent({ENDLESS!r}, '36')"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    child = int(parent.stdout.readline())
    parent.kill()
    parent.communicate()
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and _alive(child):
        time.sleep(0.05)
    assert not _alive(child)


def _alive(process):
    """Whether a process still runs; one that has ended and that nobody has waited for does not."""
    try:
        os.kill(process, 0)
        status = Path(f"/proc/{process}/stat")
        return not status.exists() or status.read_text().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False


def test_it_can_be_used_in_threads():
    from concurrent.futures import ThreadPoolExecutor

    with MathGrader(time_limit=20) as grader, ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda k: grader.equivalent(f"{k}z", "z" + "+z" * (k - 1)), range(2, 6))) == [True] * 4


def test_the_process_imports_nothing_heavy():
    code = "import sys, ppl_scaling.tasks.grading_worker; print([name for name in ('torch', 'pyro') if name in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "[]\n"


def test_a_process_that_does_not_start_is_an_error(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(PPLScalingError, match="did not start"), MathGrader() as grader:
        grader.equivalent("x", "y")


def test_the_limit_is_positive():
    with pytest.raises(ValueError, match="time_limit to be above 0 seconds, got 0"):
        MathGrader(0)


def test_methods_share_a_grader_that_no_answer_can_hold_up(monkeypatch):
    from ppl_scaling.backends.finite import FiniteLanguageModel
    from ppl_scaling.inference import ParticleFilter
    from ppl_scaling.models import LanguageModelStateSpace
    from ppl_scaling.tasks.grading import shared_grader

    towers = {r"\boxed{9^{9^{9^{9}}}}": 0.5, r"\boxed{x+1}": 0.3, r"\boxed{1+x}": 0.2}
    steps = {"": towers} | {answer: {"$": 1.0} for answer in towers}
    model = LanguageModelStateSpace(FiniteLanguageModel(steps), None, max_steps=3)
    smc = ParticleFilter(model, num_particles=30)
    assert smc.answer_format is shared_grader() is ParticleFilter(model).answer_format
    monkeypatch.setattr(shared_grader(), "time_limit", 1.0)
    result = smc.run("?", seed=0)
    assert len(result.answers) == 2 and sum(one.probability for one in result.answers) == pytest.approx(1.0)
