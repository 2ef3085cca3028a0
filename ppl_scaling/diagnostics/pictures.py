"""Which pictures a result has: all of them with their captions, as figures or as files."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.backend_bases import FigureCanvasBase

from ppl_scaling.diagnostics.answer_picture import plot_answers
from ppl_scaling.diagnostics.evaluation_pictures import evaluation_pictures
from ppl_scaling.diagnostics.genealogy_picture import plot_genealogy
from ppl_scaling.diagnostics.kinds import has_posterior
from ppl_scaling.diagnostics.picture import Picture
from ppl_scaling.diagnostics.score_law_picture import plot_score_law
from ppl_scaling.diagnostics.score_paths import plot_score_trajectories
from ppl_scaling.diagnostics.trace_pictures import plot_chain, plot_traces
from ppl_scaling.inference import EvaluationRecord
from ppl_scaling.inference.chain_results import ParticleGibbsResult
from ppl_scaling.inference.optscale.method import OptScaleResult
from ppl_scaling.inference.pooling import IslandsResult
from ppl_scaling.inference.results import ParticleFilterResult, Result
from ppl_scaling.interfaces import AnswerFormat

__all__ = ["filter_of", "result_pictures", "save_pictures", "write_pictures"]


def result_pictures(result: Result) -> list[Picture]:
    """Draw all pictures that a result of its kind has.

    Parameters
    ----------
    result : Result

    Returns
    -------
    list of Picture

    Raises
    ------
    TypeError
        If it is no result.
    """
    if not isinstance(result, Result):
        raise TypeError(f"expected a Result to draw, got {type(result).__name__}")
    what, heading = (
        ("posterior probability", "Posterior over answers")
        if has_posterior(result)
        else ("share of the vote", "Shares of the vote; this method has no posterior")
    )
    answers = plot_answers(
        result.answers, no_answer_probability=result.no_answer_probability, chosen=result.answer, what=what
    )
    pictures = [Picture("answers", f"{heading}. The bar of the chosen answer is the darker one.", answers)]
    run, whose = filter_of(result)
    if run is not None:
        caption = (
            "Effective sample size after each step, before any resampling, and the estimate of the log-evidence so far"
            + whose
        )
        pictures.append(Picture("traces", caption + ".", plot_traces(run)))
        caption = "Which particle continues which, with their weights; lineages that were dropped are pale" + whose
        pictures.append(Picture("genealogy", caption + ".", plot_genealogy(run)))
    if isinstance(result, ParticleGibbsResult):
        caption = "Log-evidence of each iteration, and how often each step of the draw has changed between iterations."
        pictures.append(Picture("chain", caption, plot_chain(result)))
    if any(one.scores for one in result.trajectories):
        names = [one.answer for one in result.answers]
        figure = plot_score_trajectories(result.trajectories, answers=names)
        pictures.append(
            Picture("scores", "Score of the reward model after each step of the texts, by their answer.", figure)
        )
    if isinstance(result, OptScaleResult):
        pictures.append(_score_law(result))
    return pictures


def write_pictures(
    result: Result | Sequence[EvaluationRecord],
    folder: str | Path,
    *,
    formats: Sequence[str] = ("png",),
    answer_format: AnswerFormat | None = None,
) -> list[Path]:
    """Write all pictures of a result or of an evaluation as files, ``answers.png`` and so on.

    Parameters
    ----------
    result : Result or sequence of EvaluationRecord
    folder : str or Path
        Made if need be.
    formats : sequence of str
        Such as ``"png"``, ``"svg"`` or ``"pdf"``.
    answer_format : AnswerFormat, optional
        For records: says which answers mean the same.

    Returns
    -------
    list of Path
        What was written.

    Raises
    ------
    TypeError
        If it is no result.
    ValueError
        If a format is not known or the folder can't be written.
    """
    if isinstance(result, Sequence) and result and all(isinstance(one, EvaluationRecord) for one in result):
        pictures = evaluation_pictures(result, answer_format=answer_format)
    else:
        pictures = result_pictures(result)  # type: ignore[arg-type]  # which says what is wrong with it
    return save_pictures(pictures, folder, formats=formats)


def save_pictures(pictures: Sequence[Picture], folder: str | Path, *, formats: Sequence[str]) -> list[Path]:
    """Write pictures as files under their names; see :func:`write_pictures`."""
    known = FigureCanvasBase.get_supported_filetypes()
    for kind in formats:
        if kind not in known:
            raise ValueError(f"expected formats among {', '.join(sorted(known))}, got {kind!r}")
    written = []
    target = Path(folder)
    try:
        target.mkdir(parents=True, exist_ok=True)
        for one in pictures:
            for kind in formats:
                written.append(target / f"{one.name}.{kind}")
                one.figure.savefig(written[-1], dpi=150)
    except OSError as error:
        raise ValueError(f"expected a folder to write to, cannot write {folder}: {error.strerror or error}") from None
    return written


def filter_of(result: Result) -> tuple[ParticleFilterResult | None, str]:
    """Return the filter run that a picture can show, and whose it is in words; of several replicates the weightiest."""
    if isinstance(result, ParticleFilterResult):
        return result, ""
    if isinstance(result, IslandsResult):
        weights = np.nan_to_num(result.replicate_weights)
        for place in np.argsort(-weights[: len(result.replicates)], kind="stable"):
            run = result.replicates[place]
            if isinstance(run, ParticleFilterResult):
                several = len(result.replicates) > 1
                return run, f", of replicate {place + 1}, the weightiest of {len(result.replicates)}" if several else ""
    return None, ""


def _score_law(result: OptScaleResult) -> Picture:
    """Draw the law of scores, with the target of the rule if it has one."""
    rule = str(result.configuration.get("rule", ""))
    found = {name: re.search(rf"\b{name}=([0-9.e+-]+)", rule) for name in ("target_score", "confidence")}
    target, confidence = (None if one is None else float(one[1]) for one in found.values())
    figure = plot_score_law(result.posterior, target_score=target, confidence=0.9 if confidence is None else confidence)
    caption = "Final scores with the law fitted to them, and what it predicts of further completions"
    if target is not None:
        caption += "; N* is the number of these with which the target is reached as surely as asked for"
    return Picture("score_law", caption + ".", figure)
