"""A file is written whole or not at all."""

import pytest

from ppl_scaling.drafts import draft_of


def test_the_draft_takes_the_place_of_the_file(tmp_path):
    path = tmp_path / "new" / "folder" / "file.txt"
    for text in ("first", "second"):
        with draft_of(path, "a text") as draft:
            draft.write_text(text)
        assert path.read_text() == text
    assert list(path.parent.iterdir()) == [path]


def test_a_failure_leaves_what_was_there(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError), draft_of(path, "a text") as draft:
        draft.write_text("half of")
        raise RuntimeError
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_what_cannot_be_written_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "taken.new").mkdir()
    for path in (tmp_path, "/", tmp_path / "file" / "within", tmp_path / "taken"):
        with pytest.raises(ValueError, match="expected a file to write a text to, cannot write ") as raised:
            with draft_of(path, "a text") as draft:
                draft.write_text("text")
        assert str(path) in str(raised.value)
    assert (tmp_path / "taken.new").is_dir() and tmp_path.is_dir()
