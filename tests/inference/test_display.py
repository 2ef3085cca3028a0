"""What results look like in a terminal and in a notebook."""

import dataclasses
import math
import re
from html.parser import HTMLParser

import pytest

from ppl_scaling.inference import (
    AnnealedSMC,
    Answer,
    BestOfN,
    Islands,
    ParallelTempering,
    ParticleFilter,
    ParticleGibbs,
    enumerate_posterior,
    summarize,
)
from ppl_scaling.inference.display import Displayed
from ppl_scaling.inference.optscale import OptScale
from tests.inference.evaluations import record
from tests.worlds import LIKELIHOODS, LastLetter, early_ends

MODEL = early_ends(LIKELIHOODS["bernoulli"])
METHODS = {
    "particle filter": (ParticleFilter(MODEL, num_particles=8, answer_format=LastLetter()), ["log_evidence", "ess"]),
    "annealed": (AnnealedSMC(MODEL, num_particles=8, answer_format=LastLetter()), ["log_evidence", "ess"]),
    "gibbs": (ParticleGibbs(MODEL, num_particles=3, num_iterations=4, answer_format=LastLetter()), ["num_iterations"]),
    "tempering": (
        ParallelTempering(MODEL, num_particles=3, num_iterations=4, answer_format=LastLetter()),
        ["powers", "round_trips"],
    ),
    "islands": (
        Islands(ParticleFilter(MODEL, num_particles=4, answer_format=LastLetter()), num_replicates=3),
        ["log_evidence", "num_replicates"],
    ),
    "best of n": (BestOfN(MODEL, num_completions=4, answer_format=LastLetter()), ["method", "generated_tokens"]),
    "optscale": (
        OptScale(MODEL, target_score=0.6, max_completions=8, answer_format=LastLetter()),
        ["best_score", "stopped"],
    ),
}
SCRIPT = "<script>alert('x')</script>"


class Tags(HTMLParser):
    """Collects elements and what is written in them; complains of ones that are not closed in order."""

    def __init__(self, page):
        super().__init__()
        self.open, self.seen, self.text = [], [], ""
        self.feed(page)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data + " "


@pytest.mark.parametrize("name", METHODS)
def test_results_say_the_answer_and_how_sure_it_is(name):
    method, facts = METHODS[name]
    result = method.run("which <b>letter</b>?", seed=1)
    line, page = repr(result), result._repr_html_()
    assert line.startswith(f"{type(result).__name__}(answer={result.answer!r}") and "\n" not in line and len(line) < 300
    probability = next(one.probability for one in result.answers if one.answer == result.answer)
    measure = "share" if name in ("best of n", "optscale") else "probability"
    assert f"{measure}={probability:.3f}" in line and f">{measure}</th>" in page
    assert all(f"{fact}=" in line for fact in facts)
    shown = Tags(page)
    assert all(fact.replace("_", " ") in shown.text.lower() for fact in facts)
    assert "which <b>letter</b>?" in shown.text and "b" not in dict(shown.seen)
    for one in result.answers:
        assert one.answer in shown.text and f"{one.probability:.3f}" in shown.text


def test_numbers_are_those_of_the_result():
    result = METHODS["particle filter"][0].run("?", seed=3)
    assert f"log_evidence={result.log_evidence:.3f}" in repr(result)
    assert f"ess={result.ess[-1]:.1f} of 8, lowest {result.ess.min():.1f}" in repr(result)


def test_what_a_model_wrote_is_no_markup():
    result = METHODS["particle filter"][0].run("?", seed=1)
    answers = (
        Answer(SCRIPT, 0.5, 0.1),
        Answer('"><img src=x onerror=alert(1)>\x00\ud800', 0.25, math.nan),
        Answer("$x$", 0.25, 0),
    )
    hostile = dataclasses.replace(result, problem=SCRIPT, answer=SCRIPT, answers=answers)
    page = hostile._repr_html_()
    shown = Tags(page)
    assert {tag for tag, _ in shown.seen} <= {"div", "strong", "table", "tr", "th", "td", "code"}
    assert not any(name.startswith("on") or name == "src" for _, attributes in shown.seen for name in attributes)
    assert SCRIPT in shown.text and "unknown" in shown.text
    page.encode("utf-8")  # a lone surrogate cannot be
    assert "\x00" not in page
    assert re.search(r'<code class="mathjax_ignore[^>]*>\$x\$</code>', page)


def test_long_and_many_are_cut():
    result = METHODS["particle filter"][0].run("?", seed=1)
    many = tuple(Answer(f"answer {number} " + "x" * 500, 1 / 40, 0.01) for number in range(40))
    long = dataclasses.replace(result, problem="y" * 5000, answer=many[0].answer, answers=many, no_answer_probability=0.0)
    assert len(repr(long)) < 300 and len(long._repr_html_()) < 8000
    assert "(32 others)" in long._repr_html_() and "(no answer)" not in long._repr_html_()


def test_no_answer_is_said():
    result = METHODS["particle filter"][0].run("?", seed=1)
    none = dataclasses.replace(result, answer=None, answers=(), no_answer_probability=1.0)
    assert repr(none).startswith("ParticleFilterResult(answer=None, log_evidence=")
    assert "(no answer)" in none._repr_html_()


def test_a_choice_that_is_written_in_another_way_has_no_probability_beside_it():
    result = dataclasses.replace(METHODS["particle filter"][0].run("?", seed=1), answer="the same, otherwise written")
    assert "probability" not in repr(result)


def test_other_things_are_short_too():
    result = METHODS["particle filter"][0].run("?", seed=1)
    best = result.best_trajectory
    assert repr(best).startswith(f"Trajectory(answer={best.answer!r}, score=") and len(repr(best)) < 100
    assert "(finished)" in Tags(best._repr_html_()).text
    assert len(repr(enumerate_posterior(MODEL, "?"))) < 80
    assert repr(Displayed()) == "Displayed()"


def test_the_summary_of_an_evaluation():
    summary = summarize([record(0, True), record(1, False, answer=None)])
    assert repr(summary).startswith(
        "EvaluationSummary(accuracy=50.0 % [0.0, 100.0], problems=2, seeds=1, failed=0, no_answer=1"
    )
    assert "50.0 % [0.0, 100.0]" in Tags(summary._repr_html_()).text
