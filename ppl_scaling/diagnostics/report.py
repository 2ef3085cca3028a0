"""One self-contained HTML page about a result: posterior, health, pictures, and a genealogy whose texts can be read.

What a model has written is never trusted: the template escapes every value, the data for the script cannot end their
element, pictures stand in ``img`` elements, and a Content-Security-Policy lets run only the script that is part of this
library. The page loads nothing.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import math
import os
import re
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.figure import Figure

from ppl_scaling.diagnostics.checks import STATUSES, HealthReport
from ppl_scaling.diagnostics.evaluation_pictures import evaluation_facts, evaluation_pictures
from ppl_scaling.diagnostics.genealogy_nodes import genealogy_page_data
from ppl_scaling.diagnostics.health import diagnose
from ppl_scaling.diagnostics.kinds import has_posterior
from ppl_scaling.diagnostics.picture import Picture
from ppl_scaling.diagnostics.pictures import filter_of, result_pictures
from ppl_scaling.drafts import draft_of
from ppl_scaling.inference import EvaluationRecord
from ppl_scaling.inference.display import answer_rows
from ppl_scaling.inference.results import Result, Trajectory
from ppl_scaling.interfaces import AnswerFormat

__all__ = ["render_report", "write_report"]

_MOST_ANSWERS, _MOST_TRAJECTORIES = 12, 20
_LARGEST_SVG = 300_000  # bytes; a picture that would be larger goes in as PNG
_NOT_TEXT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")  # what HTML cannot hold


def write_report(
    result: Result | Sequence[Result] | Sequence[EvaluationRecord],
    path: str | os.PathLike[str],
    *,
    health: HealthReport | None = None,
    answer_format: AnswerFormat | None = None,
) -> Path:
    """Write a page about a result, replicates of one problem, or an evaluation; a file that is there is replaced.

    Parameters
    ----------
    result : Result or sequence of Result or sequence of EvaluationRecord
    path : str or path
        Its folder is made if need be.
    health : HealthReport, optional
        Default: what :func:`~ppl_scaling.diagnostics.health.diagnose` finds.
    answer_format : AnswerFormat, optional
        For records: says which answers mean the same.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    TypeError
        If it is something else.
    ValueError
        If there is no result, the results are of several problems, or the file can't be written.
    """
    page = render_report(result, health=health, answer_format=answer_format)
    with draft_of(path, "a report") as draft:
        draft.write_text(page, encoding="utf-8")
    return Path(path)


def render_report(
    result: Result | Sequence[Result] | Sequence[EvaluationRecord],
    *,
    health: HealthReport | None = None,
    answer_format: AnswerFormat | None = None,
) -> str:
    """Return the page as text; see :func:`write_report`."""
    results: list[Any] = list(result) if isinstance(result, Sequence) else [result]
    evaluated = bool(results) and all(isinstance(one, EvaluationRecord) for one in results)
    if not evaluated and not all(isinstance(one, Result) for one in results):
        raise TypeError("expected a Result, a sequence of results or the records of an evaluation, got something else")
    found = diagnose(results, answer_format=answer_format) if health is None else health
    if evaluated:
        pictures = evaluation_pictures(results, answer_format=answer_format)
        facts = {**evaluation_facts(results, answer_format), "pictures": _sources(pictures)}
        return _page(found, title=f"Report: {found.subject}", kind="ppl-scaling report", evaluation=facts)
    first = results[0]
    kind = f"ppl-scaling report · {first.method}" + (f" · {len(results)} replicates" if len(results) > 1 else "")
    title = "Report: " + " ".join(first.problem.split())[:80]
    return _page(found, title=title, kind=kind, problem=first.problem, sections=[_section(one) for one in results])


def _page(
    health: HealthReport,
    *,
    title: str,
    kind: str,
    problem: str | None = None,
    sections: Sequence[Mapping[str, Any]] = (),
    evaluation: Mapping[str, Any] | None = None,
) -> str:
    """Fill in the template."""
    style, script = _part("report.css"), _part("report.js")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True, finalize=_clean
    )
    environment.filters |= {"short": _short, "share": lambda value: "unknown" if math.isnan(value) else f"{value:.3f}"}
    return environment.from_string(_part("report.html")).render(
        title=title,
        subject_kind=kind,
        problem=problem,
        health=health,
        checks=sorted(health.checks, key=lambda one: STATUSES.index(one.status)),
        sections=sections,
        evaluation=evaluation,
        style=Markup(style),
        script=Markup(script),
        style_hash=_hash(style),
        script_hash=_hash(script),
    )


def _section(result: Result) -> dict[str, Any]:
    """Collect what the template shows of one result."""
    run, whose = filter_of(result)
    tree = None if run is None else genealogy_page_data(run)
    return {
        "result": result,
        "posterior": has_posterior(result),
        "answers": _answers(result),
        "tree": tree,
        "tree_whose": f"The run is that{whose}.".replace("that, ", "that ") if whose else "",
        "tree_json": None if tree is None else for_script(tree["data"]),
        "pictures": _sources(result_pictures(result)),
        "trajectories": _trajectories(result.trajectories),
        "num_texts": len({one.text for one in result.trajectories}),
        "settings": _settings(result),
    }


def _sources(pictures: Sequence[Picture]) -> list[dict[str, str]]:
    return [{"caption": one.caption, "source": _source(one.figure)} for one in pictures]


def _answers(result: Result) -> list[dict[str, Any]]:
    rows = []
    for row in answer_rows(result.answers, result.no_answer_probability, result.answer, _MOST_ANSWERS):
        rows.append(
            {
                "name": row.name,
                "probability": row.probability,
                "standard_error": row.standard_error if row.is_answer else None,
                "chosen": row.kind == "chosen",
                "fill": "full" if row.is_answer else "rest",
                "width": f"{200 * min(max(row.probability, 0.0), 1.0):.1f}" if math.isfinite(row.probability) else "0",
            }
        )
    return rows


def _trajectories(trajectories: Sequence[Trajectory]) -> list[dict[str, Any]]:
    """Describe the weightiest texts, each once."""
    found: dict[str, list[Trajectory]] = {}
    for one in trajectories:
        found.setdefault(one.text, []).append(one)
    rows: list[dict[str, Any]] = []
    for same in found.values():
        one = same[0]
        # Steps of white space alone are left out of the steps, but have scores: then it is not known which are whose.
        scores = one.scores if len(one.scores) == len(one.steps) else (None,) * len(one.steps)
        weight = math.fsum(other.weight for other in same)
        rows.append(
            {
                "answer": one.answer,
                "weight": weight,
                "score": one.score,
                "truncated": one.truncated,
                "copies": len(same),
                "steps": list(zip(one.steps or ("(empty)",), scores or (None,), strict=True)),
            }
        )
    return sorted(rows, key=lambda row: -row["weight"])[:_MOST_TRAJECTORIES]


def _settings(result: Result) -> list[tuple[str, Any]]:
    costs = ("seed", "generated_tokens", "lm_tokens_forwarded", "prm_tokens_forwarded", "prm_calls")
    rows = [(name, getattr(result, name)) for name in costs]
    rows.append(("seconds", f"{result.seconds:.2f}"))
    for name in ("log_evidence", "log_evidence_standard_error"):
        if hasattr(result, name):
            rows.append((name, _short(getattr(result, name))))
    return rows + [
        (str(name), value if isinstance(value, str) else repr(value)) for name, value in result.configuration.items()
    ]


def _source(figure: Figure) -> str:
    """Return the picture as a data URL."""
    with rc_context({"svg.hashsalt": "ppl-scaling"}):  # the same result gives the same page
        drawn = io.BytesIO()
        figure.savefig(drawn, format="svg", metadata={"Date": None})
    kind = "svg+xml"
    if drawn.tell() > _LARGEST_SVG:
        drawn, kind = io.BytesIO(), "png"
        figure.savefig(drawn, format="png", dpi=130)
    return f"data:image/{kind};base64,{base64.b64encode(drawn.getvalue()).decode('ascii')}"


def for_script(data: Any) -> Markup:
    """Write data as JSON that can stand in a ``script`` element: it holds no ``<``, and no character beyond ASCII."""
    text = json.dumps(_clean(data), ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    for one in "<>&'":
        text = text.replace(one, f"\\u{ord(one):04x}")
    return Markup(text)


def _part(name: str) -> str:
    return (resources.files("ppl_scaling.diagnostics") / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")


def _clean(value: Any) -> Any:
    """Replace what HTML cannot hold; the template engine calls this for every value before it escapes it."""
    if isinstance(value, str):
        return value if isinstance(value, Markup) else _NOT_TEXT.sub("\ufffd", value)
    if isinstance(value, dict):
        return {_clean(name): _clean(one) for name, one in value.items()}
    return [_clean(one) for one in value] if isinstance(value, list) else value


def _short(value: float) -> str:
    """Write a number in three digits."""
    return "unknown" if math.isnan(value) else f"{value:.3g}"
