"""What a run did step by step as pictures: effective sample size and evidence, of filters and of Markov chains."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from ppl_scaling.diagnostics.style import AMBER, BLACK, BLUE, DARK, new_figure, say_nothing_to_show, show_steps
from ppl_scaling.inference.annealed import AnnealedResult
from ppl_scaling.inference.chain_results import ParticleGibbsResult
from ppl_scaling.inference.results import ParticleFilterResult

__all__ = ["draw_traces", "plot_chain", "plot_traces"]


def plot_traces(result: ParticleFilterResult, *, title: str | None = None) -> Figure:
    """Draw the effective sample size and the log-evidence after each step; see :func:`draw_traces`."""
    threshold = result.configuration.get("ess_threshold")
    return draw_traces(
        result.ess,
        result.log_evidence_by_step,
        num_particles=result.num_particles,
        resampled=result.resampled,
        ess_threshold=threshold if isinstance(threshold, float | int) else None,
        standard_error=result.log_evidence_standard_error,
        along="rung" if isinstance(result, AnnealedResult) else "step",
        title=title,
    )


def draw_traces(
    ess: ArrayLike,
    log_evidence: ArrayLike,
    *,
    num_particles: int,
    resampled: ArrayLike | None = None,
    ess_threshold: float | None = None,
    standard_error: float = float("nan"),
    along: str = "step",
    title: str | None = None,
) -> Figure:
    """Draw the effective sample size (left) and the log-evidence (right) after each step.

    A filled point is a step after which the particles were resampled.

    Parameters
    ----------
    ess : float array, shape (T,)
        Before any resampling.
    log_evidence : float array, shape (T,)
        Estimate from the steps so far.
    num_particles : int
    resampled : bool array, shape (T,), optional
        Whether the particles were resampled at the beginning of the step.
    ess_threshold : float, optional
        Share of the particles below which they are resampled.
    standard_error : float
        Of the last log-evidence; NaN if it is not known.
    along : str
    title : str, optional

    Raises
    ------
    ValueError
        If there is no step, or the lengths differ.
    """
    if resampled is not None and np.shape(resampled) != np.shape(ess):
        raise ValueError(f"expected resampled of the length of ess, {np.shape(ess)}, got {np.shape(resampled)}")
    sizes, evidence = np.atleast_1d(np.asarray(ess, float)), np.atleast_1d(np.asarray(log_evidence, float))
    if not len(sizes) or sizes.shape != evidence.shape:
        raise ValueError(f"expected ess and log_evidence of one length, at least 1, got {sizes.shape} and {evidence.shape}")
    steps = np.arange(1, len(sizes) + 1)
    moved = np.zeros(len(sizes), dtype=bool)
    if resampled is not None:
        moved[:-1] = np.asarray(resampled, dtype=bool)[1:]
    figure, (left, right) = new_figure(10, 3.6, title=title, ncols=2)
    left.axhline(
        num_particles,
        color=DARK,
        linewidth=0.8,
        linestyle=(0, (1, 1.2)),
        label=f"{num_particles} particle{'s' if num_particles > 1 else ''}",
    )
    if ess_threshold is not None:
        level = ess_threshold * num_particles
        left.axhline(level, color=AMBER, linewidth=1.2, linestyle=(0, (5, 2)), label=f"threshold {level:g}")
    left.plot(steps, sizes, color=BLUE, marker="o", markersize=5, markerfacecolor="white", zorder=3)
    left.plot(steps[moved], sizes[moved], color=BLUE, marker="o", markersize=5, linestyle="", zorder=4)
    left.set_ylim(0, max(num_particles, np.nanmax(sizes, initial=1)) * 1.08)
    left.set_ylabel("effective sample size")
    right.plot(steps, evidence, color=BLACK, marker="o", markersize=4)
    right.set_ylabel("log-evidence so far (nats)")
    if np.isfinite(standard_error) and np.isfinite(evidence[-1]):
        right.errorbar(steps[-1], evidence[-1], yerr=2 * standard_error, color=BLACK, capsize=4, label="± 2 standard errors")
        _legend(right, 1)
    elif not np.isfinite(evidence).any():
        say_nothing_to_show(right, "no finite estimate")
    for axes in (left, right):
        show_steps(axes, 1, len(steps), along)
    if moved.any():
        left.plot([], [], color=BLUE, marker="o", markersize=5, linestyle="", label="resampled after")
    _legend(left, 3)
    return figure


def plot_chain(result: ParticleGibbsResult, *, title: str | None = None) -> Figure:
    """Draw the log-evidence of each iteration of a Markov chain (left) and how often each step changed (right)."""
    figure, (left, right) = new_figure(10, 3.6, title=title, ncols=2)
    iterations = np.arange(1, len(result.log_evidences) + 1)
    if result.burn_in:
        left.axvspan(0.5, result.burn_in + 0.5, color="#EEEEEE", label="burn-in", zorder=0)
    left.plot(iterations, result.log_evidences, color=BLACK, linewidth=1, marker="o", markersize=3)
    left.set_ylabel("log-evidence (nats)")
    show_steps(left, 1, len(iterations), "iteration")
    rates = np.asarray(result.update_rate, float)
    steps = np.arange(1, len(rates) + 1)
    right.bar(steps, np.nan_to_num(rates), width=0.6, color=BLUE)
    if not np.isfinite(rates).any():
        say_nothing_to_show(right, "a single iteration changes nothing")
    right.set_ylim(0, 1)
    right.set_ylabel("share of iterations that changed it")
    show_steps(right, 1, max(len(steps), 1), "step")
    if result.burn_in:
        _legend(left, 1)
    return figure


def _legend(axes: Axes, columns: int) -> None:
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=columns, frameon=False, fontsize=8, borderaxespad=0.1)
