"""``ppl-scaling diagnose --html --figures``: from a saved result to a page and pictures."""

import json


def test_page_and_pictures(cli, saved, tmp_path):
    page, folder = tmp_path / "out" / "report.html", tmp_path / "pictures"
    result = saved(1, num_particles=4, problem="Which <b>one</b>?")
    ran = cli("diagnose", result, "--html", page, "--figures", folder, "--json")
    assert ran.returncode == 0, ran.stderr
    names = {check["name"] for check in json.loads(ran.stdout)["checks"]}
    text = page.read_text(encoding="utf-8")
    assert "Which &lt;b&gt;one&lt;/b&gt;?" in text and all(f"<td>{name}</td>" in text for name in names)
    assert {"genealogy.png", "genealogy.svg", "answers.png"} <= {one.name for one in folder.iterdir()}


def test_an_evaluation_has_a_page_and_pictures_too(cli, evaluation, tmp_path):
    page, folder = tmp_path / "report.html", tmp_path / "pictures"
    ran = cli("diagnose", evaluation, "--html", page, "--figures", folder)
    assert ran.returncode == 0, ran.stderr
    assert {one.stem for one in folder.iterdir()} == {"answer_reliability", "coverage"}
    assert "evaluation of 30 problems" in page.read_text(encoding="utf-8")


def test_replicates_and_places_that_cannot_be_written(cli, saved, tmp_path):
    results = [saved(seed, num_particles=4) for seed in (1, 2)]
    ran = cli("diagnose", *results, "--html", tmp_path / "report.html", "--figures", tmp_path / "pictures")
    assert ran.returncode == 0, ran.stderr
    assert [one.name for one in sorted((tmp_path / "pictures").iterdir())] == ["replicate_1", "replicate_2"]
    assert "Replicate 2" in (tmp_path / "report.html").read_text(encoding="utf-8")
    ran = cli("diagnose", results[0], "--html", tmp_path)
    assert ran.returncode != 0 and "expected a file to write a report to" in ran.stderr
    assert not list(tmp_path.glob("*.new"))
