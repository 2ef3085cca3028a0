"""The command line within the test's process, on the embedded models or on finite ones that load at once."""

import subprocess
import sys

import pytest

from ppl_scaling.backends.finite import FiniteLanguageModel, FunctionRewardModel
from ppl_scaling.cli import main
from ppl_scaling.cli.models import Models
from ppl_scaling.cli.options import ModelOptions
from tests.diagnostics.records import world


@pytest.fixture
def cli(monkeypatch, capfd):
    """Call the command line within the test's process: the same entry point without the seconds of starting Python."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["ppl-scaling", *map(str, arguments)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        written = capfd.readouterr()
        code = ended.value.code or 0
        return subprocess.CompletedProcess(arguments, code, written.out, written.err)

    return call


@pytest.fixture
def finite_models(monkeypatch):
    """Models of a world whose answers are 1 and 2, in place of those that the options name; gives the list of loads."""
    loads = []

    def load(options):
        loads.append(options)
        table = {"": {"so ": 0.4, r"\boxed{1}": 0.35, r"\boxed{2}": 0.25}, "}": {"$": 1.0}}
        reward = FunctionRewardModel(lambda prompt, text: 0.8 if "1" in text else 0.4)
        return Models(FiniteLanguageModel(table), reward, options)

    monkeypatch.setattr(ModelOptions, "load", load)
    return loads


@pytest.fixture
def saved(cli, finite_models, tmp_path):
    """Solve a problem on the finite models and give the path of the saved result."""

    def save(seed, num_particles=16, problem="Which?"):
        path = tmp_path / f"{seed}.json"
        ran = cli("solve", problem, "--num-particles", num_particles, "--seed", seed, "--save", path, "--json")
        assert ran.returncode == 0, ran.stderr
        return path

    return save


@pytest.fixture
def evaluation(tmp_path):
    """Path of the file of an evaluation of 30 problems."""
    path = tmp_path / "evaluation.jsonl"
    path.write_text("".join(one.to_json() + "\n" for one in world(30)))
    return path
