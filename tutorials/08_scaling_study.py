# %% [markdown]
# # 8. Does it scale?
#
# **Question:** with more computation, does the particle filter get better faster than what people use today? The paper
# behind it (Puri et al. 2025, [arXiv 2502.01618](https://arxiv.org/abs/2502.01618)) claims a 4 to 16 times better scaling
# rate than deterministic search. Here is our measurement, on models small enough that you can repeat it on a laptop:
#
# ```console
# $ make study        # about five hours of one core; it goes on where it was when it is interrupted
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
# * **Problems:** 300 held-out word problems of the embedded task, half with 5 steps (the default difficulty), half with
#   7.
# * **Models:** the embedded language model and reward model, the same for every method. Every method shares sessions,
#   caches and the counting of tokens, so no method is handicapped.
# * **Budgets:** a budget of $N$ is $N$ particles, $N$ completions or $N$ candidates of a search, from 1 to 64 (the two
#   other likelihoods of the filter: 4, 8 and 16). Three seeds.
# * **Settings** were chosen on 200 *validation* problems only (`tests/benchmarks/choose_settings.py`): see the last
#   section.
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

# %%
default = [one for one in points if one.method == REFERENCE or not one.method.startswith("particle")]
figure = plot_scaling_curve(default, title="300 held-out problems, half of them harder")
figure.savefig("scaling_study.png", dpi=110)
figure

# %% [markdown]
# The filter's three likelihoods:

# %%
plot_scaling_curve([one for one in points if one.method.startswith("particle")])

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
# The same budget is not the same cost: a search or filter may write more or less than independent completions do. So
# every other curve is also read, linearly in the logarithm of tokens, at the tokens that the filter spends.

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
# The budget at which another method has the accuracy that the filter has at some number of particles, as a multiple. `>`
# means that the method does not get there with its largest budget: the number is a lower bound. At 64 that says no more
# than who is ahead, as nothing larger was run.


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


print_ratios(REFERENCE, [4, 8, 16, 32, 64])

# %% [markdown]
# The same for the other two likelihoods:

# %%
for name in ("particle filter, bernoulli", "particle filter, odds"):
    print_ratios(name, [4, 8, 16])

# %% [markdown]
# ## What this says, and what it does not
#
# * **Against independent completions the filter wins, and the gap grows.** Best-of-N stops improving at about 32
#   completions; the filter goes on to 64. Best-of-N and its weighted form need 1.3 and 1.4 times the filter's budget for
#   its accuracy at 4 particles, and do not reach its accuracy at 16 with four times as many. The majority vote never gets
#   there.
# * **Against deterministic search it depends on the budget.** With 2 to 8 candidates beam search is ahead of the filter
#   (+4.1, +3.8 and +4.7 points, no interval includes zero) and needs 0.7 times its budget; DVTS is ahead at 2. At 16 and
#   32 all three are level. At 64 the searches are no better than at 32, as best-of-N is not: they follow the reward model
#   into its mistakes. The filter still rises and is ahead of DVTS by 4.2 points [0.3, 8.1], of beam search by 3.0 [-0.8,
#   6.8]. The 4 to 16 times of the paper are not what we find; its models and problems are others. What the filter returns
#   beyond an answer is a posterior, with evidence and error bars.
# * **Which likelihood?** Sharper is better with few particles: the odds are ahead of the default by 4.2 points [0.9, 7.7]
#   at 4 (and level with beam search there), and behind by 1.2 [-1.6, 4.0] at 16. The paper's Bernoulli is behind by 2.9
#   [-0.2, 6.0] at 16.
# * **Against the weights of its_hub** (odds of the current score, everything resampled at every step) there is no
#   difference that 150 of the problems could show: 60.7 % against 59.3 % at 16 particles (+1.3 points [-4.7, +7.3]), 50.0
#   % against 47.3 % at 4 (+2.7 [-4.7, +10.0]); its filter took 2.84 and 0.91 seconds a problem, ours 0.98 and 0.53
#   (`tests/benchmarks/compare_its_hub.py`).
# * Two small models on one kind of problem. The reward model was trained on solutions of this language model, which no
#   published one is. Your problems decide: `ppl-scaling curve` runs the same comparison on them.
#
# ## How the settings were chosen
#
# `tests/benchmarks/choose_settings.py` on 200 validation problems, half of them harder; posterior mode, in percent, with
# paired differences from `BernoulliLikelihood()`:
#
# | setting | 4 particles | 16 particles |
# |---|---|---|
# | `BernoulliLikelihood()`, three seeds | 40.8 | 55.2 |
# | `TwistLikelihood(beta=8)`, three seeds | 47.2, +6.3 [2.8, 9.8] | **60.8**, +5.7 [1.8, 9.7] |
# | the same by its best score | 46.0, +5.2 [1.5, 8.8] | 57.3, +2.2 [-2.7, 7.0] |
# | `TwistLikelihood(beta=4)`, three seeds; one at 16 | 45.0, +4.2 [0.7, 7.5] | 56.5, +1.3 [-4.2, 6.8] |
# | `OddsLikelihood()`, one seed | 49.0, +8.2 [3.0, 13.3] | 57.5, +2.3 [-2.8, 7.7] |
# | `TwistLikelihood(beta=8)`, resampled at every step, one seed | | 61.0, +5.8 [0.8, 11.0] |
# | `ess_threshold=0.25`, one seed | | 57.5, +2.3 [-3.0, 7.7] |
# | multinomial resampling, one seed | | 56.0, +0.8 [-4.3, 6.0] |
#
# So for the embedded reward model the default is the twist, because it was trained to predict how a *prefix* will end,
# with the power 8, which its `config.json` recommends; the mode; systematic resampling below half of the particles. Other
# checkpoints keep the likelihood that fits what they score, with power 1, unless their `config.json` says otherwise. At 4
# particles a sharper likelihood would do as well. On the *test* problems the gain of the power is smaller than here: that
# is what choosing on 200 problems does, and why the choice is not made where it is reported.
#
# **Next:** run `ppl-scaling curve` on problems of yours, or tutorial 1 for what the filter samples from.
