"""``ppl-scaling diagnose`` on what ``solve --save`` and ``evaluate`` write."""

import json

import pytest


def test_a_saved_result(cli, saved):
    path = saved(1)
    ran = cli("diagnose", path)
    assert ran.returncode == 0, ran.stderr
    for text in ("particle filter on 'Which?'", "ess", "evidence_error", "log-evidence", "surviving"):
        assert text in ran.stdout
    assert "off by up to" not in ran.stdout and "0.5 / sqrt(n)" in cli("diagnose", path, "--reasons").stdout
    report = json.loads(cli("diagnose", path, "--json").stdout)
    assert {one["name"] for one in report["checks"]} >= {"ess", "unique_roots", "pareto_k", "answer_margin"}
    assert len(report["traces"]) == 1 and report["status"] in ("ok", "warn", "bad")


def test_several_files_are_replicates(cli, saved):
    ran = cli("diagnose", saved(1), saved(2), saved(3), "--json")
    report = json.loads(ran.stdout)
    assert "3 replicates" in report["subject"] and len(report["traces"]) == 3
    assert "evidence_agreement" in {one["name"] for one in report["checks"]}


def test_an_evaluation(cli, saved, evaluation):
    ran = cli("diagnose", evaluation)
    assert ran.returncode == 0 and "answer_calibration" in ran.stdout and "30 problems" in ran.stdout, ran.stderr
    both = cli("diagnose", evaluation, saved(1))
    assert both.returncode == 2 and "one evaluation alone" in both.stderr


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [("no.json", None, "cannot read"), ("text.json", "hello", "no JSON"), ("empty.jsonl", "", "has none yet")],
)
def test_files_that_are_neither(cli, tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_text(content)
    ran = cli("diagnose", tmp_path / name)
    assert ran.returncode == 2 and message in ran.stderr and "Traceback" not in ran.stderr
