"""What a replay of stopping rules says: tables and the picture."""

import numpy as np
from _replay import cost_of, frontier
from rich.console import Console
from rich.table import Table

LEVELS = 4, 8, 16, 32
PUBLISHED = (
    "plug-in MLE, as published",
    "plug-in MAP, prior of the paper, as published",
    "plug-in MAP, prior of the tuning problems, as published",
)
console = Console(width=200)


def compare(found, num_tuning, num_draws=500, seed=0):
    """Table of completions at the accuracies of best-of-N, and the broken lines of the picture."""
    fixed = found[0]
    tuning, test = np.arange(num_tuning), np.arange(num_tuning, len(fixed.worth))
    hulls = [frontier(*family.means(tuning)) for family in found]
    rng = np.random.default_rng(seed)
    # The test problems, and then samples of them with replacement: each a row of weights of all problems.
    samples = np.zeros((1 + num_draws, len(fixed.worth)))
    samples[0, test] = 1 / len(test)
    samples[1:, test] = rng.multinomial(len(test), np.full(len(test), 1 / len(test)), num_draws) / len(test)
    costs = np.empty((len(samples), len(found), len(LEVELS)))
    accuracies = samples @ fixed.worth[:, :, 0]
    for j, family in enumerate(found):
        values, spent = (samples @ family.worth[:, hulls[j], what] for what in (0, 2))
        for i, accuracy in enumerate(accuracies):
            costs[i, j] = [cost_of(accuracy[level - 1], values[i], spent[i]) for level in LEVELS]
    plug_ins = [j for j, family in enumerate(found) if family.name.startswith("plug-in")]
    best = costs[:, plug_ins].min(1)[:, None]  # the best of them at each level and in each sample, seen from the test side
    with np.errstate(invalid="ignore"):
        ratio = np.minimum(costs / best, 99.0)  # NaN where neither gets there
    accuracy = fixed.means(test)[0]
    table = Table(title="completions at equal accuracy on the test problems; ratio to the best plug-in [95 %]")
    for column in ("rule", *(f"{accuracy[level - 1]:.3f} (N={level})" for level in LEVELS), "most accurate"):
        table.add_column(column)
    for j, family in enumerate(found):
        cells = []
        for k in range(len(LEVELS)):
            comparable = ratio[1:, j, k][~np.isnan(ratio[1:, j, k])]
            low, high = np.quantile(comparable, [0.025, 0.975]) if len(comparable) else (np.nan, np.nan)
            shown = f"{costs[0, j, k]:.1f}  {ratio[0, j, k]:.2f} [{low:.2f}, {high:.2f}]"
            cells.append(shown if np.isfinite(costs[0, j, k]) else "never")
        values, spent = family.means(test)
        top = hulls[j][-1]
        table.add_row(family.name, *cells, f"{values[top]:.3f} @ {spent[top]:.1f}")
    console.print(table)
    chosen_on_tuning(found, hulls, tuning, costs)
    operating_points(found, tuning, samples)
    return [(family.name, *(one[hull] for one in family.means(test))) for family, hull in zip(found, hulls, strict=True)]


def chosen_on_tuning(found, hulls, tuning, costs):
    """Print, for each group of families, the one that is cheapest on the tuning problems, and what it costs on the others.

    The ratio to the best plug-in above is to the best in hindsight, which no user has.
    """
    groups = {
        "best-of-N": ("best-of-N",),
        "plug-in": ("plug-in",),
        "plug-in, as published": PUBLISHED,
        "ours by guarantee": ("ours, guarantee", "ours, planned"),
        "ours by total number": ("ours, total",),
        "ours by price": ("ours, price, ",),
        "ours by coverage": ("ours, coverage",),
        "ours by scores and answers": ("ours, price, unseen", "ours, score x votes"),
    }
    accuracy, _ = found[0].means(tuning)
    known = [
        [cost_of(accuracy[level - 1], *(one[hulls[j]] for one in f.means(tuning))) for level in LEVELS]
        for j, f in enumerate(found)
    ]
    known = np.array(known)
    table = Table(
        title="each group's cheapest family on the tuning problems: completions on the test problems; ratio to the plug-in"
    )
    for column in ("group", "N", "family", "completions", "ratio [95 %]", "to the published one [95 %]"):
        table.add_column(column)
    picked = {}
    for group, beginnings in groups.items():
        members = [j for j, one in enumerate(found) if one.name.startswith(beginnings)]
        if group == "ours by price":
            members = [j for j in members if "unseen" not in found[j].name]
        picked[group] = [members[int(known[members, k].argmin())] for k in range(len(LEVELS))]
    for group, members in picked.items():
        for k, level in enumerate(LEVELS):
            cost, shown = costs[:, members[k], k], []
            for other in ("plug-in", "plug-in, as published"):
                with np.errstate(invalid="ignore"):
                    ratio = np.minimum(cost / costs[:, picked[other][k], k], 99.0)
                comparable = ratio[1:][~np.isnan(ratio[1:])]
                low, high = np.quantile(comparable, [0.025, 0.975]) if len(comparable) else (np.nan, np.nan)
                shown.append(f"{ratio[0]:.2f} [{low:.2f}, {high:.2f}]")
            table.add_row(group, str(level), found[members[k]].name, f"{cost[0]:.1f}", *shown)
    console.print(table)


def operating_points(found, tuning, samples):
    """Print, for each family, the cheapest setting as accurate as best-of-N on the tuning problems, on the test problems."""
    fixed = found[0]
    table = Table(title="cheapest setting as accurate as best-of-N on the tuning problems; on the test problems")
    figures = "accuracy - best-of-N [95 %], points", "completions / N [95 %]", "tokens / best-of-N"
    for column in ("rule", "N", "setting", *figures):
        table.add_column(column)
    for family in found:
        values, spent = family.means(tuning)
        for level in LEVELS:
            enough = np.flatnonzero(values >= fixed.means(tuning)[0][level - 1] - 1e-12)
            if not len(enough):
                continue
            point = enough[spent[enough].argmin()]
            ours, theirs = family.worth[:, point], fixed.worth[:, level - 1]
            gains = 100 * samples @ (ours - theirs)[:, 0]
            ratios = samples @ ours[:, 2] / (samples @ theirs[:, 2])
            bounds = [np.quantile(one[1:], [0.025, 0.975]) for one in (gains, ratios)]
            label = family.points[point]
            label = label if isinstance(label, str) else ", ".join(f"{one:.3g}" for one in label)
            tokens = samples[0] @ ours[:, 3] / (samples[0] @ theirs[:, 3])
            table.add_row(
                family.name,
                str(level),
                label,
                f"{gains[0]:+.1f} [{bounds[0][0]:+.1f}, {bounds[0][1]:+.1f}]",
                f"{ratios[0]:.2f} [{bounds[1][0]:.2f}, {bounds[1][1]:.2f}]",
                f"{tokens:.2f}",
            )
    console.print(table)


def picture(lines, path, title):
    """Accuracy by completions of the fixed rules, the best plug-ins and ours."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    styles = {"best-of-N": ("k", 2.5), "plug-in": ("tab:red", 0.9), "ours": ("tab:blue", 0.9)}
    figure, axes = plt.subplots(figsize=(9, 6))
    for name, values, spent in lines:
        kind = name.split(",")[0].split(" MLE")[0].split(" MAP")[0]
        colour, width = styles.get(kind, ("tab:gray", 1.2))
        axes.plot(spent, values, color=colour, lw=width, alpha=0.8, marker=".", ms=3)
    for name, (colour, _) in (styles | {"votes, until the target": ("tab:gray", 1.2)}).items():
        axes.plot([], [], color=colour, label=name)
    axes.set(xscale="log", xlabel="completions", ylabel="accuracy on test problems", title=title)
    axes.legend(loc="lower right")
    figure.savefig(path, dpi=130, bbox_inches="tight")
    plt.close(figure)
