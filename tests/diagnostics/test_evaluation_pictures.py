"""Pictures and page of an evaluation: what is stated beside what is true, and no text of a model as markup."""

import io
from dataclasses import replace

import numpy as np
import pytest

from ppl_scaling.diagnostics import (
    answer_calibration,
    credible_coverage,
    evaluation_pictures,
    plot_coverage,
    write_pictures,
    write_report,
)
from tests.diagnostics.records import Numbers, record, world

EVIL = "<script>document.title='caught'</script>$x_1$"


def kept(records):
    return [replace(one, trajectories=[{"score": 0.7, "answer": one.answer}]) for one in records]


def test_pictures_show_what_was_measured():
    records = kept(world(40, sharpness=3.0))
    pictures = {one.name: one for one in evaluation_pictures(records, answer_format=Numbers())}
    assert list(pictures) == ["answer_reliability", "coverage", "score_reliability"]
    for one in pictures.values():
        one.figure.savefig(io.BytesIO(), format="png", dpi=30)
        assert one.caption.endswith(".") and all(axes.get_ylabel() for axes in one.figure.axes)
    known = answer_calibration(records, answer_format=Numbers())
    np.testing.assert_array_equal(pictures["answer_reliability"].figure.axes[0].lines[-1].get_ydata(), known.bin_frequency)
    levels, shares = pictures["coverage"].figure.axes[0].lines[-1].get_data()
    for level, share in zip(levels, shares, strict=True):
        assert share == credible_coverage(records, level, answer_format=Numbers()).coverage.value


def test_what_is_not_known_has_no_picture():
    assert [one.name for one in evaluation_pictures(world(3))] == ["answer_reliability", "coverage"]
    assert evaluation_pictures([record(0, {}, "1", error="it failed")]) == []
    with pytest.raises(ValueError, match="at least one level"):
        plot_coverage([])


def test_page_of_an_evaluation(tmp_path):
    records = [replace(one, id=EVIL) for one in world(30, sharpness=5.0)]
    text = write_report(records, tmp_path / "report.html").read_text(encoding="utf-8")
    wrong = sum(not one.correct for one in records)
    assert EVIL not in text and "&lt;script&gt;" in text and "evaluation of 30 problems" in text
    assert f"{min(wrong, 20)} of {wrong} wrong answers" in text and text.count("data:image/") == 2
    assert "answer_calibration" in text and "Trajectories" not in text
    failed = write_report([record(0, {}, "1", error="it failed")], tmp_path / "failed.html").read_text(encoding="utf-8")
    assert "There are none" in failed and "1 of 1 records are errors" in failed


def test_files(tmp_path):
    written = write_pictures(world(3), tmp_path / "deep")
    assert [one.name for one in written] == ["answer_reliability.png", "coverage.png"]
    assert write_pictures([record(0, {}, "1", error="it failed")], tmp_path) == []
