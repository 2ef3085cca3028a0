r"""Problems with known answers from files: JSON lines, or one JSON array.

Data sets write answers in three ways, and ``answer_style="auto"`` tells them apart: after ``####`` on the last line of a
worked solution (GSM8K), in ``\boxed{}`` at the end of one (MATH), or alone.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ppl_scaling.boxed import extract_boxed

__all__ = ["ANSWER_STYLES", "Problem", "read_problems"]

ANSWER_STYLES = ("auto", "text", "hashes", "boxed")
"""How a right answer may be written; see :func:`read_problems`."""

_HASHES = re.compile(r"####\s*(\S.*?)\s*\Z")


@dataclass(frozen=True)
class Problem:
    """A problem and its right answer.

    Attributes
    ----------
    id : str
        Unique within a file.
    problem, answer : str
    """

    id: str
    problem: str
    answer: str


def read_problems(
    path: str | Path,
    *,
    problem_fields: Sequence[str] = ("problem",),
    answer_field: str = "answer",
    id_field: str | None = None,
    answer_style: str = "auto",
    limit: int | None = None,
) -> list[Problem]:
    r"""Read problems from a file.

    Parameters
    ----------
    path : str or Path
        JSON lines (blank ones are passed over) or one JSON array of objects; ``"-"`` is standard input.
    problem_fields : sequence of str
        Fields that make up the text of a problem, joined by a space.
    answer_field : str
        A text or a number.
    id_field : str, optional
        Default: problems are numbered from 1.
    answer_style : {"auto", "text", "hashes", "boxed"}
        ``"text"`` takes an answer as it stands, ``"hashes"`` what follows the last ``####``, ``"boxed"`` what is in the last
        ``\boxed{}``; ``"auto"`` what follows ``####`` on the last line if that is there, else what is boxed, else all of it.
    limit : int, optional
        Read the first so many.

    Raises
    ------
    TypeError
        If ``problem_fields`` is one string.
    ValueError
        If the file cannot be read, has no problems, or a problem lacks a field; the message names file and line.

    Examples
    --------
    SVAMP is read with ``problem_fields=("Body", "Question"), answer_field="Answer", id_field="ID"``, GSM8K with
    ``problem_fields=("question",)``.
    """
    if answer_style not in ANSWER_STYLES:
        raise ValueError(f"expected an answer style among {', '.join(ANSWER_STYLES)}, got {answer_style!r}")
    if limit is not None and limit < 1:
        raise ValueError(f"expected a limit of at least 1 problem, got {limit}")
    if isinstance(problem_fields, str):
        raise TypeError(f"expected a sequence of problem fields, got one string {problem_fields!r}; put it in a tuple")
    if not problem_fields:
        raise ValueError("expected at least one problem field, got none")
    problems: list[Problem] = []
    places: dict[str, str] = {}
    for place, row in _rows(path):
        if limit is not None and len(problems) == limit:
            break
        if not isinstance(row, dict):
            raise ValueError(f"expected {place} to be a JSON object, got {type(row).__name__}")
        text = " ".join(_text(row, field, place) for field in problem_fields)
        name = str(len(problems) + 1) if id_field is None else _text(row, id_field, place)
        if name in places:
            raise ValueError(f"expected ids that differ, got {name!r} at {places[name]} and at {place}")
        places[name] = place
        problems.append(Problem(name, text, _answer(_text(row, answer_field, place), answer_style, place)))
    if not problems:
        raise ValueError(f"expected problems in {_name(path)}, got none")
    return problems


def _name(path: str | Path) -> str:
    return "standard input" if str(path) == "-" else str(path)


def _rows(path: str | Path) -> Iterator[tuple[str, Any]]:
    """Give each object with the place it stands at."""
    name = _name(path)
    try:
        content = sys.stdin.buffer.read() if str(path) == "-" else Path(path).read_bytes()
        text = content.decode("utf-8-sig")
    except OSError as error:
        raise ValueError(f"expected a file of problems, cannot read {name}: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"expected {name} to be UTF-8: {error}") from None
    if text.lstrip().startswith("["):
        try:
            rows = json.loads(text)
        except json.JSONDecodeError as error:
            raise ValueError(f"expected {name} to be a JSON array or JSON lines: {error}") from None
        yield from ((f"entry {number} of {name}", row) for number, row in enumerate(rows, start=1))
        return
    # Not splitlines: JSON may hold other separators, such as U+2028, within its texts.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            yield f"line {number} of {name}", json.loads(line)
        except json.JSONDecodeError as error:
            raise ValueError(f"expected line {number} of {name} to be JSON: {error}") from None


def _text(row: dict[str, Any], field: str, place: str) -> str:
    if field not in row:
        raise ValueError(f"expected a field {field!r} in {place}, got {', '.join(map(repr, row)) or 'no fields'}")
    value = row[field]
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, (str, int, float)) or not str(value).strip():
        raise ValueError(f"expected field {field!r} in {place} to be a text or a number, got {value!r}")
    return str(value).strip()


def _answer(text: str, style: str, place: str) -> str:
    hashes, boxed = _HASHES.search(text[max(0, text.rfind("####")) :]), extract_boxed(text)
    found = {
        "text": text,
        "hashes": hashes[1] if hashes else None,
        "boxed": boxed,
        "auto": hashes[1] if hashes and "\n" not in hashes[1] else boxed or text,
    }[style]
    if found is None:
        wanted = "'####' and then" if style == "hashes" else r"\boxed{} around"
        raise ValueError(f"expected {wanted} an answer in {place}, got {text[:80]!r}")
    return found
