"""The command line as a user meets it."""

import json
import subprocess
import sys

import pytest

from ppl_scaling.cli.methods import METHODS, complete_method
from ppl_scaling.models.pretrained import LANGUAGE_MODEL_PATH
from ppl_scaling.tasks import generate_problems

PROBLEM = generate_problems(1, seed=7)[0].problem


def in_a_new_process(*arguments):
    command = [sys.executable, "-c", "from ppl_scaling.cli import main; main()", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def test_problems_are_json_lines_and_deterministic(cli):
    first = cli("problems", "--num-problems", 5, "--num-steps", 6, "--seed", 7)
    assert first.returncode == 0 and first.stderr == ""
    lines = [json.loads(line) for line in first.stdout.splitlines()]
    assert len(lines) == 5 and all(set(line) == {"problem", "answer"} for line in lines)
    assert cli("problems", "--num-problems", 5, "--num-steps", 6, "--seed", 7).stdout == first.stdout
    text = cli("problems", "--num-problems", 5, "--num-steps", 6, "--seed", 7, "--text").stdout
    assert text.splitlines() == [line["problem"] for line in lines]


def test_solve_prints_one_json_object_and_nothing_else():
    cli = in_a_new_process
    settings = ["--num-particles", 8, "--likelihood", "odds", "--resampling", "ssp", "--ess-threshold", 1, "--seed", 3]
    ran = cli("solve", PROBLEM, *settings, "--beta", 0.5, "--temperature", 0.9, "--json")
    assert ran.returncode == 0 and ran.stderr == "", ran.stderr
    result = json.loads(ran.stdout)
    required = "problem method answer answers log_evidence ess num_particles num_steps finished truncated"
    required += " generated_tokens lm_tokens_forwarded prm_tokens_forwarded seconds seed trajectories"
    assert set(required.split()) <= set(result)
    assert result["problem"] == PROBLEM and result["num_particles"] == 8 and result["seed"] == 3
    assert len(result["ess"]) == result["num_steps"] and len(result["trajectories"]) == 8
    assert {"steps", "score", "log_weight", "answer"} <= set(result["trajectories"][0])
    assert result["configuration"]["likelihood"] == "OddsLikelihood(beta=0.5, temperature=1.0)"


def test_solve_with_a_preset_and_options_that_win_over_it(cli):
    given = ["--max-steps", 4, "--max-step-tokens", 12, "--step-delimiter", r"\n", "--max-tokens", 40]
    ran = cli("solve", PROBLEM, "--preset", "qwen2.5-math", *given, "--num-particles", 4, "--seed", 1, "--json")
    configuration = json.loads(ran.stdout)["configuration"]  # the embedded model may find no answer: it knows another prompt
    assert configuration["temperature"] == 0.8
    assert [configuration[name] for name in ("max_steps", "max_step_tokens", "max_tokens")] == [4, 12, 40]


def test_solve_shows_the_posterior(cli):
    ran = cli("solve", PROBLEM, "--seed", 1, "--num-particles", 8)
    assert ran.returncode == 0, ran.stderr
    for word in ("problem", "answer", "probability", "std. error", "log evidence", "ESS by step", "trajectory"):
        assert word in ran.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["solve", "   "], "expected a problem with some text"),
        (["solve", PROBLEM, "--num-particles", "0"], "num_particles to be an integer of at least 1, got 0"),
        (["solve", PROBLEM, "--likelihood", "gauss"], "a likelihood among bernoulli, twist, odds, got 'gauss'"),
        (["solve", PROBLEM, "--resampling", "systemic"], "did you mean 'systematic'"),
        (["solve", PROBLEM, "--ess-threshold", "0"], "ess_threshold to be in (0, 1], got 0.0"),
        (["solve", PROBLEM, "--beta", "-1"], "beta to be a finite number >= 0, got -1.0"),
        (["solve", PROBLEM, "--temperature", "0"], "temperature above 0, got 0.0"),
        (["solve", PROBLEM, "--choice", "best"], "final choice among mode, best_score, sample, got 'best'"),
        (["solve", PROBLEM, "--max-steps", "0"], "max_steps to be an integer of at least 1, got 0"),
        (["solve", PROBLEM, "--seed", "-4"], "seed to be an integer of at least 0, got -4"),
        (["solve", PROBLEM, "--device", "abacus"], "a device such as 'cpu' or 'cuda:0', got 'abacus'"),
        (["solve", PROBLEM, "--dtype", "int8"], "a dtype such as 'float32', 'bfloat16' or 'float16', got 'int8'"),
        (["solve", PROBLEM, "--model", "/no/such/folder"], "'/no/such/folder', which does not exist"),
        (["solve", PROBLEM, "--draft", "/no/such/folder"], "'/no/such/folder', which does not exist"),
        (["solve", PROBLEM, "--method", "greedy", "--draft", "/no/such/folder"], "a proposal, for --draft, got greedy"),
        (["solve", "word " * 1200], "a prompt shorter than the model's context"),
        (["solve", PROBLEM, "--max-steps", "1", "--seed", "1"], "has an answer: 0 finished, 16 truncated"),
        (["solve", PROBLEM, "--preset", "gpt"], "a preset among qwen2.5-math, llama-3, optscale, got 'gpt'"),
        (["solve", PROBLEM, "--step-delimiter", ""], "a delimiter of at least one character"),
        (["solve", PROBLEM, "--device-map", "cuda"], "a device_map among auto,"),
        (["solve", PROBLEM, "--max-tokens", "0"], "max_tokens to be an integer of at least 1, got 0"),
        (["problems", "--split", "exam"], "exam"),
        (["problems", "--num-problems", "-1"], "-1"),
    ],
)
def test_a_mistake_is_one_clear_line_and_exit_code_2(cli, arguments, message):
    ran = cli(*arguments)
    assert ran.returncode == 2
    assert ran.stderr.startswith("Error: ") and ran.stderr.count("\n") == 1, ran.stderr
    assert message in ran.stderr


def test_an_unknown_option_is_an_error_too(cli):
    ran = cli("solve", PROBLEM, "--particles", 3)
    assert ran.returncode == 2 and "--particles" in ran.stderr


def test_a_language_model_is_no_reward_model(cli):
    ran = cli("solve", PROBLEM, "--prm", LANGUAGE_MODEL_PATH)
    assert ran.returncode == 2 and ran.stderr.count("\n") == 1, ran.stderr
    assert "recognised by none. Name its family: token-classification, qwen-math-prm" in ran.stderr
    ran = cli("solve", PROBLEM, "--prm", LANGUAGE_MODEL_PATH, "--prm-family", "token-classification")
    assert ran.returncode == 2 and ran.stderr.count("\n") == 1, ran.stderr
    assert "has no weights for score" in ran.stderr and "answer at random" in ran.stderr


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], "TwistLikelihood(beta=0.5)"),
        (["--aggregation", "min"], "TwistLikelihood(beta=0.5)"),
        (["--aggregation", "min", "--likelihood", "bernoulli"], "BernoulliLikelihood(beta=0.5)"),
    ],
)
def test_the_likelihood_follows_the_aggregation_unless_it_is_given(cli, options, expected):
    family = ["--prm-family", "token-classification"]
    ran = cli("solve", PROBLEM, "--num-particles", 4, "--beta", 0.5, "--seed", 1, "--json", *family, *options)
    configuration = json.loads(ran.stdout)["configuration"]
    assert configuration["likelihood"] == expected
    aggregation = "min" if options else "last"
    assert configuration["reward_model"].endswith(
        f"(family='token-classification', aggregation='{aggregation}', incremental)"
    )


@pytest.mark.parametrize("command", [[], ["solve"], ["problems"], ["evaluate"], ["curve"], ["diagnose"], ["calibrate"]])
def test_help_has_an_example_and_is_whole_at_80_columns(cli, command, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    ran = cli(*command, "--help")
    assert ran.returncode == 0 and "Usage" in ran.stdout and "Example" in ran.stdout
    assert "…" not in ran.stdout


def test_methods_can_be_completed():
    assert complete_method("best") == ["best-of-n"] and set(complete_method("")) == set(METHODS)
