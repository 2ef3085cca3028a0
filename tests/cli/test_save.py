"""``ppl-scaling solve --save``: the file holds the result that was shown, also where there is no answer."""

import json

import pytest

from ppl_scaling.inference import load_result


def test_what_is_saved_is_what_was_printed(cli, finite_models, tmp_path):
    path = tmp_path / "results" / "one.json"
    ran = cli("solve", "Which?", "--num-particles", 6, "--seed", 3, "--save", path, "--json")
    assert ran.returncode == 0, ran.stderr
    result = load_result(path)
    assert result.to_dict() == json.loads(ran.stdout) and result.seed == 3
    assert result.to_arviz(weights="keep").posterior.sizes["draw"] == 6


def test_a_run_without_an_answer_is_saved_all_the_same(cli, finite_models, tmp_path):
    ran = cli("solve", "Which?", "--num-particles", 2, "--max-steps", 1, "--max-step-tokens", 1, "--save", tmp_path / "x")
    assert ran.returncode != 0 and "no" in ran.stderr.lower()
    assert load_result(tmp_path / "x").answer is None


@pytest.mark.parametrize("name", ["", "file/below"])
def test_a_place_that_cannot_be_written(cli, finite_models, tmp_path, name):
    (tmp_path / "file").write_text("")
    ran = cli("solve", "Which?", "--num-particles", 2, "--seed", 1, "--save", tmp_path / name)
    assert ran.returncode != 0 and "expected a file" in ran.stderr and "Traceback" not in ran.stderr
