"""What the README and the docstrings show is run."""

import doctest
import importlib
import pkgutil
import re
import shlex
import sys
from pathlib import Path

import pytest

import ppl_scaling
import ppl_scaling.inference
import ppl_scaling.models
from ppl_scaling.cli import main

README = (Path(__file__).parents[1] / "README.md").read_text()
# The layout's mapping hides `models` and `inference` from a walk that starts at the package. The recipe in
# `models.pretrained` is a program of its own.
PACKAGES = [ppl_scaling, ppl_scaling.models, ppl_scaling.inference]
MODULES = sorted(
    module.name
    for package in PACKAGES
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
    if not module.name.startswith("ppl_scaling.models.pretrained.")
)


def test_all_packages_are_found():
    assert {"ppl_scaling.models.state_space", "ppl_scaling.inference.smc_filter"} <= set(MODULES)


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings(name):
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_python_of_the_readme():
    blocks = re.findall(r"```python\n(.*?)```", README, flags=re.S)
    assert len(blocks) == 2
    exec("\n".join(blocks), {"__name__": "readme"})


@pytest.mark.parametrize("line", re.findall(r"^\$ ppl-scaling (.*?)(?:\s+#.*)?$", README, flags=re.M))
def test_commands_of_the_readme(line, monkeypatch, capsys):
    problem = "Mia has 12 pens. She buys 3 boxes of 10 pens. How many pens does Mia have now?"
    arguments = [problem if argument == "..." else argument for argument in shlex.split(line)]
    monkeypatch.setattr(sys, "argv", ["ppl-scaling", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code and capsys.readouterr().out


def test_the_readme_gives_the_two_commands():
    assert "make demo" in README and "make test" in README
