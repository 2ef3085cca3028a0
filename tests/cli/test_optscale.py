"""OptScale on the command line: solve, and as a method of evaluate and curve."""

import json

import pytest

from tests.cli.files import write_lines

PROBLEM = "How many?"
SOLVE = ["solve", PROBLEM, "--seed", 1]


def test_solve_says_how_many_were_drawn_and_why_it_stopped(cli, finite_models):
    ran = cli(*SOLVE, "--method", "optscale", "--target-score", 0.75, "--confidence", 0.9, "--max-completions", 12)
    assert ran.returncode == 0, ran.stderr
    shown = " ".join(ran.stdout.split())
    assert "has reached the target 0.75" in shown and "completions" in shown and "stopped after" in shown


def test_solve_shows_the_number_with_its_interval(cli, finite_models):
    ran = cli(*SOLVE, "--method", "optscale:min_completions=4", "--target-score", 0.99, "--confidence", 0.5)
    assert ran.returncode == 0, ran.stderr
    shown = " ".join(ran.stdout.split())
    assert "N* " in shown and "with probability 0.9)" in shown and "after 4" in shown


def test_solve_prints_the_decisions_as_json(cli, finite_models):
    ran = cli(*SOLVE, "--method", "optscale:score_model=dirichlet", "--price", 0.5, "--json")
    found = json.loads(ran.stdout)
    assert found["stopped_because"] == "not_worthwhile" and found["configuration"]["rule"].startswith("PriceRule")
    assert found["num_completions"] == found["decisions"][-1]["num_seen"] >= 1 and found["method"] == "optscale"


@pytest.mark.parametrize("method", ["optscale-replicates:num_particles=2,max_replicates=3", "majority-vote", "islands"])
def test_solve_takes_any_method(cli, finite_models, method):
    ran = cli(*SOLVE, "--method", method, *(["--num-particles", 4] if ":" not in method else []))
    assert ran.returncode == 0 and "answer" in ran.stdout, ran.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--method", "optscale", "--target-score", 2], "target_score to be in [0, 1], got 2.0"),
        (["--method", "optscale", "--price", 0], "price to be finite and above 0"),
        (["--method", "optscale:score_model=gauss"], "a score model among"),
        (["--target-score", 0.9], "a setting that particle-filter takes"),
    ],
)
def test_mistakes_are_said(cli, finite_models, options, message):
    ran = cli(*SOLVE, *options)
    assert ran.returncode == 2 and message in " ".join(ran.stderr.split()) and not finite_models


def test_evaluate_and_curve_have_it(cli, finite_models, tmp_path):
    problems = write_lines(tmp_path / "problems.jsonl", [{"problem": f"{n}?", "answer": "1"} for n in range(3)])
    label = "optscale:target_score=.75,confidence=.9,score_model=beta"
    settings = ["--method", "optscale:score_model=beta", "--target-score", 0.75, "--confidence", 0.9, "--num-particles", 4]
    ran = cli("evaluate", problems, *settings, "--output", tmp_path / "out.jsonl")
    assert ran.returncode == 0, ran.stderr
    recorded = json.loads((tmp_path / "out.jsonl.settings.json").read_text())
    assert (recorded["target_score"], recorded["confidence"]) == (0.75, 0.9) and "price" not in recorded
    records = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert len([one for one in records if "answer" in one]) >= 3
    ran = cli("curve", problems, "--methods", label, "best-of-n", "--budgets", 1, 3, "--output-dir", tmp_path / "sweep")
    assert ran.returncode == 0 and label in (tmp_path / "sweep" / "curve.csv").read_text(), ran.stderr
