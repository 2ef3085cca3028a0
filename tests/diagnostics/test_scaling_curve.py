"""Pictures and tables of scaling curves."""

import csv
import json

import pytest

from ppl_scaling.diagnostics import plot_scaling_curve, write_scaling_curve
from ppl_scaling.inference.evaluation_summary import CurvePoint, EvaluationSummary


def point(method, budget, accuracy, tokens, difference=None):
    counts = dict.fromkeys(
        (
            "num_problems num_seeds num_records num_failed num_no_answer num_grading_timeouts num_trajectories "
            "num_truncated generated_tokens lm_tokens_forwarded prm_tokens_forwarded prm_calls seconds peak_memory_bytes"
        ).split(),
        1,
    )
    summary = EvaluationSummary(accuracy=accuracy, accuracy_low=accuracy - 0.1, accuracy_high=accuracy + 0.05, **counts)
    return CurvePoint(method, budget, summary, tokens, difference, difference, difference)


POINTS = [
    point("ours", 4, 0.7, 400.0, 0.1),
    point("ours", 1, 0.5, 100.0),
    point("greedy", 1, 0.4, 90.0),
    *(point(f"other {number}", budget, 0.3, 0.0) for number in range(9) for budget in (1, 4)),
]


def test_the_picture_has_every_point_in_both_panels():
    figure = plot_scaling_curve(POINTS, title="A sweep")
    left, right = figure.axes
    lines = {container.get_label(): container[0] for container in left.containers}
    assert list(lines) == ["ours", "greedy", *(f"other {number}" for number in range(9))]
    assert list(lines["ours"].get_ydata()) == [0.5, 0.7]
    assert right.containers[0][0].get_xdata().tolist() == [100.0, 400.0]
    assert left.get_xlabel().startswith("budget") and right.get_xlabel() == "generated tokens a problem"
    assert [text.get_text() for text in figure.legends[0].get_texts()] == list(lines)
    assert len({(line.get_color(), line.get_marker()) for line in lines.values()}) == len(lines)
    markers = [line.get_marker() for line in lines.values()]
    assert len(set(markers)) == 9  # told apart without colour; those with one marker differ in their lines
    assert lines["ours"].get_linestyle() != lines["other 7"].get_linestyle() and markers[0] == markers[9]


def test_files(tmp_path):
    written = write_scaling_curve(POINTS, tmp_path / "new", settings={"seeds": [0]})
    assert [path.name for path in written] == ["curve.csv", "curve.json", "curve.png", "curve.pdf", "curve.svg"]
    assert written[2].read_bytes()[:4] == b"\x89PNG" and written[3].read_bytes()[:4] == b"%PDF"
    with written[0].open() as file:
        rows = list(csv.DictReader(file))
    assert rows[0]["method"] == "ours" and float(rows[0]["accuracy"]) == 0.7 and rows[1]["difference"] == ""
    found = json.loads(written[1].read_text())
    assert found["settings"] == {"seeds": [0]} and found["points"][0]["tokens_per_problem"] == 400.0


def test_nothing_cannot_be_drawn(tmp_path):
    with pytest.raises(ValueError, match="at least one point"):
        plot_scaling_curve([])
    with pytest.raises(ValueError, match="at least one point"):
        write_scaling_curve([], tmp_path / "new")
    assert not (tmp_path / "new").exists()
