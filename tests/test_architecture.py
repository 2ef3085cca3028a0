"""The layout that the design fixes: who may import whom, and one owner for every foreign thing."""

import ast
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TREES = {
    "ppl_scaling": ROOT / "ppl_scaling",
    "ppl_scaling.models": ROOT / "models",
    "ppl_scaling.inference": ROOT / "inference",
}

# What each part may import of the library, beside itself. `pretrained` is the recipe, a program of its own.
EVERYONE = {"arviz_export", "boxed", "draw_statistics", "errors", "host", "log_weights", "seeding", "smc_failed"}
EVERYONE |= {"arguments", "drafts", "pareto", "token_law"}
ALLOWED = {
    "cli": {"inference", "models", "backends", "tasks", "interfaces", "pretrained", "diagnostics"},
    "diagnostics": {"inference", "interfaces"},
    "inference": {"models", "tasks", "interfaces"},
    "models": {"interfaces"},
    "backends": {"interfaces"},
    "tasks": {"interfaces"},
    "interfaces": set(),
    "pretrained": {"tasks", "inference"},
} | {name: set() for name in EVERYONE}

FOREIGN = {
    "arviz": {"ppl_scaling/arviz_export.py"},
    "xarray": {"ppl_scaling/arviz_export.py"},
    "transformers.AutoModelForCausalLM": {
        "ppl_scaling/backends/transformers_lm.py",
        "ppl_scaling/backends/reward_models/heads.py",  # language models that score: judges and the like
    },
    "transformers.AutoModelForTokenClassification": {"ppl_scaling/backends/reward_models/token_classification.py"},
    "transformers.AutoModelForSequenceClassification": {"ppl_scaling/backends/reward_models/sequence_classification.py"},
    "transformers.models": {"ppl_scaling/backends/reward_models/qwen2.py"},
    "math_verify": {"ppl_scaling/tasks/answers.py"},
}
PYRO_PRIVATE = {
    "_log_weights",
    "_update_weights",
    "_importance_resample",
    "_maybe_importance_resample",
    "_lock",
    "_resample",
}


def sources():
    for package, folder in TREES.items():
        for path in sorted(folder.rglob("*.py")):
            yield package, path


def part_of(package, path):
    relative = path.relative_to(TREES[package])
    if package == "ppl_scaling.models" and relative.parts[0] == "pretrained":
        return "pretrained"
    if package != "ppl_scaling":
        return package.removeprefix("ppl_scaling.")
    return relative.parts[0].removesuffix(".py")


def imports(tree):
    """Full names of what is imported: ``a.b`` for ``import a.b`` and ``a.b.c`` for ``from a.b import c``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize(("package", "path"), list(sources()), ids=lambda value: getattr(value, "stem", None))
def test_imports_go_down_only(package, path):
    part = part_of(package, path)
    if part == "__init__":
        return
    for name in imports(ast.parse(path.read_text())):
        if name.split(".")[0] != "ppl_scaling":
            continue
        target = "pretrained" if name.startswith("ppl_scaling.models.pretrained") else name.split(".")[1]
        assert target in ALLOWED[part] | EVERYONE | {part}, f"{path.relative_to(ROOT)} ({part}) may not import {name}"


@pytest.mark.parametrize(("foreign", "owners"), list(FOREIGN.items()))
def test_one_owner_for_each_foreign_thing(foreign, owners):
    found = {
        str(path.relative_to(ROOT))
        for package, path in sources()
        if part_of(package, path) != "pretrained"
        for name in imports(ast.parse(path.read_text()))
        if name == foreign or name.startswith(foreign + ".")
    }
    assert found == owners


def test_one_file_touches_pyros_private_names():
    found = {
        str(path.relative_to(ROOT))
        for package, path in sources()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and node.attr in PYRO_PRIVATE
    }
    assert found == {"inference/particle_state.py"}


def test_every_file_says_its_job_and_is_small():
    for _, path in sources():
        text = path.read_text()
        assert ast.get_docstring(ast.parse(text)), f"{path} has no module docstring"
        assert text.count("\n") <= 300, f"{path} has {text.count(chr(10))} lines: is it one job?"


def test_threads_are_the_users_business():
    assert not [path for _, path in sources() if "set_num_threads" in path.read_text()]


def test_the_top_level_holds_nothing_else():
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    folders = {line.split("/")[0] for line in listed.stdout.splitlines() if "/" in line}
    assert folders <= {"ppl_scaling", "models", "inference", "tests", "tutorials", ".ci", ".github"}
