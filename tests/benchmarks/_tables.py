"""The figures of a benchmark as tables."""

import sys

from rich.console import Console
from rich.table import Table

console = Console(width=None if sys.stdout.isatty() else 140)


def floor(cells, natural):
    """Ratio to the floor, and the parts of both sides."""
    title = "ours / floor (generate + one PRM pass), fixed lengths; by generate's cache: dynamic is its default"
    table = _table(title, "particles", "steps", "ours s", "dynamic s", "static s", "ours / dynamic", "ours / static")
    for cell in cells:
        ratios = f"{cell['ratio']:.2f}", f"{cell['ratio_static']:.2f}"
        _row(table, cell["particles"], cell["steps"], *_best(cell), *ratios)
    console.print(table)
    for cell in (one for one in cells if one["parts"]):
        parts = ";  ".join(
            f"{side}: " + ", ".join(f"{part} {100 * seconds / min(cell['seconds'][side]):.0f} %" for part, seconds in split)
            for side, split in ((side, sorted(parts.items(), key=_size)) for side, parts in cell["parts"].items())
        )
        console.print(f"  {cell['particles']} particles, {cell['steps']} steps: {parts}", highlight=False)
    if natural:
        title = "ours / floor, real problems, answers as they come"
        table = _table(title, "particles", "problems", "ours s", "floor s", "ratio", "tokens ours", "floor", "ratio a token")
        for cell in natural:
            tokens = [str(counts[0]) for counts in cell["generated_tokens"].values()]
            ratios = f"{cell['ratio']:.2f}", f"{cell['ratio_per_token']:.2f}"
            _row(table, cell["particles"], cell["problems"], *_best(cell), ratios[0], *tokens, ratios[1])
        console.print(table)


def peers(cells):
    """How many times faster than each peer."""
    title = "peer / ours, the same models, steps and tokens"
    table = _table(title, "peer", "particles", "steps", "ours s", "peer s", "ratio", "tokens through LM + PRM", "peer")
    for cell in cells:
        forwarded = [f"{one['lm']:,} + {one['prm']:,}" for one in cell["forwarded_tokens"].values()]
        ratio = f"{cell['ratio']:.1f}"
        _row(table, cell["peer"], cell["particles"], cell["steps"], *_best(cell), ratio, *forwarded)
    console.print(table)


def growth(times, memory):
    """Milliseconds for each token by length, and memory."""
    table = _table(
        f"milliseconds for each generated token, {times['particles']} particles",
        *(f"{steps} steps" for steps in times["seconds_per_token"]),
        "longest / shortest",
        "late / early steps of the longest",
    )
    figures = [f"{1e3 * seconds:.2f}" for seconds in times["seconds_per_token"].values()]
    _row(table, *figures, f"{times['longest_over_shortest']:.2f}", f"{times['late_over_early_steps']:.2f}")
    console.print(table)
    title = "peak memory above the weights / size of the caches"
    table = _table(title, "particles", "columns", "caches MiB", "peak MiB", "ratio", "measured by", "allocator")
    for one in memory:
        mebibytes = [sum(one["cache_bytes"].values()) / 2**20, (one["peak_bytes"] - one["before_bytes"]) / 2**20]
        sizes = [f"{size:.0f}" for size in mebibytes]
        how = one["measured_by"], one["allocator"]
        _row(table, one["particles"], one["columns"]["lm"], *sizes, f"{one['ratio']:.2f}", *how)
    console.print(table)


def groups(cells):
    """What one run for all problems saves."""
    title = "one run each / one run for all"
    table = _table(
        title, "texts", "problems", "particles", "together s", "one by one s", "ratio", "tokens together", "one by one"
    )
    for cell in cells:
        tokens = [str(counts[0]) for counts in cell["generated_tokens"].values()]
        _row(table, cell["texts"], cell["problems"], cell["particles"], *_best(cell), f"{cell['ratio']:.2f}", *tokens)
    console.print(table)


def _table(title, *columns):
    table = Table(title=title, title_justify="left", title_style="bold")
    for column in columns:
        table.add_column(column, justify="right")
    return table


def _row(table, *values):
    table.add_row(*map(str, values))


def _best(cell):
    return [f"{min(seconds):.2f}" for seconds in cell["seconds"].values()]


def _size(part):
    return -part[1]
