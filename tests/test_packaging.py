"""The wheel holds what the tree holds, and works where the repository is not."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SHIPPED = {"ppl_scaling": "ppl_scaling", "models": "ppl_scaling/models", "inference": "ppl_scaling/inference"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Build from a copy of the tracked and new files, so that no old ``build/`` can help."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "README.md", "LICENSE", *SHIPPED):
        subprocess.run(["cp", "-r", ROOT / name, source], check=True)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--quiet", "--no-deps"]
    # With the setuptools of the environment, so that no network is needed.
    subprocess.run([*pip, "--no-build-isolation", "--wheel-dir", target, source], check=True, capture_output=True)
    return next(target.glob("*.whl"))


def test_the_wheel_has_every_file_of_the_tree(wheel):
    expected = {
        f"{target}/{path.relative_to(ROOT / folder)}"
        for folder, target in SHIPPED.items()
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    found = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert found == expected
    assert {
        f"ppl_scaling/models/pretrained/{kind}/model.safetensors" for kind in ("language_model", "reward_model")
    } <= found


def test_the_wheel_solves_a_problem_from_another_folder(wheel, tmp_path):
    site = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(site)
    code = (
        "import ppl_scaling, ppl_scaling.models, ppl_scaling.inference, ppl_scaling.models.pretrained as p\n"
        "modules = ppl_scaling, ppl_scaling.models, ppl_scaling.inference\n"
        f"assert all(module.__file__.startswith({str(site)!r}) for module in modules)\n"
        "from ppl_scaling.backends import TransformersLanguageModel as L\n"
        "print(L.from_pretrained(p.LANGUAGE_MODEL_PATH, device='cpu').context_length > 0)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": str(site), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0 and ran.stdout.strip() == "True", ran.stderr


def test_the_command_line_needs_nothing_heavy_to_explain_itself():
    """A help text, a completion or a typing mistake should not wait for torch."""
    code = (
        "import sys, ppl_scaling.cli\n"
        "heavy = {'torch', 'pyro', 'transformers', 'math_verify', 'matplotlib', 'scipy', 'arviz'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
