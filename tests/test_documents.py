"""What the README and the docstrings show is run."""

import doctest
import importlib
import pkgutil
import re
import shlex
import sys
from pathlib import Path

import jupytext
import pytest

import ppl_scaling
import ppl_scaling.inference
import ppl_scaling.models
from ppl_scaling.cli import main

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
SITE = ROOT / "tutorials" / "site"
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
    assert len(blocks) == 3
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


@pytest.mark.parametrize("page", ["start", "next_steps"])
def test_python_of_the_site(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", (SITE / f"{page}.md").read_text(), flags=re.S)
    assert blocks
    exec("\n".join(blocks), {"__name__": page})


@pytest.mark.parametrize(
    "package",
    ["models", "models.scores", "inference", "inference.optscale", "backends", "tasks", "diagnostics"],
)
def test_the_reference_has_every_public_name_once(package):
    name = f"ppl_scaling.{package}"
    page = (SITE / "reference" / f"{package.rpartition('.')[2]}.md").read_text()
    tables = re.findall(rf"^\.\. public-names:: {re.escape(name)}\n(.*?)```", page, flags=re.S | re.M)
    assert sorted(" ".join(tables).split()) == sorted(importlib.import_module(name).__all__)


def test_every_page_of_the_site_can_be_reached():
    listed = set()
    for page in SITE.rglob("*.md"):
        for table in re.findall(r"```{toctree}\n(.*?)```", page.read_text(), flags=re.S):
            listed |= {(page.parent / entry).resolve() for entry in table.split() if not entry.startswith((":", "/"))}
    pages = {page.with_suffix("").resolve() for page in SITE.rglob("*.md")}
    assert pages - listed == {(SITE / "index").resolve()}


TUTORIALS = sorted((ROOT / "tutorials").glob("*.py"))


@pytest.mark.parametrize("source", TUTORIALS, ids=lambda path: path.stem)
def test_every_tutorial_is_rendered_as_it_is_now(source):
    """`make notebooks` writes the notebooks; TUTORIALS="03" for one alone."""
    notebook = source.with_suffix(".ipynb")
    assert notebook.exists(), f"make notebooks TUTORIALS={source.name[:2]} writes it"
    rendered, written = jupytext.read(notebook), jupytext.read(source, fmt="py:percent")
    cells = [[(cell.cell_type, cell.source) for cell in one.cells] for one in (rendered, written)]
    assert cells[0] == cells[1], f"make notebooks TUTORIALS={source.name[:2]} renders it again"
    assert any(cell.get("outputs") for cell in rendered.cells) and notebook.stat().st_size < 400_000


def test_no_notebook_is_left_over():
    assert {one.stem for one in (ROOT / "tutorials").glob("*.ipynb")} == {one.stem for one in TUTORIALS}
