"""A report of health as tables in the terminal."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from ppl_scaling.cli.render import bar
from ppl_scaling.diagnostics import HealthReport, ParticleTrace
from ppl_scaling.diagnostics.checks import number

__all__ = ["show_health"]

_STYLES = {"ok": "green", "warn": "yellow", "bad": "bold red", "unknown": "dim"}
_BAR = 6  # the table is 80 characters wide then
_MEANING = (
    "This is about how well the posterior was computed, not about whether the answer is right: for that, diagnose an "
    "evaluation on problems with known answers."
)


def show_health(report: HealthReport, *, reasons: bool = False, console: Console | None = None) -> None:
    """Print a report: its verdicts, and the steps of the run if it is one.

    Parameters
    ----------
    report : HealthReport
    reasons : bool, default False
        Say why the thresholds are where they are.
    console : Console, optional
    """
    console = console or Console(highlight=False)
    console.print(Text.assemble(report.subject, ": ", (report.status, _STYLES[report.status])))
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("check", no_wrap=True)
    table.add_column("", no_wrap=True)
    table.add_column("value", justify="right", no_wrap=True)
    table.add_column("what was found, and what to do", overflow="fold")
    for one in report.checks:
        text = escape(one.message)
        if reasons:
            text += f"\n[dim]{escape(one.threshold)}: {escape(one.reason)}[/dim]"
        verdict = Text(one.status, style=_STYLES[one.status])
        table.add_row(one.name, verdict, number(one.value), text)
    console.print(table)
    if len(report.traces) == 1:
        console.print(_steps(report.traces[0]))
    if report.traces:
        console.print(_MEANING, style="dim")


def _steps(trace: ParticleTrace) -> Table:
    """Table of the steps of one particle filter."""
    table = Table(
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
        caption="* resampled before it; ancestors: particles of the step before that go on; roots: first particles that are "
        "left; surviving: particles of the step with a descendant at the end",
        caption_justify="left",
    )
    for name in (
        "step",
        f"ESS of {trace.num_particles}",
        "",
        "ancestors",
        "roots",
        "surviving",
        "max weight",
        "log-evidence",
    ):
        table.add_column(name, justify="left" if not name else "right", no_wrap=True)
    for t in range(trace.num_steps):
        table.add_row(
            f"{'*' if trace.resampled[t] else ''}{t + 1}",
            f"{trace.ess[t]:.1f}",
            bar(trace.ess[t] / trace.num_particles, _BAR),
            str(trace.unique_ancestors[t]),
            str(trace.unique_roots[t]),
            str(trace.surviving[t]),
            f"{trace.max_weight[t]:.2f}",
            f"{trace.log_evidence[t]:.2f}",
        )
    return table
