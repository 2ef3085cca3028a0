"""What evaluations show: a bar with the accuracy so far on standard error, and tables of what came of them."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Column, Table

from ppl_scaling.cli.render import tokens_line
from ppl_scaling.inference.curve_comparison import BudgetRatio, CensoredRatio, MatchedTokens
from ppl_scaling.inference.evaluation_file import EvaluationRecord
from ppl_scaling.inference.evaluation_summary import CurvePoint, EvaluationSummary

__all__ = ["EvaluationProgress", "comparison_table", "curve_table", "interrupted", "summary_table"]


class EvaluationProgress:
    """A bar on standard error.

    Parameters
    ----------
    total : int
        Records to come to.
    known : sequence of EvaluationRecord
        Those that are there already.

    Attributes
    ----------
    count : int
        How many there are now.
    """

    def __init__(self, total: int, known: Sequence[EvaluationRecord]) -> None:
        self._progress = Progress(
            TextColumn("{task.description}", table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1)),
            BarColumn(bar_width=16),
            MofNCompleteColumn(),
            TextColumn("{task.fields[accuracy]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            expand=True,
        )
        self._num_correct = sum(one.correct for one in known)
        self._num_failed = sum(one.error is not None for one in known)
        self._task = self._progress.add_task("evaluating", total=total, completed=len(known), accuracy="")
        self.count = len(known)
        self._show()

    def __enter__(self) -> EvaluationProgress:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._progress.stop()

    def describe(self, what: str) -> None:
        """Say what is being run."""
        self._progress.update(self._task, description=escape(what))

    def add(self, record: EvaluationRecord) -> None:
        """Count one more record."""
        self.count += 1
        self._num_correct += record.correct
        self._num_failed += record.error is not None
        self._progress.advance(self._task)
        self._show()

    def note(self, message: str) -> None:
        """Print a line above the bar."""
        self._progress.console.print(escape(message), highlight=False, soft_wrap=True)

    def _show(self) -> None:
        text = f"accuracy {self._num_correct / self.count:.1%}" if self.count else ""
        failed = f", {self._num_failed} failed" if self._num_failed else ""
        self._progress.update(self._task, accuracy=text + failed)


def interrupted(done: int, total: int, where: str) -> None:
    """Say on standard error how to go on."""
    message = f"Interrupted: {done} of {total} results are in {where}. Give the same command again to go on."
    Console(stderr=True, highlight=False, soft_wrap=True).print(message, markup=False)


def summary_table(label: str, summary: EvaluationSummary) -> Table:
    """Table of an evaluation."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="dim")
    table.add_column()
    per_problem = summary.generated_tokens / summary.num_records
    table.add_row("method", escape(label))
    table.add_row(
        "accuracy",
        f"{summary.accuracy:.1%}   95 % interval over problems [{summary.accuracy_low:.1%}, {summary.accuracy_high:.1%}]",
    )
    table.add_row("problems", f"{summary.num_problems}, with {summary.num_seeds} seed{'s' * (summary.num_seeds > 1)}")
    table.add_row(
        "without an answer",
        f"{summary.num_no_answer}; {summary.num_failed} failed; {summary.num_grading_timeouts} not graded in time",
    )
    table.add_row("trajectories", f"{summary.num_trajectories} at the end, {summary.num_truncated} of them truncated")
    table.add_row(
        "tokens",
        f"{summary.generated_tokens} generated ({per_problem:.0f} a problem), {tokens_line(summary)}",
    )
    table.add_row("PRM calls", str(summary.prm_calls))
    peak = "" if summary.peak_memory_bytes is None else f", {summary.peak_memory_bytes / 2**20:.0f} MiB at the peak"
    table.add_row("time", f"{summary.seconds:.1f} s{peak}")
    return table


def curve_table(points: Sequence[CurvePoint], reference: str | None) -> Table:
    """Table of a sweep; all in per cent."""
    caption = None if reference is None else f"difference: accuracy minus that of {escape(reference)} on the same problems"
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, caption=caption, caption_justify="left")
    table.add_column("method", overflow="fold")
    table.add_column("budget", justify="right")
    table.add_column("accuracy, 95 %", justify="right", no_wrap=True)
    table.add_column("tokens", justify="right")
    if reference is not None:
        table.add_column("difference, 95 %", justify="right", no_wrap=True)
    for position, one in enumerate(points):
        new = position == 0 or points[position - 1].method != one.method
        found = one.summary
        cells = [
            escape(one.method) if new else "",
            str(one.budget),
            _with_interval(found.accuracy, found.accuracy_low, found.accuracy_high, ".1f"),
            f"{one.tokens_per_problem:.0f}",
            _with_interval(one.difference, one.difference_low, one.difference_high, "+.1f"),
        ]
        table.add_row(*cells[: 4 if reference is None else 5])
    return table


def comparison_table(matched: Sequence[MatchedTokens], ratios: Sequence[BudgetRatio]) -> Table:
    """Table of methods against the reference of a sweep; the differences are in per cent."""
    reference = escape(matched[0].reference)
    caption = (
        f"difference: accuracy minus that of {reference} at the same number of tokens\n"
        f"budget ratio: budget that reaches the accuracy of {reference} at its budget, divided by that; the same in tokens\n"
        "> not reached with the largest budget; < more than reached with the smallest"
    )
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True, caption=caption, caption_justify="left")
    table.add_column("method", overflow="fold")
    for name in ("budget", "tokens", "difference, 95 %", "budget ratio, 95 %", "in tokens"):
        table.add_column(name, justify="right", no_wrap=True)
    known: dict[tuple[str, int | None], BudgetRatio] = {(one.method, one.budget): one for one in ratios}
    for position, one in enumerate(matched):
        new = position == 0 or matched[position - 1].method != one.method
        ratio = known.get((one.method, one.budget))
        difference = "outside" if one.difference is None else f"{100 * one.difference:+.1f}"
        interval = _with_interval(one.difference, one.difference_low, one.difference_high, "+.1f")
        table.add_row(
            escape(one.method) if new else "",
            "" if one.budget is None else str(one.budget),
            f"{one.tokens:.0f}",
            interval or difference,
            "" if ratio is None else _ratio(ratio.budget_ratio),
            "" if ratio is None else _bound(ratio.token_ratio.value, ratio.token_ratio.censored),
        )
    return table


def _ratio(ratio: CensoredRatio) -> str:
    value = _bound(ratio.value, ratio.censored)
    low, high = _bound(ratio.low, ratio.low_censored), _bound(ratio.high, ratio.high_censored)
    return value if value == low == high and ratio.censored else f"{value} \\[{low}, {high}]"


def _bound(number: float, censored: str | None) -> str:
    sign = "" if censored is None else {"above": ">", "below": "<"}[censored]
    return f"{sign}{number:.{2 if number < 1 else 1 if number < 10 else 0}f}"


def _with_interval(value: float | None, low: float | None, high: float | None, style: str) -> str:
    if value is None or low is None or high is None:
        return ""
    return f"{100 * value:{style}} \\[{100 * low:{style}}, {100 * high:{style}}]"
