"""``ppl-scaling evaluate`` and ``ppl-scaling curve`` as a user meets them."""

import csv
import json

import pytest

from ppl_scaling.inference import ParticleFilter
from ppl_scaling.inference.evaluation_file import read_evaluation
from ppl_scaling.models.pretrained import LANGUAGE_MODEL_PATH
from ppl_scaling.tasks import generate_problems
from tests.cli.files import write_lines


@pytest.fixture
def problems(tmp_path):
    rows = [{"question": f"Which, {number}?", "answer": f"thus\n#### {1 + number % 2}"} for number in range(7)]
    return write_lines(tmp_path / "problems.jsonl", rows)


FIELD = ["--problem-field", "question"]


def test_evaluate_writes_results_and_a_summary_and_goes_on(cli, finite_models, problems, tmp_path):
    output, summary = tmp_path / "results.jsonl", tmp_path / "summary.json"
    command = ["evaluate", problems, *FIELD, "--num-particles", 3, "--batch-size", 2, "--seeds", 4, 5]
    ran = cli(*command, "--output", output, "--summary", summary)
    assert ran.returncode == 0, ran.stderr
    records = read_evaluation(output)
    assert len(records) == 14 and {one.seed for one in records} == {4, 5}
    assert [one.expected for one in records[:3]] == ["1", "2", "1"]
    found = json.loads(summary.read_text())
    assert found["accuracy"] == pytest.approx(sum(one.correct for one in records) / 14)
    assert found["method"] == "particle-filter" and found["num_particles"] == 3 and found["num_problems"] == 7
    assert f"{found['accuracy']:.1%}" in ran.stdout and "interval over problems" in ran.stdout
    assert f"{found['generated_tokens']} generated" in ran.stdout and "MiB at the peak" in ran.stdout
    lines = output.read_bytes().splitlines(keepends=True)
    output.write_bytes(b"".join(lines[:5]) + lines[5][:10])
    assert cli(*command, "--output", output).returncode == 0
    again = [{**json.loads(line), "seconds": 0} for line in output.read_bytes().splitlines()]
    assert again == [{**json.loads(line), "seconds": 0} for line in lines]
    assert len(finite_models) == 2
    assert cli(*command, "--output", output).returncode == 0
    assert len(finite_models) == 2  # nothing was missing, so nothing was loaded


def test_evaluate_on_the_embedded_models(cli, tmp_path):
    rows = [{"problem": one.problem, "answer": one.answer} for one in generate_problems(3, num_steps=2, seed=7)]
    rows[1]["problem"] = "word " * 1200
    write_lines(tmp_path / "problems.jsonl", rows)
    method = "best-of-n:max_steps=4"
    ran = cli("evaluate", tmp_path / "problems.jsonl", "--method", method, "--num-particles", 2, "--output", tmp_path / "r")
    assert ran.returncode == 0, ran.stderr
    first, second, third = read_evaluation(tmp_path / "r")
    assert "a prompt shorter than the model's context" in second.error and not second.correct
    assert first.error is None and third.error is None and first.num_trajectories == third.num_trajectories == 2
    assert "1 failed" in ran.stdout and method in ran.stdout


def test_the_embedded_model_as_its_own_draft(cli, tmp_path):
    """Weights are log p - log q = 0 then: evaluations with and without are the same but for what is forwarded."""
    rows = [{"problem": one.problem, "answer": one.answer} for one in generate_problems(2, num_steps=2, seed=7)]
    write_lines(tmp_path / "problems.jsonl", rows)
    command = ["evaluate", tmp_path / "problems.jsonl", "--num-particles", 4, "--max-steps", 5, "--keep-trajectories"]
    assert cli(*command, "--output", tmp_path / "own").returncode == 0
    ran = cli(*command, "--draft", LANGUAGE_MODEL_PATH, "--output", tmp_path / "draft")
    assert ran.returncode == 0, ran.stderr
    for own, drafted in zip(read_evaluation(tmp_path / "own"), read_evaluation(tmp_path / "draft"), strict=True):
        assert [one["steps"] for one in own.trajectories] == [one["steps"] for one in drafted.trajectories]
        assert drafted.log_evidence == pytest.approx(own.log_evidence, abs=1e-3) and drafted.answer == own.answer
    settings = json.loads((tmp_path / "draft.settings.json").read_text())
    assert settings["draft"] == str(LANGUAGE_MODEL_PATH)
    ran = cli("solve", rows[0]["problem"], "--draft", LANGUAGE_MODEL_PATH, "--num-particles", 4, "--seed", 1, "--json")
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout)
    assert found["draft_tokens_forwarded"] > 0 and found["configuration"]["proposal"] is not None


def test_a_draft_for_methods_that_draw_from_the_model(cli, finite_models, problems, tmp_path):
    ran = cli("evaluate", problems, *FIELD, "--method", "greedy", "--draft", "here", "--output", tmp_path / "r")
    assert ran.returncode == 2 and "expected a method that takes a proposal, for --draft, got greedy" in ran.stderr
    methods = ["--methods", "greedy", "particle-filter", "--budgets", 2, "--output-dir", tmp_path / "sweep"]
    ran = cli("curve", problems, *FIELD, *methods, "--draft", "here")
    assert ran.returncode == 0 and "greedy takes no proposal: what it draws is the model's" in ran.stderr


def test_options_of_evaluate(cli, finite_models, problems, tmp_path):
    options = ["--choice", "best_score", "--resampling", "ssp", "--ess-threshold", 0.25, "--num-replicates", 2]
    options += ["--keep-trajectories", "--limit", 2, "--likelihood", "twist", "--beta", 2]
    ran = cli("evaluate", problems, *FIELD, *options, "--output", tmp_path / "r.jsonl")
    assert ran.returncode == 0, ran.stderr
    records = read_evaluation(tmp_path / "r.jsonl")
    assert [(one.seed, one.index) for one in records] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert len(records[0].trajectories) == 16 and records[0].trajectories[0]["steps"]
    settings = json.loads((tmp_path / "r.jsonl.settings.json").read_text())
    assert settings["choice"] == "best_score" and settings["likelihood"] == "twist" and settings["beta"] == 2
    ran = cli("evaluate", problems, *FIELD, *options, "--output", tmp_path / "r.jsonl", "--beta", 3)
    assert ran.returncode == 2 and "beta was 2.0, is 3.0" in ran.stderr
    ran = cli("evaluate", problems, *FIELD, *options, "--output", tmp_path / "r.jsonl", "--beta", 3, "--overwrite")
    assert ran.returncode == 0


def test_ctrl_c_says_how_to_go_on(cli, finite_models, problems, tmp_path, monkeypatch):
    calls, infer = [], ParticleFilter._infer

    def interrupted(self, *arguments):
        calls.append(arguments)
        if len(calls) in (2, 4):
            raise KeyboardInterrupt
        return infer(self, *arguments)

    monkeypatch.setattr(ParticleFilter, "_infer", interrupted)
    command = ["evaluate", problems, *FIELD, "--batch-size", 3, "--output", tmp_path / "r.jsonl"]
    ran = cli(*command)
    assert ran.returncode == 130 and "Traceback" not in ran.stderr
    assert "Interrupted: 3 of 7 results are in" in ran.stderr and "Give the same command again to go on" in ran.stderr
    assert len(read_evaluation(tmp_path / "r.jsonl")) == 3
    sweep = ["curve", problems, *FIELD, "--methods", "particle-filter", "--batch-size", 3, "--output-dir", tmp_path / "d"]
    ran = cli(*sweep, "--budgets", 1, 2)
    assert ran.returncode == 130 and "Interrupted: 3 of 14 results" in ran.stderr
    assert cli(*command).returncode == 0 and cli(*sweep, "--budgets", 1, 2).returncode == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--method", "particle-filtre"], "did you mean 'particle-filter'"),
        (["--method", "greedy", "--num-particles", "4"], "no number of particles for greedy"),
        (["--method", "greedy", "--choice", "mode"], "greedy takes (it has none)"),
        (["--num-particles", "0"], "num_particles to be an integer of at least 1, got 0"),
        (["--likelihood", "gauss"], "a likelihood among bernoulli, twist, odds, got 'gauss'"),
        (["--resampling", "systemic"], "did you mean 'systematic'"),
        (["--batch-size", "0"], "batch_size to be an integer of at least 1, got 0"),
        (["--grading-seconds", "0"], "time_limit to be above 0 seconds, got 0.0"),
        (["--seeds", "1", "1"], "at least one seed, and seeds that differ, got [1, 1]"),
        (["--seeds", "1", "--num-replicates", "2"], "--seeds or --num-replicates, got both"),
        (["--num-replicates", "0"], "--num-replicates to be at least 1, got 0"),
        (["--problem-field", "text"], "a field 'text' in line 1"),
        (["--answer-style", "best"], "an answer style among auto, text, hashes, boxed, got 'best'"),
    ],
)
def test_a_mistake_is_one_clear_line_before_anything_is_loaded(cli, finite_models, problems, tmp_path, arguments, message):
    ran = cli("evaluate", problems, *FIELD, "--output", tmp_path / "r.jsonl", *arguments)
    if "--problem-field" in arguments:
        ran = cli("evaluate", problems, "--output", tmp_path / "r.jsonl", *arguments)
    assert ran.returncode == 2 and ran.stderr.startswith("Error: ") and ran.stderr.count("\n") == 1, ran.stderr
    assert message in ran.stderr and finite_models == []


def test_curve(cli, finite_models, problems, tmp_path):
    folder = tmp_path / "sweep"
    methods = ["particle-filter", "majority-vote", "best-of-n", "greedy", "particle-gibbs:num_iterations=2"]
    command = ["curve", problems, *FIELD, "--output-dir", folder, "--methods", *methods, "--seeds", 0, 1]
    ran = cli(*command, "--budgets", 1, 4)
    assert ran.returncode == 0, ran.stderr
    assert "particle-gibbs:num_iterations=2 at budget 1 is left out: expected a budget that is a multiple of 2" in ran.stderr
    with (folder / "curve.csv").open() as file:
        rows = {(row["method"], int(row["budget"])): row for row in csv.DictReader(file)}
    assert list(rows) == [
        *((name, budget) for name in methods[:3] for budget in (1, 4)),
        ("greedy", 1),
        ("particle-gibbs:num_iterations=2", 4),
    ]
    assert all(int(row["num_records"]) == 14 for row in rows.values())
    assert rows["particle-filter", 4]["difference"] == "" and rows["majority-vote", 4]["difference"] != ""
    # Both draw the same completions: the tokens are the same, and only one of them is scored.
    assert rows["majority-vote", 4]["generated_tokens"] == rows["best-of-n", 4]["generated_tokens"]
    assert int(rows["majority-vote", 4]["prm_calls"]) == 0 < int(rows["best-of-n", 4]["prm_calls"])
    points = json.loads((folder / "curve.json").read_text())
    assert points["settings"]["reference"] == "particle-filter" and len(points["points"]) == 8
    for name in ("curve.png", "curve.pdf", "curve.svg"):
        assert (folder / name).stat().st_size > 5000
    with (folder / "comparison.csv").open() as file:
        compared = list(csv.DictReader(file))
    pairs = [*((name, budget) for name in methods[1:3] for budget in "14"), ("greedy", ""), (methods[4], "")]
    assert [(row["method"], row["budget"]) for row in compared] == pairs
    assert {row["reference"] for row in compared} == {"particle-filter"} and compared[0]["budget_ratio"] != ""
    assert json.loads((folder / "comparison.json").read_text())["settings"] == points["settings"]
    assert "difference: accuracy minus that of particle-filter at the same number of tokens" in ran.stdout
    # The sweep goes on, with another budget too.
    csv_before, loads = (folder / "curve.csv").read_bytes(), len(finite_models)
    assert cli(*command, "--budgets", 1, 4).returncode == 0 and len(finite_models) == loads
    assert (folder / "curve.csv").read_bytes() == csv_before
    assert cli(*command, "--budgets", 1, 2, 4, "--reference", "greedy").returncode == 0
    ran = cli(*command, "--budgets", 1, 4, "--beta", 2)
    assert ran.returncode == 2 and "beta was None, is 2.0" in ran.stderr


def test_curve_with_completions_of_its_own_for_each_method(cli, finite_models, problems, tmp_path):
    methods = ["--methods", "majority-vote", "best-of-n", "--budgets", 4]
    command = ["curve", problems, *FIELD, *methods, "--output-dir", tmp_path]
    assert cli(*command, "--no-share-completions").returncode == 0
    assert (tmp_path / "comparison.json").exists()
    (path,) = tmp_path.glob("results/best-of-n/budget-0004-seed-0.jsonl")
    assert len(read_evaluation(path)) == 7
    assert cli(*command).returncode == 0  # other files
    assert len(list(tmp_path.glob("results/*/pool-4-scored/*.jsonl"))) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--methods", "greedy", "greedy"], "methods that differ, got greedy, greedy"),
        (["--methods", "greedy", "--reference", "dvts"], "a reference among greedy, got 'dvts'"),
        (["--methods", "particle-filter", "--budgets", "0", "1"], "budgets of at least 1, got 0"),
        (
            ["--methods", "particle-gibbs", "--budgets", "1", "2"],
            "a budget that is a multiple of 4 for particle-gibbs, got 2",
        ),
        (["--methods", "particle-filter:likelihood=x"], "a likelihood among bernoulli, twist, odds, got 'x'"),
    ],
)
def test_mistakes_of_curve(cli, finite_models, problems, tmp_path, arguments, message):
    ran = cli("curve", problems, *FIELD, "--output-dir", tmp_path / "sweep", *arguments)
    assert ran.returncode == 2 and ran.stderr.startswith("Error: ") and ran.stderr.count("\n") == 1, ran.stderr
    assert message in ran.stderr and finite_models == []


def test_one_method_is_compared_with_nothing(cli, finite_models, problems, tmp_path):
    ran = cli("curve", problems, *FIELD, "--methods", "greedy", "--output-dir", tmp_path / "sweep")
    assert ran.returncode == 0 and "difference" not in ran.stdout
    assert not (tmp_path / "sweep" / "comparison.csv").exists()


def test_lists_of_values(cli, finite_models, problems, tmp_path):
    """They may be given one by one, and end at the next option."""
    command = ["curve", problems, "--problem-field", "question", "question", "--methods", "greedy", "--methods", "pass@1"]
    ran = cli(*command, "--seeds", 3, "--seed", 4, "--output-dir", tmp_path / "sweep")
    assert ran.returncode == 0, ran.stderr
    assert len(list((tmp_path / "sweep" / "results" / "pass@1").glob("*seed-[34].jsonl"))) == 2
    ran = cli("evaluate", "--seeds", 1, 2, "--output", tmp_path / "r", "--", problems)
    assert "a field 'problem' in line 1" in ran.stderr
