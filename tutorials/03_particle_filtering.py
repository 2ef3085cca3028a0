# %% [markdown]
# # 3. Particle filtering a language model
#
# **Question:** what does a particle filter do with a language model, how sure is what it returns, and what do more
# particles buy?
#
# A *particle* is an answer under way, with a weight. In each step the language model writes one more line of every
# particle, the reward model (PRM) scores it, and the weights change accordingly. When few particles have most of the
# weight, the filter *resamples*: it draws as many particles again in proportion to their weights, so that heavy ones go on
# several times and light ones not at all.

# %%
import os
import time

import matplotlib.pyplot as plt
import numpy as np
import pyro
import pyro.distributions as dist
import torch

from ppl_scaling.backends import TokenClassificationRewardModel, TransformersLanguageModel
from ppl_scaling.diagnostics import particle_trace, plot_answers, plot_genealogy, plot_traces
from ppl_scaling.inference import ParticleFilter, SMCFilter
from ppl_scaling.models import LanguageModelStateSpace
from ppl_scaling.models.pretrained import LANGUAGE_MODEL_PATH, REWARD_MODEL_PATH
from ppl_scaling.tasks import generate_problems

SMOKE = "CI" in os.environ  # the tests run this page with fewer particles and repetitions

language_model = TransformersLanguageModel.from_pretrained(LANGUAGE_MODEL_PATH)
reward_model = TokenClassificationRewardModel.from_pretrained(REWARD_MODEL_PATH)
model = LanguageModelStateSpace(language_model, reward_model)
problems = generate_problems(24, seed=7)
problem = problems[23]
print(problem.problem)
print(f"right answer {problem.answer}, {model.likelihood}")

# %% [markdown]
# ## One run

# %%
result = ParticleFilter(model, num_particles=24).run(problem.problem, seed=1)
print(result)
for step, (ess, resampled) in enumerate(zip(result.ess, result.resampled, strict=True), start=1):
    print(f"step {step}: {'resampled, then ' if resampled else ''}ESS {ess:4.1f} of {result.num_particles}")

# %% [markdown]
# The *effective sample size* (ESS), $(\sum_i W_i)^2 / \sum_i W_i^2$, is how many equally heavy particles the weighted ones
# are worth. Below half of their number (`ess_threshold=0.5`) the filter resamples at the beginning of the next step.

# %%
plot_traces(result)

# %% [markdown]
# On the right stands the *evidence*, the probability of the observations as the filter estimates it step by step. What the
# observations are, the likelihood says. For this PRM it is the last score, to the power of 8: the evidence is the mean of
# $r_t^8$ over what the language model writes, and may rise again. At the end it is the probability that eight independent
# verdicts on one answer would all be "right". (Tutorial 2 is about likelihoods.)
#
# Here is who continued whom. The area of a point is its weight; pale lineages were dropped; a square is the end of an
# answer.

# %%
plot_genealogy(result)

# %% [markdown]
# Where resampling was done, several particles share a past. So the particles are not independent, and their number
# overstates how much is known. The filter takes that into account: its standard errors are computed from the genealogy
# (Lee and Whiteley 2018), by comparing particles of different first ancestors.

# %%
plot_answers(result.answers, no_answer_probability=result.no_answer_probability, chosen=result.answer)

# %% [markdown]
# ## Can the error bars be believed?
#
# The check is to run again. `run_batch` takes several problems at once, and the same one several times: those are
# *replicates*, with particles of their own.

# %%
replicates = 3 if SMOKE else 20
runs = ParticleFilter(model, num_particles=16).run_batch([problem.problem] * replicates, seed=0)
evidence = np.array([one.log_evidence for one in runs])
errors = np.array([one.log_evidence_standard_error for one in runs])
pooled = np.log(np.mean(np.exp(evidence)))


def relative_spread(log_evidence):
    """Standard deviation of the evidence between runs, by its mean."""
    ratio = np.exp(log_evidence - np.max(log_evidence))
    return ratio.std(ddof=1) / ratio.mean()


print(f"spread of the evidence between runs {relative_spread(evidence):.2f}, a run says {np.nanmedian(errors):.2f} (median)")
known = ~np.isnan(errors)
covered = np.abs(evidence - pooled)[known] < 2 * errors[known]
print(f"{covered.sum()} of {known.sum()} bars reach the pooled value; {replicates - known.sum()} runs cannot say")

figure, axes = plt.subplots(figsize=(7, 2.8), layout="constrained")
right = np.array([one.answer == problem.answer for one in runs])
for chosen, label, face in ((right, "right answer", "white"), (~right, "wrong answer", "black")):
    axes.errorbar(
        np.flatnonzero(chosen),
        evidence[chosen],
        yerr=2 * np.nan_to_num(errors[chosen]),
        marker="o",
        ls="",
        color="black",
        mfc=face,
        capsize=2,
        label=label,
    )
axes.axhline(pooled, color="0.5", linestyle="--", label="log of the mean evidence")
axes.set_xticks(range(replicates))
axes.set_xlabel("replicate (16 particles, bars are two standard errors)")
axes.set_ylabel("log evidence (nats)")
axes.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=3)
plt.show()

# %% [markdown]
# Nearly all bars reach the value that all runs together give, and the widths tell good runs from bad ones. Runs without a
# bar are those in which all particles descend from one first ancestor: with nothing to compare, the filter does not know
# its error, and says NaN. Two warnings remain. A bar is an estimate too. And no run knows of what it has not seen: where
# the good answers are rare, trust replicates.
#
# ## What do more particles buy?

# %%
for number, times in ((4, replicates), (16, replicates), (16 if SMOKE else 64, 3 if SMOKE else 8)):
    found = runs
    if number != 16:
        found = ParticleFilter(model, num_particles=number).run_batch([problem.problem] * times, seed=1)
    print(
        f"{number:2d} particles: right in {sum(one.answer == problem.answer for one in found):2d} of {times:2d} runs, "
        f"spread of the evidence {relative_spread(np.array([one.log_evidence for one in found])):.2f}, "
        f"{np.mean([one.generated_tokens for one in found]):5.0f} tokens written"
    )

# %% [markdown]
# Answers that are rare under the language model are found at all: with four particles about every other run sees no good
# one and settles on another answer, with 64 none does. And the evidence gets steadier. (A handful of runs does not measure
# their spread well, least of all with few particles, where rare lucky runs carry the mean; below we look again, with
# thousands.) The price, tokens, is proportional to $N$.
#
# ## When to resample
#
# A threshold of (almost) 0 never resamples: that is *importance sampling*, where every answer is written to its end and
# weighed there. A threshold of 1 resamples at every step. Half is the usual rule. The same problem with each:

# %%
rules = {"never": 1e-6, "below one half": 0.5, "at every step": 1.0}
by_rule = {"below one half": runs}
for name, threshold in rules.items():
    if name not in by_rule:
        smc = ParticleFilter(model, num_particles=16, ess_threshold=threshold)
        by_rule[name] = smc.run_batch([problem.problem] * replicates, seed=0)
    found = by_rule[name]
    spread_now = relative_spread(np.array([one.log_evidence for one in found]))
    roots = np.mean([particle_trace(one).unique_roots[-1] for one in found])
    print(
        f"resampled {name:15s} ESS at the end {np.mean([one.ess[-1] for one in found]):4.1f}   ancestors {roots:4.1f}   "
        f"different texts {np.mean([len({one.text for one in run.trajectories}) for run in found]):4.1f}   "
        f"spread of the evidence {spread_now:.2f}   right {sum(one.answer == problem.answer for one in found)}"
    )

# %% [markdown]
# Here the three rules do about equally well; 20 runs show no clear difference in the evidence. What differs is where the
# particles end. Without resampling they are 16 independent answers, most of which count for nothing: about two are left in
# effect. With it ten or more are left, but they share a few ancestors and texts.
#
# Resampling pays for *long* answers. Independent weights are products of many factors, and the variance of a product grows
# exponentially with their number, that of a filter only linearly. To see it we need many steps and many runs, so here is a
# model that is nothing but weights, in plain Pyro. `SMCFilter` is what `ParticleFilter` is made of, and takes any program.


# %%
class Weights:
    """In each step a particle does well with probability .7; it is judged right with probability .9 if so, .2 if not."""

    def init(self, state):
        pass

    def step(self, state, t):
        well = pyro.sample(f"x_{t}", dist.Bernoulli(0.7))
        pyro.sample(f"y_{t}", dist.Bernoulli(0.2 + 0.7 * well), obs=torch.ones(()))


def spread_by_step(num_particles, threshold, num_steps):
    """Relative spread of the evidence after each step."""
    smc = SMCFilter(Weights(), num_particles=num_particles, num_groups=200 if SMOKE else 4000, ess_threshold=threshold)
    smc.init()
    for t in range(1, num_steps + 1):
        smc.step(t)
    return [relative_spread(record.log_evidence.numpy()) for record in smc.history[1:]]


lengths, numbers = [2, 4, 8, 16, 32], [4, 8, 16, 32, 64]
pyro.set_rng_seed(0)
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2), sharey=True, layout="constrained")
for (name, threshold), marker in zip(rules.items(), "osD", strict=True):
    style = {"marker": marker, "color": "black", "mfc": "white", "label": f"resampled {name}"}
    by_step = spread_by_step(16, threshold, 32)
    left.plot(lengths, [by_step[steps - 1] for steps in lengths], **style)
    right.plot(numbers, [spread_by_step(number, threshold, 16)[-1] for number in numbers], **style)
factor = (0.7 * 0.9**2 + 0.3 * 0.2**2) / (0.7 * 0.9 + 0.3 * 0.2) ** 2  # mean square of a weight by its squared mean
left.plot(lengths, [((factor**steps - 1) / 16) ** 0.5 for steps in lengths], "--", color="0.5", label="never, exact")
right.plot(
    numbers,
    [((factor**16 - 1) / number) ** 0.5 for number in numbers],
    "--",
    color="0.5",
    label=r"never, exact: falls like $1/\sqrt{N}$",
)
for axes, ticks, label in ((left, lengths, "steps, with 16 particles"), (right, numbers, "particles, in 16 steps")):
    axes.set_xscale("log", base=2)
    axes.set_xticks(ticks, ticks)
    axes.set_yscale("log")
    axes.set_xlabel(label)
    axes.legend(frameon=False, fontsize=8)
left.set_ylabel("relative spread of evidence")
plt.show()

# %% [markdown]
# Left: without resampling the error explodes with the number of steps. Right: with every rule it falls like $1/\sqrt{N}$.
# When to resample is a smaller matter than whether; half is a good default.
#
# ## The evidence is unbiased
#
# With the same finite world as in tutorial 1 the exact evidence is known, and thousands of filters cost nothing. Even with
# four particles the mean of $\hat Z / Z$ is 1, for each rule and scheme of resampling. The *logarithm* of the evidence is
# too low on average (Jensen's inequality): so average evidences, and not their logarithms.

# %%
from ppl_scaling.backends import FiniteLanguageModel, FunctionRewardModel
from ppl_scaling.inference import enumerate_posterior, multinomial, ssp, systematic
from ppl_scaling.models import BernoulliLikelihood

writer = FiniteLanguageModel(
    {
        "": {"g": 0.6, "b": 0.4, "$": 0.0},
        "g": {"g": 0.5, "b": 0.2, "$": 0.3},
        "b": {"g": 0.2, "b": 0.5, "$": 0.3},
    }
)
judge = FunctionRewardModel(lambda prompt, text: (0.9, 0.4, 0.1)[min(text.count("b"), 2)])
tiny = LanguageModelStateSpace(writer, judge, BernoulliLikelihood(), max_steps=6)
exact = enumerate_posterior(tiny, "?").log_evidence
filters = 100 if SMOKE else 1000
ratios = {}
for name, threshold in rules.items():
    for scheme in (multinomial, systematic, ssp) if threshold == 1 else (systematic,):
        smc = ParticleFilter(tiny, num_particles=4, ess_threshold=threshold, resampling=scheme)
        logs = np.array([one.log_evidence for one in smc.run_batch(["?"] * filters, seed=0)]) - exact
        ratio = np.exp(logs)
        ratios[f"{name}, {scheme.__name__}"] = ratio
        print(
            f"{name:15s} {scheme.__name__:12s} mean of Z-hat / Z {ratio.mean():.3f} ± {ratio.std() / filters**0.5:.3f}   "
            f"spread {ratio.std():.2f}   mean of log {logs.mean():+.3f}"
        )

# %%
figure, axes = plt.subplots(figsize=(7.5, 3), layout="constrained")
places = range(1, len(ratios) + 1)
axes.violinplot(list(ratios.values()), widths=0.8, showextrema=False)
axes.plot(places, [ratio.mean() for ratio in ratios.values()], "D", color="black", label="mean")
axes.axhline(1, color="black", linestyle="--", lw=1, label="exact")
axes.set_xticks(places, [name.replace(", ", "\n") for name in ratios])
axes.set_ylim(0, 3)
axes.set_ylabel(r"$\hat Z / Z$ of one filter")
axes.legend(frameon=False)
plt.show()

# %% [markdown]
# ## Many problems at once
#
# `run_batch` gives each problem a group of particles; all groups go through the models together, and resampling never
# crosses from one to another. That saves time, the more so the smaller the groups. A problem that fails (all its weights
# zero) does so alone: its place holds the error.

# %%
some = [one.problem for one in problems[: 2 if SMOKE else 8]]
smc = ParticleFilter(model, num_particles=8)
started = time.perf_counter()
together = smc.run_batch(some, seed=0)
middle = time.perf_counter()
for one in some:
    smc.run(one, seed=0)
print(f"in one batch {middle - started:.1f} s, one by one {time.perf_counter() - middle:.1f} s")
for one, run in zip(problems, together, strict=False):
    answer = run.answers[0]
    print(
        f"right {one.answer:>4s}   {answer.answer:>4s} with {answer.probability:.2f} ± {answer.standard_error:.2f}   "
        f"log evidence {run.log_evidence:6.2f} ± {run.log_evidence_standard_error:.2f}"
    )

# %% [markdown]
# Mind the problem that has a wrong answer with probability 1.00 ± 0.00. With eight particles that answer is all that the
# run has seen, so it cannot doubt it. Its log evidence gives it away, being far below the others': nothing that it wrote
# pleased the PRM. More particles, or replicates, find the right one: it is the problem of tutorial 1.
#
# **Next:** change `model`'s likelihood or power (tutorial 2) and see what becomes of the ESS; give `on_step=print` to
# `run` to watch a long run; `ppl_scaling.diagnostics.write_report(result, path)` puts everything about a result on one
# page. Where one filter is not enough, tutorial 6 repairs its answers with Markov chains, and tutorial 8 asks what
# particles buy on 300 problems.
