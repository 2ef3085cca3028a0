"""What the command line shows: progress while it runs, then the posterior at a glance."""

from __future__ import annotations

import math
from types import TracebackType

from rich import box
from rich.console import Console, Group, RenderableType
from rich.live import Live as RichLive
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from ppl_scaling.cli.decisions import decision_rows
from ppl_scaling.inference import ParticleFilterResult, Progress, Result
from ppl_scaling.inference.display import answer_rows, measure, with_error
from ppl_scaling.inference.evaluation_summary import EvaluationSummary

__all__ = ["Live", "bar", "quiet_transformers", "show", "tokens_line"]

_BAR = 24
_MOST_ANSWERS = 10


def quiet_transformers() -> None:
    """Keep transformers' progress bars and load reports out of the output; what matters in them is an error of ours."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()


class Live:
    """A line for every step while the filter runs, on standard error."""

    def __init__(self, num_particles: int | None, max_steps: int, *, visible: bool) -> None:
        self._num_particles = num_particles
        self._max_steps = max_steps
        self._visible = visible
        self._history: list[Progress] = []
        self._live = RichLive(console=Console(stderr=True), transient=True, refresh_per_second=8)

    def __enter__(self) -> Live:
        if self._visible:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._visible:
            self._live.stop()

    def update(self, progress: Progress) -> None:
        """Show one more step."""
        self._history.append(progress)
        if not self._visible:
            return
        table = _table("step", "alive", "ESS", "") if self._num_particles else _table("step", "alive")
        for one in self._history[-12:]:
            row = [str(one.t), str(one.num_active)]
            if self._num_particles:
                row += [f"{one.ess[0]:.1f}", bar(one.ess[0] / self._num_particles)]
            table.add_row(*row)
        self._live.update(Group(Text(f"step {progress.t} of at most {self._max_steps}"), table), refresh=True)


def show(result: Result, console: Console | None = None) -> None:
    """Print the posterior, the health of the run and the best trajectory."""
    console = console or Console(highlight=False)
    console.print(Panel(escape(result.problem), title="problem", title_align="left", box=box.ROUNDED))
    answer = "none" if result.answer is None else result.answer
    console.print(Text.assemble("answer  ", (answer, "bold green" if result.answer is not None else "bold red")))
    console.print()
    console.print(_posterior(result))
    console.print(_health(result))
    best = result.best_trajectory
    lines = Table(box=None, show_header=False, pad_edge=False)
    lines.add_column(justify="right", style="dim")
    lines.add_column()
    for step, score in zip(best.steps, best.scores or (math.nan,) * len(best.steps), strict=False):
        lines.add_row("" if math.isnan(score) else f"{score:.3f}", escape(step))
    title = "weightiest trajectory with this answer (score after each step)" if result.answer else "weightiest trajectory"
    console.print(Panel(lines, title=title, title_align="left", box=box.ROUNDED))


def _posterior(result: Result) -> RenderableType:
    table = _table("answer", measure(result), "std. error", "")
    for row in answer_rows(result.answers, result.no_answer_probability, result.answer, _MOST_ANSWERS):
        name = escape(row.name) if row.is_answer else f"({row.name})"
        style = {"chosen": "bold", "answer": ""}.get(row.kind, "dim")
        table.add_row(name, f"{row.probability:.3f}", row.error_text, bar(row.probability), style=style)
    return table


def _health(result: Result) -> RenderableType:
    grid = Table(box=None, show_header=False, pad_edge=False)
    grid.add_column(style="dim")
    grid.add_column()
    rows = _filter_rows(result) if isinstance(result, ParticleFilterResult) else decision_rows(result)
    for name, text in rows:
        grid.add_row(name, escape(text))
    kind = "particles" if hasattr(result, "log_evidence") else "completions"
    finished, truncated = (sum(getattr(one, end) for one in result.trajectories) for end in ("finished", "truncated"))
    grid.add_row(kind, f"{finished} finished, {truncated} truncated")
    grid.add_row("tokens", f"{result.generated_tokens} generated, {tokens_line(result)}")
    grid.add_row("time", f"{result.seconds:.2f} s, seed {result.seed}")
    if isinstance(result, ParticleFilterResult) and any(math.isnan(one.standard_error) for one in result.answers):
        grid.add_row("note", "all particles descend from one: the run cannot tell its own error; use more particles")
    return Group(grid, Text())


def _filter_rows(result: ParticleFilterResult) -> list[tuple[str, str]]:
    ess = " ".join(
        f"{size:.1f}{'*' if moved else ''}" for size, moved in zip(result.ess, [*result.resampled[1:], False], strict=True)
    )
    rows = [("log evidence", with_error(result.log_evidence, result.log_evidence_standard_error))]
    observed = result.configuration
    if observed.get("reward_model") is not None:
        rows.append(("likelihood", f"{observed['likelihood']}, {observed['reward_model']}"))
    legend = "; * resampled after it" if result.resampled.any() else "; never resampled"
    return [*rows, ("ESS by step", f"{ess}   of {result.num_particles}{legend}")]


def _table(*columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for position, column in enumerate(columns):
        table.add_column(column, justify="left" if position in (0, len(columns) - 1) else "right")
    return table


def bar(share: float, width: int = _BAR) -> str:
    """Draw a share, cut to between 0 and 1, in ``width`` characters."""
    filled = round(width * min(max(share, 0.0), 1.0))
    return "█" * filled + "░" * (width - filled)


def tokens_line(counted: Result | EvaluationSummary) -> str:
    """Say how many tokens passed through which model; of the draft model only if there was one."""
    draft = f", {counted.draft_tokens_forwarded} through the draft" if counted.draft_tokens_forwarded else ""
    return f"{counted.lm_tokens_forwarded} through the LM, {counted.prm_tokens_forwarded} through the PRM{draft}"
