"""How results show themselves: one line in a terminal, a small table in a notebook. Both are made of the same facts.

What a model has written is never trusted. In a notebook it is escaped, freed of what HTML cannot hold, and stands where no
script typesets it as mathematics.
"""

from __future__ import annotations

import html
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

__all__ = ["Displayed", "with_error", "with_interval"]

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
            facts[_measure(result)] = with_error(one.probability, one.standard_error)
    return facts


def _measure(result: Any) -> str:
    """Name what an answer's number is: what has evidence has a posterior; baselines have completions and shares of them."""
    return "probability" if hasattr(result, "log_evidence") else "share"


def _answer_rows(result: Any) -> Iterator[str]:
    yield f"<th {_LEFT}>answer</th><th {_RIGHT}>{_measure(result)}</th><th {_RIGHT}>std. error</th><th></th>"
    shown: Sequence[Any] = result.answers[:_MOST_ANSWERS]
    for one in shown:
        name = f"<code {_FOREIGN}>{_safe(_short(one.answer, _LONGEST_ANSWER))}</code>"
        yield _share(
            f"<strong>{name}</strong>" if one.answer == result.answer else name, one.probability, one.standard_error
        )
    others = result.answers[_MOST_ANSWERS:]
    if others:
        yield _share(f"({len(others)} others)", math.fsum(one.probability for one in others))
    if result.no_answer_probability > 5e-4 or not shown:
        yield _share("(no answer)", result.no_answer_probability)


def _share(name: str, probability: float, error: float | None = None) -> str:
    written = "" if error is None else "unknown" if math.isnan(error) else f"{error:.3f}"
    bar = f'<div style="{_BAR.format(120 * min(max(probability, 0.0), 1.0))}"></div>'
    return f"<td {_LEFT}>{name}</td><td {_RIGHT}>{probability:.3f}</td><td {_RIGHT}>{written}</td><td {_LEFT}>{bar}</td>"


def _table(rows: Iterable[str]) -> str:
    return f"<table>{''.join(f'<tr>{row}</tr>' for row in rows)}</table>"


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _safe(text: str) -> str:
    return html.escape(_NOT_TEXT.sub("\N{REPLACEMENT CHARACTER}", text))
