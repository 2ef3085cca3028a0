"""Every tutorial runs from beginning to end, in a folder of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

TUTORIALS = sorted((Path(__file__).parents[1] / "tutorials").glob("*.py"))


@pytest.mark.parametrize("tutorial", TUTORIALS, ids=lambda path: path.name)
def test_it_runs(tutorial, tmp_path):
    ran = subprocess.run(
        [sys.executable, tutorial],
        cwd=tmp_path,
        env=os.environ | {"CI": "1", "MPLBACKEND": "Agg"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout


def test_they_are_numbered_from_one_without_a_gap():
    """And there are some: a folder that was moved would leave nothing to run."""
    assert [int(path.name[:2]) for path in TUTORIALS] == list(range(1, len(TUTORIALS) + 1)) != []
