# %% [markdown]
# # 8. Does it scale?
#
# **Question:** with more computation, does the particle filter get better faster than what people use today? The paper
# behind it (Puri et al. 2025, [arXiv 2502.01618](https://arxiv.org/abs/2502.01618)) claims a 4 to 16 times better scaling
# rate than deterministic search. Here is our measurement, on models small enough that you can repeat it on a laptop:
#
# ```console
# $ make study        # about four hours of one core; it goes on where it was when it is interrupted
# ```
#
# runs every method and writes `tutorials/scaling_study.npz`, from which this page computes everything below.

# %%
from pathlib import Path

import numpy as np

from ppl_scaling.diagnostics import plot_scaling_curve
from ppl_scaling.inference import EvaluationRecord, budget_ratios, compare_at_tokens, scaling_curve

folder = Path(__file__).parent if "__file__" in globals() else Path()
study = np.load(folder / "scaling_study.npz")
names, lengths = [str(one) for one in study["names"]], study["lengths"]
print(f"{len(study['problem'])} runs of {len(np.unique(study['problem']))} problems, seeds {np.unique(study['seed'])}")

# %% [markdown]
# ## What was run
#
# * **Problems:** 300 held-out word problems of the embedded task, half with 5 steps (the default difficulty), half with 7.
# * **Models:** the embedded language model and reward model, the same for every method. Every method shares sessions, caches
#   and the counting of tokens, so no method is handicapped.
# * **Budgets:** a budget of $N$ is $N$ particles, $N$ completions or $N$ candidates of a search. Three seeds.
# * **Settings** were chosen on 200 *validation* problems only (`tests/benchmarks/choose_settings.py`): see the last section.
#
# Each run is a record; a *cell* is a method at a budget.


# %%
def record(row):
    _, budget, seed, problem, correct, tokens, calls = (int(one) for one in row)
    return EvaluationRecord(
        index=problem, id=str(problem), seed=seed, expected="", answer=None, correct=bool(correct), grading_timed_out=False,
        error=None, answers=[], no_answer_probability=None, log_evidence=None, num_trajectories=budget, num_finished=budget,
        num_truncated=0, generated_tokens=tokens, lm_tokens_forwarded=0, prm_tokens_forwarded=0, prm_calls=calls,
        batch_seed=0, seconds=0.0,
    )  # fmt: skip


columns = ("method", "budget", "seed", "problem", "correct", "generated_tokens", "prm_calls")
cells = {}
for row in zip(*(study[name] for name in columns), strict=True):
    cells.setdefault((names[row[0]], int(row[1])), []).append(record(row))
REFERENCE = "particle filter, twist"

# %% [markdown]
# ## Accuracy
#
# Intervals are 95 % bootstrap intervals over problems, each with all its seeds.

# %%
points = scaling_curve(cells, reference=REFERENCE)


def percent(value, low, high, sign=""):
    return f"{100 * value:{sign}.1f} [{100 * low:{sign}.1f}, {100 * high:{sign}.1f}]"


for one in points:
    accuracy = percent(one.summary.accuracy, one.summary.accuracy_low, one.summary.accuracy_high)
    print(f"{one.method:28s} N={one.budget:<3d} {one.tokens_per_problem:6.0f} tokens  {accuracy}", end="")
    if one.difference is not None:
        gain = percent(one.difference, one.difference_low, one.difference_high, "+")
        print(f"   minus {REFERENCE}: {gain}", end="")
    print()

figure = plot_scaling_curve(points, title="300 held-out problems, half of them harder")
figure.savefig("scaling_study.png", dpi=110)

# %% [markdown]
# By difficulty, in percent:

# %%
for position, steps in enumerate(lengths):
    print(f"\n{steps} steps")
    for name in names:
        found = {
            budget: 100 * np.mean([one.correct for one in records if one.index % 2 == position])
            for (method, budget), records in cells.items()
            if method == name
        }
        print(f"{name:28s}", "  ".join(f"N={budget}: {found[budget]:4.1f}" for budget in sorted(found)))

# %% [markdown]
# ## At the same number of tokens
#
# The same budget is not the same cost: a search or filter may write more or less than independent completions do. So every
# other curve is also read, linearly in the logarithm of tokens, at the tokens that the filter spends.

# %%
for one in compare_at_tokens(cells, reference=REFERENCE):
    if one.difference is not None and one.difference_low is not None:
        gain = percent(one.difference, one.difference_low, one.difference_high, "+")
        print(
            f"{one.method:28s} at {one.tokens:6.0f} tokens: {100 * one.accuracy:5.1f} against "
            f"{100 * one.reference_accuracy:5.1f}, difference {gain}"
        )

# %% [markdown]
# ## How much more do the others need?
#
# The budget at which another method has the accuracy that the filter has at 4, 8 and 16 particles, as a multiple. `>` means
# that the method does not get there with its largest budget: the number is a lower bound.


# %%
def shown(value, censored):
    return {"above": ">", "below": "<", None: ""}[censored] + f"{value:.1f}"


def print_ratios(reference, budgets):
    """Of all that is no particle filter, against one of the filters."""
    chosen = {key: one for key, one in cells.items() if key[0] == reference or not key[0].startswith("particle")}
    for one in budget_ratios(chosen, reference=reference, budgets=budgets):
        ratio = one.budget_ratio
        interval = f"[{shown(ratio.low, ratio.low_censored)}, {shown(ratio.high, ratio.high_censored)}]"
        print(
            f"{one.method:20s} for the {100 * one.target_accuracy:4.1f} % of {reference} at {one.budget:2d}: "
            f"{shown(ratio.value, ratio.censored):>6s} times the budget {interval}"
        )


print_ratios(REFERENCE, [4, 8, 16])

# %% [markdown]
# The same for the other two likelihoods, which were run at 4 and 16 particles:

# %%
for name in ("particle filter, bernoulli", "particle filter, odds"):
    print_ratios(name, [4, 16])
