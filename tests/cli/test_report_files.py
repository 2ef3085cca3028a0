"""``ppl-scaling diagnose --html --figures``: from a saved result to a page and pictures."""

import json

import pytest

from tests.diagnostics.test_truth import world


@pytest.fixture
def saved(cli, finite_models, tmp_path):
    paths = [tmp_path / f"{seed}.json" for seed in (1, 2)]
    for seed, path in enumerate(paths):
        ran = cli("solve", "Which <b>one</b>?", "--num-particles", 4, "--seed", seed, "--save", path, "--json")
        assert ran.returncode == 0, ran.stderr
    return paths


def test_page_and_pictures(cli, saved, tmp_path):
    page, folder = tmp_path / "out" / "report.html", tmp_path / "pictures"
    ran = cli("diagnose", saved[0], "--html", page, "--figures", folder, "--json")
    assert ran.returncode == 0, ran.stderr
    names = {check["name"] for check in json.loads(ran.stdout)["checks"]}
    text = page.read_text(encoding="utf-8")
    assert "Which &lt;b&gt;one&lt;/b&gt;?" in text and all(f"<td>{name}</td>" in text for name in names)
    assert {"genealogy.png", "genealogy.svg", "answers.png"} <= {one.name for one in folder.iterdir()}


def test_an_evaluation_has_a_page_and_pictures_too(cli, tmp_path):
    file, page, folder = tmp_path / "evaluation.jsonl", tmp_path / "report.html", tmp_path / "pictures"
    file.write_text("".join(one.to_json() + "\n" for one in world(25)))
    ran = cli("diagnose", file, "--html", page, "--figures", folder)
    assert ran.returncode == 0, ran.stderr
    assert {one.stem for one in folder.iterdir()} == {"answer_reliability", "coverage"}
    assert "evaluation of 25 problems" in page.read_text(encoding="utf-8")


def test_replicates_and_places_that_cannot_be_written(cli, saved, tmp_path):
    ran = cli("diagnose", *saved, "--html", tmp_path / "report.html", "--figures", tmp_path / "pictures")
    assert ran.returncode == 0, ran.stderr
    assert [one.name for one in sorted((tmp_path / "pictures").iterdir())] == ["replicate_1", "replicate_2"]
    assert "Replicate 2" in (tmp_path / "report.html").read_text(encoding="utf-8")
    ran = cli("diagnose", saved[0], "--html", tmp_path)
    assert ran.returncode != 0 and "expected a file to write a report to" in ran.stderr
    assert not list(tmp_path.glob("*.new"))
