"""How results show themselves: one line in a terminal, a small table in a notebook. Both are made of the same facts.

What a model has written is never trusted. In a notebook it is escaped, freed of what HTML cannot hold, and stands where no
script typesets it as mathematics.
"""

from __future__ import annotations

import html
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from ppl_scaling.inference.answers import Answer

__all__ = ["AnswerRow", "Displayed", "answer_rows", "measure", "with_error", "with_interval"]

_MOST_ANSWERS = 8
_SPOKEN = {"ess": "ESS"}
_LONGEST_ANSWER, _LONGEST_PROBLEM = 60, 400
_NOT_TEXT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
_FOREIGN = 'class="mathjax_ignore tex2jax_ignore"'
_LEFT, _RIGHT = 'style="text-align:left"', 'style="text-align:right"'
_BAR = "background:currentColor;opacity:0.45;height:0.7em;min-width:1px;width:{:.0f}px"


class Displayed:
    """Shows what ``_facts`` says, below the problem and the answers where there are any."""

    def _facts(self) -> Mapping[str, str]:
        """Return short texts, each by the name of what it says."""
        return {}

    def __repr__(self) -> str:
        facts = {**_chosen(self), **self._facts()}
        return f"{type(self).__name__}({', '.join(f'{name}={text}' for name, text in facts.items())})"

    def _repr_html_(self) -> str:
        parts = [f"<div><strong>{_safe(type(self).__name__)}</strong>"]
        problem = getattr(self, "problem", None)
        if problem is not None:
            parts.append(f'<div {_FOREIGN} style="margin:0.4em 0">{_safe(_short(problem, _LONGEST_PROBLEM))}</div>')
        if hasattr(self, "answers"):
            parts.append(_table(_answer_rows(self)))
        facts = self._facts().items()
        rows = (
            f"<th {_LEFT}>{_safe(_SPOKEN.get(name, name.replace('_', ' ')))}</th><td {_LEFT}>{_safe(text)}</td>"
            for name, text in facts
        )
        return "".join([*parts, _table(rows), "</div>"])


def with_error(value: float, error: float) -> str:
    """Write an estimate with its standard error, which is left out where it is unknown.

    >>> with_error(-1.5, 0.25), with_error(0.75, float("nan"))
    ('-1.500 ± 0.250', '0.750')
    """
    return f"{value:.3f}" + ("" if math.isnan(error) else f" ± {error:.3f}")


def with_interval(share: float, low: float, high: float) -> str:
    """Write a share with its interval, in percent.

    >>> with_interval(0.5, 0.25, 0.75)
    '50.0 % [25.0, 75.0]'
    """
    return f"{100 * share:.1f} % [{100 * low:.1f}, {100 * high:.1f}]"


class AnswerRow(NamedTuple):
    """A line of a table or a bar of a picture.

    ``kind`` is ``"chosen"``, ``"answer"``, ``"others"`` or ``"none"``; the error is NaN where it is not known.
    """

    name: str
    probability: float
    standard_error: float
    kind: str

    @property
    def is_answer(self) -> bool:
        """Whether it is one answer."""
        return self.kind in ("chosen", "answer")

    @property
    def error_text(self) -> str:
        """The error as a table has it: of several answers together it is not known, which need not be said."""
        if not self.is_answer:
            return ""
        return "unknown" if math.isnan(self.standard_error) else f"{self.standard_error:.3f}"


def answer_rows(answers: Sequence[Answer], no_answer_probability: float, chosen: str | None, most: int) -> list[AnswerRow]:
    """Give the first answers, the others put together, and what has no answer if that can be seen or is all there is."""
    rows = [
        AnswerRow(one.answer, one.probability, one.standard_error, "chosen" if one.answer == chosen else "answer")
        for one in answers[:most]
    ]
    if rest := answers[most:]:
        share = math.fsum(one.probability for one in rest)
        rows.append(AnswerRow(f"{len(rest)} other{'s' if len(rest) > 1 else ''}", share, math.nan, "others"))
    if no_answer_probability > 5e-4 or not rows:
        rows.append(AnswerRow("no answer", no_answer_probability, math.nan, "none"))
    return rows


def measure(result: Any) -> str:
    """Name what an answer's number is: what has evidence has a posterior; baselines have completions and shares of them."""
    return "probability" if hasattr(result, "log_evidence") else "share"


def _chosen(result: Any) -> dict[str, str]:
    """Say the chosen answer and what is believed of it."""
    if not hasattr(result, "answers"):
        return {}
    answer = result.answer
    if answer is None:
        return {"answer": "None"}
    facts = {"answer": repr(_short(answer, _LONGEST_ANSWER))}
    for one in result.answers:
        if one.answer == answer:
            facts[measure(result)] = with_error(one.probability, one.standard_error)
    return facts


def _answer_rows(result: Any) -> Iterator[str]:
    yield f"<th {_LEFT}>answer</th><th {_RIGHT}>{measure(result)}</th><th {_RIGHT}>std. error</th><th></th>"
    for row in answer_rows(result.answers, result.no_answer_probability, result.answer, _MOST_ANSWERS):
        name = f"<code {_FOREIGN}>{_safe(_short(row.name, _LONGEST_ANSWER))}</code>"
        if row.kind == "chosen":
            name = f"<strong>{name}</strong>"
        yield _share(name if row.is_answer else f"({row.name})", row)


def _share(name: str, row: AnswerRow) -> str:
    bar = f'<div style="{_BAR.format(120 * min(max(row.probability, 0.0), 1.0))}"></div>'
    numbers = f"<td {_RIGHT}>{row.probability:.3f}</td><td {_RIGHT}>{row.error_text}</td>"
    return f"<td {_LEFT}>{name}</td>{numbers}<td {_LEFT}>{bar}</td>"


def _table(rows: Iterable[str]) -> str:
    return f"<table>{''.join(f'<tr>{row}</tr>' for row in rows)}</table>"


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _safe(text: str) -> str:
    return html.escape(_NOT_TEXT.sub("\N{REPLACEMENT CHARACTER}", text))
