"""Every tutorial runs from beginning to end, in a folder of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "tutorials"
TUTORIALS = [
    "01_state_space_model.py",
    "02_prm_as_likelihood.py",
    "03_particle_filtering.py",
    "04_your_own_model.py",
    "05_diagnosing_with_arviz.py",
    "06_particle_gibbs_and_tempering.py",
    "07_how_many_samples.py",
    "08_scaling_study.py",
    "09_on_a_gpu.py",
]


@pytest.mark.parametrize("name", TUTORIALS)
def test_it_runs(name, tmp_path):
    ran = subprocess.run(
        [sys.executable, FOLDER / name],
        cwd=tmp_path,
        env=os.environ | {"CI": "1", "MPLBACKEND": "Agg"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout


def test_none_is_left_out():
    assert TUTORIALS == sorted(path.name for path in FOLDER.glob("*.py"))
