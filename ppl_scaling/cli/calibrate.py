"""``ppl-scaling calibrate``: from labelled scores to the file that ``--calibration`` takes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ppl_scaling.inference import ScoreMetrics

__all__ = ["calibrate"]


def calibrate(
    labels: Annotated[
        str,
        typer.Argument(
            help="JSON lines, one for each labelled prefix: logit (or score, between 0 and 1), label from 0 (wrong) to 1 "
            "(right), and optionally count, how many labels that is."
        ),
    ],
    output: Annotated[Path, typer.Option(help="Write the calibration to this file.")],
    kind: Annotated[str, typer.Option("--map", help="temperature, platt, beta or monotone.")] = "platt",
    method: Annotated[str, typer.Option(help="How the posterior is found: laplace or nuts.")] = "laplace",
    test: Annotated[str | None, typer.Option(help="More labels, of other problems, to measure on.")] = None,
    num_draws: Annotated[int, typer.Option(help="Draws of the posterior (of each chain, for nuts).")] = 400,
    seed: Annotated[int, typer.Option(help="The same seed gives the same file.")] = 0,
    figures: Annotated[
        Path | None, typer.Option(help="Write a picture of the reliability before and after, PNG and SVG, into this folder.")
    ] = None,
) -> None:
    """Calibrate a reward model's scores by labels, for --calibration of solve, evaluate and curve.

    Prefixes of one solution or problem hang together: give each a count below 1, such as one over their number.

    Example: ppl-scaling calibrate labels.jsonl --map platt --test held_out.jsonl --output calibration.json
    """
    import torch
    from rich.console import Console
    from rich.table import Table

    from ppl_scaling.inference import fit_calibration, score_metrics
    from ppl_scaling.models import CALIBRATIONS, MonotoneCalibration

    if kind not in CALIBRATIONS:
        raise ValueError(f"expected a map among {', '.join(CALIBRATIONS)}, got {kind!r}")
    columns = _read(labels)
    measured = columns if test is None else _read(test)
    calibration = MonotoneCalibration.at_quantiles(columns[0]) if kind == "monotone" else CALIBRATIONS[kind]()
    fit = fit_calibration(
        calibration, columns[0], columns[1], counts=columns[2], method=method, num_draws=num_draws, seed=seed
    )
    fit.posterior.save(output)
    logits, truth, counts = measured
    mapped = fit.posterior.marginal(torch.from_numpy(logits)).numpy()
    before, after = (score_metrics(one, truth, counts=counts) for one in (logits, mapped))
    console = Console(highlight=False)
    parameters = ", ".join(f"{name} {draws.mean():.3f} ± {draws.std():.3f}" for name, draws in fit.draws.items())
    console.print(f"{kind}: {parameters}", soft_wrap=True)
    for reason in fit.diagnostics.reasons:
        console.print(f"Warning: {reason}", soft_wrap=True)
    table = Table(title="on the labels that it was fitted to" if test is None else "on other labels")
    for name in ("", "log loss", "Brier score", "calibration error", "AUC"):
        table.add_column(name, justify="right" if name else "left")
    for name, found in (("before", before), ("after", after)):
        numbers = (found.log_loss, found.brier_score, found.calibration_error, found.auc)
        table.add_row(name, *(f"{number:.4f}" for number in numbers))
    console.print(table)
    if figures is not None:
        _draw(before, after, figures)


def _draw(before: ScoreMetrics, after: ScoreMetrics, folder: Path) -> None:
    from ppl_scaling.diagnostics import Picture, plot_reliability
    from ppl_scaling.diagnostics.pictures import save_pictures

    figure = plot_reliability(
        after.bin_scores,
        after.bin_rates,
        after.bin_counts,
        calibration_error=after.calibration_error,
        before=(before.bin_scores, before.bin_rates, before.bin_counts),
    )
    caption = "Of the prefixes with some score, the share that is right, before and after the calibration."
    save_pictures([Picture("reliability", caption, figure)], folder, formats=("png", "svg"))


def _read(path: str) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Logits, labels and counts of a file."""
    import numpy as np
    from scipy.special import logit

    try:
        lines = Path(path).read_text(encoding="utf-8").split("\n")
    except OSError as error:
        raise ValueError(f"expected a file of labels, cannot read {path}: {error.strerror or error}") from None
    rows = []
    for place, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        where = f"line {place} of {path}"
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise ValueError(f"expected {where} to be JSON: {error}") from None
        if not isinstance(row, dict) or "label" not in row or ("logit" in row) == ("score" in row):
            raise ValueError(f"expected {where} to have label and either logit or score, got {line[:80]}")
        value = _number(row, "logit" if "logit" in row else "score", where)
        if "score" in row:
            if not 0 < value < 1:
                raise ValueError(f"expected a score above 0 and below 1 at {where}, got {value}; give logits instead")
            value = float(logit(value))
        rows.append((value, _number(row, "label", where), _number(row, "count", where) if "count" in row else 1.0))
    if not rows:
        raise ValueError(f"expected labels in {path}, got none")
    logits, labels, counts = np.array(rows, dtype=np.float64).T
    return logits, labels, counts


def _number(row: dict[str, Any], name: str, where: str) -> float:
    if not isinstance(row[name], int | float):
        raise ValueError(f"expected {name} at {where} to be a number, got {row[name]!r}")
    return float(row[name])
