"""The file that an evaluation writes: one JSON line a problem, flushed to the disk, and good for going on after a kill.

Beside ``RESULTS.jsonl`` stands ``RESULTS.jsonl.settings.json`` with the settings that the lines were made with. A file
goes on under the same settings only. A last line that a kill has left half-written is cut off.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from types import TracebackType
from typing import Any

from ppl_scaling.drafts import draft_of

__all__ = ["EvaluationFile", "EvaluationRecord", "read_evaluation"]


@dataclass(frozen=True)
class EvaluationRecord:
    """What came of one problem under one seed: a line of the file.

    Attributes
    ----------
    index : int
        Position of the problem, from 0.
    id : str
    seed : int
        The seed of the evaluation that it was part of.
    expected : str
        The right answer.
    answer : str or None
    correct : bool
    grading_timed_out : bool
        Whether the comparison of the two was given up.
    error : str or None
        Why the problem failed; then all counts are 0.
    answers : list of dict
        The likeliest answers, each with its ``probability``.
    no_answer_probability : float or None
    log_evidence : float or None
    num_trajectories, num_finished, num_truncated : int
    generated_tokens, lm_tokens_forwarded, prm_tokens_forwarded, draft_tokens_forwarded, prm_calls : int
    batch_seed : int
        The seed of the batch that it ran in.
    seconds : float
        Its share of the time of that batch.
    trajectories : list of dict or None
        Only if they were asked for.
    """

    index: int
    id: str
    seed: int
    expected: str
    answer: str | None
    correct: bool
    grading_timed_out: bool
    error: str | None
    answers: list[dict[str, Any]]
    no_answer_probability: float | None
    log_evidence: float | None
    num_trajectories: int
    num_finished: int
    num_truncated: int
    generated_tokens: int
    lm_tokens_forwarded: int
    prm_tokens_forwarded: int
    prm_calls: int
    batch_seed: int
    seconds: float
    trajectories: list[dict[str, Any]] | None = None
    draft_tokens_forwarded: int = 0

    def to_json(self) -> str:
        """Return the line, without the line feed."""
        row = asdict(self)
        if self.trajectories is None:
            del row["trajectories"]
        return json.dumps(row, ensure_ascii=False, allow_nan=False)


_FIELDS = {one.name for one in fields(EvaluationRecord)}


class EvaluationFile:
    """Records on disk, appended and never rewritten.

    Parameters
    ----------
    path : str or Path
        Its folder is made if need be.
    settings : mapping
        What the records depend on; anything that can be written as JSON.
    overwrite : bool, default False
        Begin again instead of going on.

    Attributes
    ----------
    records : dict of (int, int) to EvaluationRecord
        By seed and index, in the order of the file.

    Raises
    ------
    ValueError
        If the file was made with other settings, is no such file, or is being written by another process.
    """

    def __init__(self, path: str | Path, settings: Mapping[str, Any], *, overwrite: bool = False) -> None:
        self.path = Path(path)
        self.settings_path = self.path.with_name(self.path.name + ".settings.json")
        self._settings = json.loads(json.dumps(dict(settings)))
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("a+b")
        except OSError as error:
            raise ValueError(f"expected a file to write results to, cannot open {path}: {error.strerror or error}") from None
        try:
            self._take_alone()
            if overwrite:
                self._file.truncate(0)
            self.records = {(one.seed, one.index): one for one in self._repaired()}
            if self.records:
                self._check_settings()
            else:
                self._write_settings()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> EvaluationFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def append(self, records: Iterable[EvaluationRecord]) -> None:
        """Add records; when this returns they are on the disk."""
        new = list(records)
        self._file.write("".join(one.to_json() + "\n" for one in new).encode(errors="replace"))
        self._file.flush()
        os.fsync(self._file.fileno())
        self.records |= {(one.seed, one.index): one for one in new}

    def _take_alone(self) -> None:
        """Lock the file; the lock ends with the process, however it ends."""
        try:
            import fcntl
        except ImportError:  # not on this operating system
            return
        try:
            fcntl.flock(self._file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(f"expected {self.path} for this run alone; another process is writing it") from None

    def _repaired(self) -> list[EvaluationRecord]:
        """Read the records, and cut off what a kill has left half-written."""
        self._file.seek(0)
        content = self._file.read()
        records, length = _parse(content, self.path)
        if length < len(content):
            self._file.truncate(length)
        return records

    def _check_settings(self) -> None:
        again = "Give it another name, or use overwrite to begin again."
        known = None
        with contextlib.suppress(OSError, ValueError):
            known = json.loads(self.settings_path.read_bytes())
        if not isinstance(known, dict):
            raise ValueError(
                f"expected {self.settings_path} to say what settings {self.path} was made with, cannot read it. {again}"
            )
        differing = [key for key in self._settings | known if self._settings.get(key) != known.get(key)]
        if differing:
            changes = "; ".join(f"{key} was {known.get(key)!r}, is {self._settings.get(key)!r}" for key in differing)
            raise ValueError(f"expected the settings that {self.path} was made with, got others: {changes}. {again}")

    def _write_settings(self) -> None:
        with draft_of(self.settings_path, "settings") as draft:
            draft.write_text(json.dumps(self._settings, indent=2) + "\n", encoding="utf-8")


def read_evaluation(path: str | Path) -> list[EvaluationRecord]:
    """Read the records of an evaluation, which may still be running.

    Raises
    ------
    ValueError
        If there is no such file, or it is not one of an evaluation.
    """
    try:
        return _parse(Path(path).read_bytes(), path)[0]
    except OSError as error:
        raise ValueError(f"expected a file of results, cannot read {path}: {error.strerror or error}") from None


def _parse(content: bytes, path: str | Path) -> tuple[list[EvaluationRecord], int]:
    """Give the records, and how many bytes they take; only the last line may be broken."""
    lines = content.split(b"\n")
    records: list[EvaluationRecord] = []
    length = 0
    for number, line in enumerate(lines[:-1], start=1):
        record = None
        with contextlib.suppress(ValueError, TypeError):
            row = json.loads(line)
            record = EvaluationRecord(**{name: value for name, value in row.items() if name in _FIELDS})
        if record is None:
            if number == len(lines) - 1 and lines[-1] == b"" and records:
                break  # after a loss of power a line may be there in its length alone
            raise ValueError(f"expected line {number} of {path} to be a result of an evaluation, got {line[:80]!r}")
        records.append(record)
        length += len(line) + 1
    return records, length
