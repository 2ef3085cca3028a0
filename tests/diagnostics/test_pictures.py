"""Pictures of results: they show what the numbers are, with little and with much in them, and text is only text."""

import io
import math
import pickle
from dataclasses import replace

import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib import font_manager, rcParams

from ppl_scaling.diagnostics import (
    draw_traces,
    plot_answers,
    plot_chain,
    plot_genealogy,
    plot_reliability,
    plot_scaling_curve,
    plot_score_law,
    plot_score_trajectories,
    plot_traces,
    result_pictures,
    write_pictures,
)
from ppl_scaling.diagnostics.style import fonts_for, shorten
from ppl_scaling.inference import BestOfN, Islands, ParticleFilter, ParticleGibbs
from ppl_scaling.inference.answers import Answer
from ppl_scaling.inference.optscale import OptScale, infer_scores, required_completions
from ppl_scaling.models.scores import BetaScores
from tests.diagnostics.filters import EVIL, evil_run, filter_run
from tests.diagnostics.made import point
from tests.worlds import LIKELIHOODS, LastLetter, early_ends


def drawn(figure):
    """Draw for real, small: warnings are errors."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=30)
    return figure.axes


def test_a_notebook_shows_a_picture_that_pyplot_does_not_know():
    figure = plot_answers([Answer("4", 1.0, math.nan)])
    assert figure._repr_png_().startswith(b"\x89PNG")
    assert type(pickle.loads(pickle.dumps(figure))) is type(figure)


@pytest.mark.parametrize("num_particles", [1, 4, 256])
def test_every_picture_of_a_filter(num_particles):
    pictures = result_pictures(filter_run(num_particles))
    assert [one.name for one in pictures] == ["answers", "traces", "genealogy", "scores"]
    for one in pictures:
        for axes in drawn(one.figure):
            assert axes.get_xlabel() or (axes.texts and all(text.get_text() for text in axes.texts))
        assert one.caption.endswith(".")


def test_texts_of_models_are_no_formulas_and_fit():
    for one in result_pictures(evil_run()):
        drawn(one.figure)
    assert shorten(" a\n\tb ") == "a b" and shorten("x" * 50) == "x" * 23 + "…"
    assert shorten("a\u4e2d\ud800\x00") == "a□□□" and len(shorten(EVIL)) == 24


@pytest.fixture
def east_asian_font(tmp_path, monkeypatch):
    """A font that is installed while the test runs, with one Chinese character."""
    pen = TTGlyphPen(None)
    for move, place in zip([pen.moveTo, pen.lineTo, pen.lineTo], [(0, 0), (900, 0), (450, 800)], strict=True):
        move(place)
    pen.closePath()
    made = FontBuilder(1000, isTTF=True)
    made.setupGlyphOrder([".notdef", "middle"])
    made.setupCharacterMap({ord("\u4e2d"): "middle"})
    made.setupGlyf({".notdef": TTGlyphPen(None).glyph(), "middle": pen.glyph()})
    made.setupHorizontalMetrics({".notdef": (500, 0), "middle": (1000, 0)})
    made.setupHorizontalHeader(ascent=800, descent=-200)
    made.setupNameTable({"familyName": "Noto Sans CJK JP", "styleName": "Regular"})
    made.setupOS2()
    made.setupPost()
    made.save(tmp_path / "font.ttf")
    monkeypatch.setattr(font_manager.fontManager, "ttflist", list(font_manager.fontManager.ttflist))
    font_manager.fontManager.addfont(tmp_path / "font.ttf")
    return "Noto Sans CJK JP"


def test_what_one_font_lacks_another_draws(east_asian_font):
    """Warnings are errors, so that a missing glyph would be one."""
    assert shorten("a\u4e2d\u6587") == "a\u4e2d□"
    assert fonts_for("a\u4e2d")[-1] == east_asian_font and fonts_for("a") == rcParams["font.family"]
    result = filter_run(16)
    title, answers = "\u4e2d $5", [replace(one, answer=f"\u4e2d{one.answer}") for one in result.answers]
    trajectories = tuple(replace(one, answer=f"\u4e2d{one.answer}") for one in result.trajectories)
    (axes,) = drawn(plot_answers(answers, title=title))
    assert axes.get_yticklabels()[0].get_text() == answers[0].answer
    drawn(plot_score_trajectories(trajectories, title=title))
    drawn(plot_genealogy(replace(result, trajectories=trajectories, answer=answers[0].answer), title=title))
    drawn(plot_scaling_curve([point("_\u4e2d", 1, 0.5, 5.0), point("$\\frac", 2, 0.5, 5.0)], title="$\\frac$ \u4e2d"))


def test_other_kinds_of_result():
    model = early_ends(LIKELIHOODS["bernoulli"])
    methods = {
        BestOfN(model, num_completions=3, answer_format=LastLetter()): ["answers", "scores"],
        ParticleGibbs(model, num_particles=3, num_iterations=4, answer_format=LastLetter()): ["answers", "chain", "scores"],
        OptScale(model, target_score=0.99, max_completions=6, answer_format=LastLetter()): [
            "answers",
            "scores",
            "score_law",
        ],
        Islands(ParticleFilter(model, num_particles=4, answer_format=LastLetter()), num_replicates=2): [
            "answers",
            "traces",
            "genealogy",
            "scores",
        ],
    }
    for method, names in methods.items():
        pictures = result_pictures(method.run("?", seed=1))
        assert [one.name for one in pictures] == names
        shares = isinstance(method, BestOfN | OptScale)
        assert ("share of the vote" in pictures[0].figure.axes[0].get_xlabel()) == shares
        assert ("no posterior" in pictures[0].caption) == shares
    assert "the weightiest of 2" in pictures[1].caption
    with pytest.raises(TypeError, match="expected a Result to draw, got dict"):
        result_pictures({})


def test_answers_and_their_errors():
    answers = [Answer("a", 0.6, 0.1), Answer("b", 0.3, math.nan), Answer("c", 0.05, 0.0)]
    (axes,) = drawn(plot_answers(answers, no_answer_probability=0.05, chosen="a"))
    assert [patch.get_width() for patch in axes.patches] == [0.6, 0.3, 0.05, 0.05]
    assert [text.get_text() for text in axes.texts] == ["0.600 ± 0.100", "0.300", "0.050 ± 0.000", "0.050"]
    (bar,) = [one for one in axes.containers if hasattr(one, "has_xerr")]
    ((low, high),) = bar.lines[2][0].get_segments()
    assert low[0] == pytest.approx(0.4) and high[0] == pytest.approx(0.8)
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b", "c", "no answer"]
    (axes,) = drawn(plot_answers([Answer(str(i), 0.01, math.nan) for i in range(100)], most=10))
    assert axes.get_yticklabels()[-1].get_text() == "90 others" and axes.patches[-1].get_width() == pytest.approx(0.9)
    (axes,) = drawn(plot_answers(answers[:2], most=1))
    assert axes.get_yticklabels()[-1].get_text() == "1 other"
    (axes,) = drawn(plot_answers([], no_answer_probability=1.0))
    assert axes.get_yticklabels()[0].get_text() == "no answer"
    drawn(plot_answers([Answer("a", 1.0000000000000002, 1e-17)]))
    with pytest.raises(ValueError, match="most to be at least 1"):
        plot_answers(answers, most=0)


def test_traces():
    result = filter_run(16)
    left, right = drawn(plot_traces(result))
    labels = [text.get_text() for text in left.get_legend().get_texts()]
    assert labels == ["16 particles", "threshold 16", "resampled after"]
    curves = [line for line in left.lines if len(line.get_xdata()) == result.num_steps]
    np.testing.assert_array_equal(curves[0].get_ydata(), result.ess)
    np.testing.assert_array_equal(right.lines[0].get_ydata(), result.log_evidence_by_step)
    left, right = drawn(draw_traces([1.0], [-math.inf], num_particles=1))
    assert right.texts[0].get_text() == "no finite estimate"
    for ess, evidence in (([], []), ([1.0], [0.0, 0.0])):
        with pytest.raises(ValueError, match="of one length, at least 1"):
            draw_traces(ess, evidence, num_particles=2)
    with pytest.raises(ValueError, match=r"resampled of the length of ess, \(2,\), got \(3,\)"):
        draw_traces([1.0, 1.0], [0.0, 0.0], num_particles=2, resampled=[True] * 3)


def test_chains():
    method = ParticleGibbs(
        early_ends(LIKELIHOODS["bernoulli"]), num_particles=3, num_iterations=5, burn_in=2, answer_format=LastLetter()
    )
    result = method.run("?", seed=1)
    left, right = drawn(plot_chain(result))
    np.testing.assert_array_equal(left.lines[0].get_ydata(), result.log_evidences)
    assert [patch.get_height() for patch in right.patches] == np.nan_to_num(result.update_rate).tolist()


def test_score_trajectories():
    result = filter_run(256)
    (axes,) = drawn(plot_score_trajectories(result.trajectories, answers=[one.answer for one in result.answers]))
    weights = {}
    for one in result.trajectories:
        weights[one.text, one.scores] = weights.get((one.text, one.scores), 0.0) + one.weight
    lines = [line for line in axes.lines if len(line.get_ydata()) > 1]
    assert sorted(tuple(line.get_ydata()) for line in lines) == sorted(path for _, path in weights if len(path) > 1)
    (_, weightiest), _ = max(weights.items(), key=lambda entry: entry[1])
    widest = max(axes.lines, key=lambda line: line.get_linewidth() if line.get_marker() == "None" else 0)
    assert tuple(widest.get_ydata()) == weightiest
    (axes,) = drawn(plot_score_trajectories([]))
    assert axes.texts[0].get_text() == "no reward model has scored the steps"


def test_the_law_of_scores_and_what_it_asks_for():
    scores = np.random.default_rng(0).beta(4, 2, 12)
    posterior = infer_scores(BetaScores(), scores)
    law, best, chance = drawn(plot_score_law(posterior, target_score=0.95, confidence=0.8))
    needed = required_completions(posterior, 0.95, 0.8)
    labels = [text.get_text() for text in chance.get_legend().get_texts()]
    assert labels == ["target 0.95 reached", "confidence 0.8", f"N* = {needed.number:,.0f}"]
    assert chance.lines[-1].get_xdata()[0] == needed.number
    numbers, mean = best.lines[0].get_data()
    np.testing.assert_allclose(mean, scores.max() + posterior.expected_gains(numbers))
    assert sum(patch.get_height() for patch in law.patches[:20]) == pytest.approx(1)
    np.testing.assert_allclose(law.patches[20].get_data().values.sum(), 1)
    assert len(drawn(plot_score_law(posterior))) == 2
    for scores, target, says in (([0.99], 0.5, "N* = 0: the target is reached"), ([], 1.0, "N*")):
        figure = plot_score_law(infer_scores(BetaScores(), scores), target_score=target)
        assert any(text.get_text().startswith(says) for text in drawn(figure)[2].get_legend().get_texts())
    never = plot_score_law(posterior, target_score=0.95, confidence=1.0)
    assert drawn(never)[2].get_legend().get_texts()[-1].get_text() == "N*: none is enough"


def test_reliability():
    figure = plot_reliability([0.1, 0.5, 0.9], [0.2, math.nan, 0.8], [10, 0, 3], low=[0.1, 0, 0.4], high=[0.3, 1, 0.9])
    top, bottom = drawn(figure)
    assert top.lines[-1].get_ydata().tolist() == [0.2, 0.8] and [bar.get_height() for bar in bottom.patches] == [10, 3]
    top, _ = drawn(plot_reliability([], [], [], calibration_error=0.5))
    assert top.texts[0].get_text() == "nothing is known to be right or wrong"
    assert top.get_legend().get_title().get_text() == "expected calibration error 0.500"
    top, bottom = drawn(plot_reliability([0.1, 0.9], [0.2, 0.8], [3, 3], before=([0.3, 0.5], [0.2, math.nan], [6, 0])))
    assert [(line.get_label(), line.get_xdata().tolist()) for line in top.lines[1:]] == [
        ("before", [0.3]),
        ("after", [0.1, 0.9]),
    ]
    assert [bar.get_height() for bar in bottom.patches] == [6, 3, 3]
    for wrong in (
        {"observed": [0.2, 0.3]},
        {"low": [0.1, 0.1], "high": [0.3, 0.3]},
        {"before": ([0.1], [0.1], [1, 2])},
    ):
        with pytest.raises(ValueError, match=r"of one length, got shapes \("):
            plot_reliability(**{"predicted": [0.1], "observed": [0.2], "counts": [1], **wrong})


def test_files(tmp_path):
    written = write_pictures(filter_run(4), tmp_path / "deep" / "er", formats=["png", "svg"])
    names = ["answers", "traces", "genealogy", "scores"]
    assert [one.name for one in written] == [f"{name}.{kind}" for name in names for kind in ("png", "svg")]
    assert all(one.stat().st_size > 1000 for one in written)
    with pytest.raises(ValueError, match=r"expected formats among .*, got 'doc'"):
        write_pictures(filter_run(4), tmp_path, formats=["doc"])
    with pytest.raises(ValueError, match="cannot write"):
        write_pictures(filter_run(4), written[0])
