"""Files of problems in the formats of real data sets, and what is said about files that are no such thing."""

import io
import json
import os
import sys
from pathlib import Path

import pytest

from ppl_scaling.tasks.problem_files import Problem, read_problems

REAL = Path(os.environ.get("PPL_SCALING_DATA", "nowhere"))  # published data sets, for those who have them


def written(tmp_path, text):
    path = tmp_path / "problems.jsonl"
    path.write_text(text, encoding="utf-8")
    return path


def test_json_lines_and_arrays(tmp_path):
    rows = [{"problem": "1 + 1\u2028?", "answer": 2}, {"problem": " x ", "answer": "3.50", "other": None}]
    expected = [Problem("1", "1 + 1\u2028?", "2"), Problem("2", "x", "3.50")]
    lines = "\n\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    assert read_problems(written(tmp_path, lines)) == expected
    assert read_problems(written(tmp_path, "\ufeff" + lines.replace("\n", "\r\n"))) == expected
    assert read_problems(written(tmp_path, json.dumps(rows, indent=1))) == expected
    assert read_problems(written(tmp_path, lines), limit=1) == expected[:1]


def test_standard_input(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b'{"problem": "p", "answer": "a"}\n')))
    assert read_problems("-") == [Problem("1", "p", "a")]


def test_fields(tmp_path):
    path = written(tmp_path, json.dumps({"ID": "chal-1", "Body": "A", "Question": "B?", "Answer": 51.0}))
    found = read_problems(path, problem_fields=("Body", "Question"), answer_field="Answer", id_field="ID")
    assert found == [Problem("chal-1", "A B?", "51")]


@pytest.mark.parametrize(
    ("answer", "style", "expected"),
    [
        ("2 + 2 = <<2+2=4>>4\n#### 1,234", "auto", "1,234"),
        ("a #### b\nc\n####5 ", "auto", "5"),
        (r"so \boxed{\frac{1}{2}}.", "auto", r"\frac{1}{2}"),
        (r"\frac{1}{2}", "auto", r"\frac{1}{2}"),
        ("#### 5\nand more", "auto", "#### 5\nand more"),
        ("####", "auto", "####"),
        ("2\n#### 5", "text", "2\n#### 5"),
        ("2\n#### 5", "hashes", "5"),
        (r"#### \boxed{5}", "boxed", "5"),
        (0, "auto", "0"),
        (2.5, "auto", "2.5"),
    ],
)
def test_styles_of_answers(tmp_path, answer, style, expected):
    path = written(tmp_path, json.dumps({"problem": "?", "answer": answer}))
    assert read_problems(path, answer_style=style)[0].answer == expected


@pytest.mark.parametrize(
    ("text", "settings", "message"),
    [
        ("", {}, "expected problems in .*problems.jsonl, got none"),
        ("[]", {}, "got none"),
        ("{", {}, "line 1 of .* to be JSON"),
        ("[1", {}, "to be a JSON array or JSON lines"),
        ("[1]", {}, "entry 1 of .* to be a JSON object, got int"),
        ('{"question": "q", "answer": "a"}', {}, "a field 'problem' in line 1 of .*, got 'question', 'answer'"),
        ('{"problem": "q", "answer": null}', {}, "'answer' in line 1 .* a text or a number, got None"),
        ('{"problem": " ", "answer": "1"}', {}, "'problem' in line 1 .* got ' '"),
        ('{"problem": "q", "answer": "1"}', {"answer_style": "boxed"}, r"expected .boxed\{\} around an answer in line 1"),
        ('{"problem": "q", "answer": "1"}', {"answer_style": "hashes"}, "expected '####' and then an answer in line 1"),
        ('{"problem": "q", "answer": "1"}', {"answer_style": "best"}, "among auto, text, hashes, boxed, got 'best'"),
        ('{"problem": "q", "answer": "1"}', {"limit": 0}, "at least 1 problem, got 0"),
        ('{"problem": "q", "answer": "1"}', {"problem_fields": ()}, "at least one problem field"),
        ('{"problem": "q", "answer": "1"}\n' * 2, {"id_field": "problem"}, "got 'q' at line 1 .* and at line 2"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(tmp_path, text, settings, message):
    with pytest.raises(ValueError, match=message):
        read_problems(written(tmp_path, text), **settings)


def test_one_field_is_not_a_sequence_of_letters(tmp_path):
    with pytest.raises(TypeError, match="a sequence of problem fields, got one string 'question'"):
        read_problems(written(tmp_path, '{"question": "q", "answer": "a"}'), problem_fields="question")


def test_unreadable_files(tmp_path):
    with pytest.raises(ValueError, match=r"cannot read .*absent: No such file"):
        read_problems(tmp_path / "absent")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="to be UTF-8"):
        read_problems(tmp_path / "binary")


@pytest.mark.parametrize(
    ("name", "settings", "number", "answers"),
    [
        ("gsm8k_test.jsonl", {"problem_fields": ("question",)}, 1319, ["18", "3", "70000"]),
        ("math500_test.json", {"id_field": "unique_id"}, 500, ["6", "4", "1440"]),
        ("math500_test.json", {"answer_field": "solution"}, 500, ["6", "4", "1440"]),
        (
            "svamp.json",
            {"problem_fields": ("Body", "Question"), "answer_field": "Answer", "id_field": "ID"},
            1000,
            ["51", "1", "17"],
        ),
    ],
)
def test_real_data_sets(name, settings, number, answers):
    if not (REAL / name).exists():
        pytest.skip(f"needs {name} in the folder that PPL_SCALING_DATA names")
    problems = read_problems(REAL / name, **settings)
    assert len(problems) == number and [one.answer for one in problems[:3]] == answers
    assert not any("####" in one.answer or "\\boxed" in one.answer for one in problems)
