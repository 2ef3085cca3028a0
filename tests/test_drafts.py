"""A file is written whole or not at all."""

import os

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


def test_a_link_is_followed_and_a_device_stays_one(tmp_path):
    (tmp_path / "link.txt").symlink_to(tmp_path / "file.txt")
    with draft_of(tmp_path / "link.txt", "a text") as draft:
        draft.write_text("text")
    assert (tmp_path / "link.txt").is_symlink() and (tmp_path / "file.txt").read_text() == "text"
    os.mkfifo(tmp_path / "pipe")
    with draft_of(tmp_path / "pipe", "a text") as draft:
        assert draft == tmp_path / "pipe"
    assert (tmp_path / "pipe").is_fifo()


def test_what_cannot_be_written_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "taken.new").mkdir()
    for path in (tmp_path, "/", tmp_path / "file" / "within", tmp_path / "taken"):
        with pytest.raises(ValueError, match="expected a file to write a text to, cannot write ") as raised:
            with draft_of(path, "a text") as draft:
                draft.write_text("text")
        assert str(path) in str(raised.value)
    assert (tmp_path / "taken.new").is_dir() and tmp_path.is_dir()
