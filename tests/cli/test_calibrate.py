"""``ppl-scaling calibrate``, and what ``--calibration`` does with its file."""

import json
import math
import re

import numpy as np
import pytest

from ppl_scaling.cli.options import ModelOptions
from ppl_scaling.models import BernoulliLikelihood, CalibratedLikelihood, CalibrationPosterior, PlattCalibration
from tests.cli.files import write_lines


@pytest.fixture
def labels(tmp_path):
    rng = np.random.default_rng(0)
    logits = rng.normal(1, 2, 300)
    right = rng.random(300) < 1 / (1 + np.exp(1 - logits / 2))
    rows = [{"logit": one, "label": int(label), "count": 0.5} for one, label in zip(logits.tolist(), right, strict=True)]
    return write_lines(tmp_path / "labels.jsonl", rows)


@pytest.mark.parametrize("kind", ["platt", "monotone"])
def test_labels_become_a_file_that_the_likelihood_uses(cli, labels, tmp_path, finite_models, kind):
    output = tmp_path / "new" / "calibration.json"
    ran = cli("calibrate", labels, "--map", kind, "--output", output, "--num-draws", 50)
    assert ran.returncode == 0, ran.stderr
    assert "log_slope" in ran.stdout and "fitted to" in ran.stdout and "Brier" in ran.stdout
    assert CalibrationPosterior.load(output).num_draws == 50
    solving = ["solve", "?", "--num-particles", 8, "--seed", 1, "--json"]
    for how in ("plug_in", "marginal", "latent"):
        given = ["--calibration", output, "--calibration-uncertainty", how]
        solved = json.loads(cli(*solving, *given).stdout)
        assert solved["configuration"]["likelihood"].startswith("CalibratedLikelihood(BernoulliLikelihood(beta=1.0)")
        assert solved["log_evidence"] < json.loads(cli(*solving).stdout)["log_evidence"]  # the scores were too high


def test_scores_mean_their_logits_and_other_labels_are_measured_on(cli, labels, tmp_path):
    rows = [json.loads(line) for line in labels.read_text().splitlines()]
    scores = [{"score": 1 / (1 + math.exp(-row["logit"])), "label": row["label"], "count": 0.5} for row in rows]
    given = write_lines(tmp_path / "scores.jsonl", scores)
    for source, output in ((labels, "one.json"), (given, "two.json")):
        assert cli("calibrate", source, "--test", labels, "--output", tmp_path / output).returncode == 0
    one, two = (CalibrationPosterior.load(tmp_path / name).draws["offset"] for name in ("one.json", "two.json"))
    np.testing.assert_allclose(one.mean(), two.mean(), atol=1e-3)


def test_the_picture_shows_the_scores_before_and_after(cli, labels, tmp_path):
    given = ["calibrate", labels, "--num-draws", 20, "--output", tmp_path / "calibration.json", "--figures"]
    assert cli(*given, tmp_path / "new" / "pictures").returncode == 0
    written = sorted((tmp_path / "new" / "pictures").iterdir())
    assert [one.name for one in written] == ["reliability.png", "reliability.svg"]
    assert all(f"<!-- {name} -->" in written[1].read_text() for name in ("before", "after", "perfect"))
    assert "cannot write" in cli(*given, labels).stderr


def test_settings_hold_what_the_file_says(labels, tmp_path):
    assert not {"calibration", "calibration_uncertainty"} & set(ModelOptions().settings())
    known = CalibrationPosterior.load(write_known(tmp_path / "a.json", 0.5))
    options = ModelOptions(calibration=str(tmp_path / "a.json"), likelihood="bernoulli", beta=2.0)
    made = options.likelihood_with({})
    assert isinstance(made, CalibratedLikelihood) and isinstance(made.likelihood, BernoulliLikelihood) and made.beta == 2.0
    assert made.calibration.draws["offset"] == known.draws["offset"]
    write_known(tmp_path / "b.json", 0.5)
    same = ModelOptions(calibration=str(tmp_path / "b.json"), likelihood="bernoulli", beta=2.0)
    assert same.settings() == options.settings()
    write_known(tmp_path / "b.json", 0.6)
    assert same.settings() != options.settings()


def write_known(path, offset):
    return CalibrationPosterior(PlattCalibration(), {"log_slope": [0.0], "offset": [offset]}).save(path)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"logit": 1.0}, "line 1 of .* to have label and either logit or score"),
        ({"logit": 1.0, "score": 0.5, "label": 1}, "either logit or score"),
        ({"score": 1.0, "label": 1}, "above 0 and below 1 at line 1 of .*give logits"),
        ({"logit": "high", "label": 1}, "logit at line 1 of .* to be a number, got 'high'"),
        ({"logit": 1.0, "label": 3}, "labels between 0 and 1, got 3.0"),
    ],
)
def test_what_is_wrong_with_labels_is_said(cli, tmp_path, row, message):
    ran = cli("calibrate", write_lines(tmp_path / "labels.jsonl", [row]), "--output", tmp_path / "calibration.json")
    assert ran.returncode == 2 and re.search(message, ran.stderr), ran.stderr


def test_other_mistakes(cli, labels, tmp_path):
    assert "among temperature, platt" in cli("calibrate", labels, "--map", "x", "--output", tmp_path / "c.json").stderr
    ran = cli("calibrate", labels, "--num-draws", 20, "--output", tmp_path)
    assert ran.returncode == 2 and "to write a calibration to, cannot write" in ran.stderr
    assert "cannot read" in cli("calibrate", tmp_path / "none.jsonl", "--output", tmp_path / "c.json").stderr
    ran = cli("solve", "What is 1 + 1?", "--calibration", labels)
    assert ran.returncode == 2 and "to be a calibration file" in ran.stderr
