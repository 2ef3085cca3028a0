"""Pictures and tables of scaling curves."""

import csv
import json

import pytest

from ppl_scaling.diagnostics import plot_scaling_curve, write_curve_comparison, write_scaling_curve
from ppl_scaling.inference import BudgetRatio, CensoredRatio, MatchedTokens
from tests.diagnostics.made import point

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


def test_long_names_fit_below_the_picture():
    figure = plot_scaling_curve([point(f"{number} " + 40 * "long", 1, 0.3, 5.0) for number in range(4)])
    figure.draw_without_rendering()
    (legend,) = figure.legends
    assert legend._ncols == 1 and figure.get_figheight() > 5
    figure = plot_scaling_curve([point(f"{number} " + 8 * "long", 1, 0.3, 5.0) for number in range(8)])
    figure.draw_without_rendering()
    extent = figure.legends[0].get_window_extent()
    assert figure.legends[0]._ncols == 3 and 0 < extent.x0 and extent.x1 < figure.bbox.width


def test_methods_of_a_budget_stand_side_by_side_and_near_it():
    points = [point(f"method {number}", 2**power, 0.3, 5.0) for number in range(9) for power in range(7)]
    left = plot_scaling_curve(points).axes[0]
    places = [container[0].get_xdata() for container in left.containers]
    low, high = left.get_xlim()
    for power in range(7):
        row = [place[power] for place in places]
        assert row == sorted(row) and len(set(row)) == 9
        assert max(low, 2 ** (power - 0.3)) < row[0] and row[-1] < min(high, 2 ** (power + 0.3))


def test_files(tmp_path):
    written = write_scaling_curve(POINTS, tmp_path / "new", settings={"seeds": [0]})
    assert [path.name for path in written] == ["curve.csv", "curve.json", "curve.png", "curve.pdf", "curve.svg"]
    assert written[2].read_bytes()[:4] == b"\x89PNG" and written[3].read_bytes()[:4] == b"%PDF"
    with written[0].open() as file:
        rows = list(csv.DictReader(file))
    assert rows[0]["method"] == "ours" and float(rows[0]["accuracy"]) == 0.7 and rows[1]["difference"] == ""
    found = json.loads(written[1].read_text())
    assert found["settings"] == {"seeds": [0]} and found["points"][0]["tokens_per_problem"] == 400.0


RATIO = CensoredRatio(16.0, 3.5, 16.0, "above", None, "above")
MATCHED = [
    MatchedTokens("theirs", "ours", 4, 400.0, 0.6, 0.7, -0.1, -0.15, -0.05),
    MatchedTokens("greedy", "ours", None, 90.0, 0.4, None, None, None, None),
]


def test_files_of_a_comparison(tmp_path):
    ratios = [BudgetRatio("theirs", "ours", 4, 0.7, RATIO, RATIO)]
    written = write_curve_comparison(MATCHED, ratios, tmp_path / "new", settings={"reference": "ours"})
    assert [path.name for path in written] == ["comparison.csv", "comparison.json"]
    with written[0].open() as file:
        theirs, greedy = csv.DictReader(file)
    assert theirs["budget_ratio"] == theirs["budget_ratio_high"] == "16.0" and theirs["token_ratio_low"] == "3.5"
    assert theirs["budget_ratio_censored"] == "above" and theirs["budget_ratio_low_censored"] == ""
    assert theirs["difference"] == "-0.1" and theirs["target_accuracy"] == "0.7"
    assert greedy["tokens"] == "90.0" and greedy["budget"] == greedy["difference"] == greedy["budget_ratio"] == ""
    found = json.loads(written[1].read_text())
    assert found["settings"] == {"reference": "ours"} and [row["method"] for row in found["rows"]] == ["theirs", "greedy"]
    with pytest.raises(ValueError, match="at least one comparison"):
        write_curve_comparison([], [], tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_nothing_cannot_be_drawn(tmp_path):
    with pytest.raises(ValueError, match="at least one point"):
        plot_scaling_curve([])
    with pytest.raises(ValueError, match="at least one point"):
        write_scaling_curve([], tmp_path / "new")
    assert not (tmp_path / "new").exists()
