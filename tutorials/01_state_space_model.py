# %% [markdown]
# # 1. LLM generation as a state-space model
#
# **Question:** a language model writes an answer step by step, and a process reward model (PRM) scores every step. Which
# distribution over answers do the two define together, and how do we sample from it?
#
# First we look at one such distribution, on a real transformer. Then we write the model ourselves, in plain Pyro, for a
# language model so small that every answer can be listed, and check the sampler against the exact posterior.

# %%
import math
import os

import matplotlib.pyplot as plt
import numpy as np
import pyro
import pyro.distributions as dist
import torch
from pyro import poutine

from ppl_scaling.backends import TokenClassificationRewardModel, TransformersLanguageModel
from ppl_scaling.diagnostics import plot_genealogy
from ppl_scaling.inference import ParticleFilter, SMCFilter, enumerate_posterior
from ppl_scaling.models import LanguageModelStateSpace
from ppl_scaling.models.pretrained import LANGUAGE_MODEL_PATH, REWARD_MODEL_PATH
from ppl_scaling.tasks import generate_problems

SMOKE = "CI" in os.environ  # the tests run this page with fewer particles

# %% [markdown]
# ## Five minutes
#
# The library ships a causal language model and a PRM. Both are ordinary transformers checkpoints, and small: they were
# trained on word problems only, run on a CPU, and err often. Put together they are a *model*; a particle filter draws from
# it.

# %%
language_model = TransformersLanguageModel.from_pretrained(LANGUAGE_MODEL_PATH)
reward_model = TokenClassificationRewardModel.from_pretrained(REWARD_MODEL_PATH)
model = LanguageModelStateSpace(language_model, reward_model)

problem = generate_problems(3, seed=7)[2]
result = ParticleFilter(model, num_particles=16 if SMOKE else 64).run(problem.problem, seed=1)

print(problem.problem)
print(f"The right answer is {problem.answer}. The filter says {result.answer}.")
print(result)

# %% [markdown]
# What came back is more than an answer. It is a *posterior*: each answer has a probability, with a standard error. Without
# the PRM the same class is the language model alone, the *prior*. Here are both:

# %%
prior = ParticleFilter(LanguageModelStateSpace(language_model, None), num_particles=16 if SMOKE else 64).run(
    problem.problem, seed=1
)
names = list(dict.fromkeys(one.answer for one in (*prior.answers[:5], *result.answers[:2])))
figure, axes = plt.subplots(figsize=(6.5, 3.2), layout="constrained")
rows = np.arange(len(names))
for run, label, colour, shift in ((prior, "language model alone", "white", -0.2), (result, "with the PRM", "0.35", 0.2)):
    found = {one.answer: one for one in run.answers}
    heights = [found[name].probability if name in found else 0.0 for name in names]
    errors = [np.nan_to_num(found[name].standard_error) if name in found else 0.0 for name in names]
    axes.barh(rows + shift, heights, 0.4, xerr=errors, color=colour, edgecolor="black", capsize=2, label=label)
axes.set_yticks(rows, [f"{name} (right)" if name == problem.answer else name for name in names])
axes.invert_yaxis()
axes.set_xlabel("probability of the answer (bars: one standard error)")
axes.legend(frameon=False)
plt.show()

# %% [markdown]
# A majority vote over what the language model writes would be wrong: the right answer is far from being its first choice.
# The PRM knows better, and the posterior follows it. This is the weightiest answer, with the score after each step:

# %%
for step, score in zip(result.best_trajectory.steps, result.best_trajectory.scores, strict=True):
    print(f"{score:5.2f}  {step}")

# %% [markdown]
# That is the whole model. It is a *state-space model*, as used for tracking a ship by its radar echoes:
#
# * The **state** $x_t$ is one step of reasoning, here a line. The **transition** $p(x_t \mid c, x_{<t})$ is the language
#   model, with $c$ the prompt.
# * The **emission** is the PRM: after step $t$ it gives a score $r_t$, the probability that all is well. We "observe" that
#   it is: $y_t \sim \mathrm{Bernoulli}(r_t)$, $y_t = 1$.
# * The **posterior** $p(x_{1:T} \mid c, y_{1:T} = 1)$ is what we want answers from. A **particle filter** (sequential
#   Monte Carlo, SMC) keeps many answers under way, weighs each by its scores, and lets heavy ones multiply and light ones
#   die.
#
# Here are twelve particles doing that. Time goes to the right; what is pale was dropped.

# %%
plot_genealogy(ParticleFilter(model, num_particles=12).run(problem.problem, seed=1))

# %% [markdown]
# How scores become weights can be chosen. The Bernoulli emission above is the paper's; for this PRM, whose scores speak of
# all that was written so far, the default is another one (`model.likelihood`). Tutorial 2 is about that.

# %% [markdown]
# ## A world of three tokens
#
# Is it right? On a transformer nobody knows the exact posterior. So we make a writer whose answers can be listed. It makes
# a good step (`g`), a blunder (`b`), or ends (`$`). After a blunder it blunders more easily. The PRM sees what was written
# so far and says how likely it is to be right.

# %%
TOKENS = ["g", "b", "$"]
START = torch.tensor([0.6, 0.4, 0.0])  # p(x_1)
NEXT = torch.tensor([[0.5, 0.2, 0.3], [0.2, 0.5, 0.3]])  # p(x_t | x_{t-1} = g), p(x_t | x_{t-1} = b)
SCORE = torch.tensor([0.9, 0.4, 0.1])  # PRM score after 0, 1, 2 or more blunders
MAX_STEPS = 6

# %% [markdown]
# ## The model, from scratch
#
# Pyro is a language for probability models: `pyro.sample(name, distribution)` draws a latent variable, and with `obs=` it
# conditions on a value instead. A Pyro program for a filter has two methods, `init` and `step`. Whatever the next step
# needs goes into `state`, a dictionary of tensors whose first dimension is the particle: all particles run at once.
#
# An answer that has ended stays as it is: once `finished` is true for a particle, its weight no longer changes.


# %%
class StepByStep:
    def init(self, state):
        size = state.num_groups * state.group_size
        state["law"] = START.expand(size, 3)
        state["blunders"] = torch.zeros(size, dtype=torch.long)
        state["finished"] = torch.zeros(size, dtype=torch.bool)

    def step(self, state, t):
        x = pyro.sample(f"x_{t}", dist.Categorical(state["law"]))
        active = ~state["finished"]
        state["blunders"] = state["blunders"] + ((x == 1) & active).long()
        score = SCORE[state["blunders"].clamp(max=2)]
        with poutine.mask(mask=active):
            pyro.sample(f"y_{t}", dist.Bernoulli(score), obs=torch.ones(()))
        state["law"] = NEXT[x.clamp(max=1)]
        state["finished"] = state["finished"] | (x == 2)


pyro.set_rng_seed(0)
smc = SMCFilter(StepByStep(), num_particles=10_000, ess_threshold=0.5)
smc.init()
for t in range(1, MAX_STEPS + 1):
    smc.step(t)
    print(f"step {t}: ESS {smc.history[-1].ess.item():7.1f}   log evidence {smc.log_evidence.item():.4f}")

weights = torch.softmax(smc.log_weights[0], -1)
by_filter = [float(weights[smc.state["blunders"] == count].sum()) for count in range(4)]

# %% [markdown]
# Two numbers tell how a filter is doing. The *effective sample size* (ESS) says how many equally heavy particles the
# weighted ones are worth; where it fell below half of them, they were resampled before the next step. The *evidence* is
# the probability of what was observed: that the PRM finds nothing wrong with what this writer writes.
#
# ## Is that right?
#
# `FiniteLanguageModel` and `FunctionRewardModel` hold the same two tables, and `LanguageModelStateSpace` is the ready-made
# version of the program above, the class that ran the transformer. `enumerate_posterior` lists every answer.

# %%
from ppl_scaling.backends import FiniteLanguageModel, FunctionRewardModel
from ppl_scaling.models import BernoulliLikelihood

tiny_writer = FiniteLanguageModel(
    {
        "": {"g": 0.6, "b": 0.4, "$": 0.0},
        "g": {"g": 0.5, "b": 0.2, "$": 0.3},
        "b": {"g": 0.2, "b": 0.5, "$": 0.3},
    }
)
tiny_judge = FunctionRewardModel(lambda prompt, text: (0.9, 0.4, 0.1)[min(text.count("b"), 2)])
tiny_model = LanguageModelStateSpace(tiny_writer, tiny_judge, BernoulliLikelihood(), max_steps=MAX_STEPS)

exact = enumerate_posterior(tiny_model, "?")
print(f"{len(exact.trajectories)} possible answers")
print(f"log evidence: exact {exact.log_evidence:.4f}, by the filter {smc.log_evidence.item():.4f}")

# %%
by_list = [sum(one.probability for one in exact.trajectories if one.text.count("b") == count) for count in range(4)]
by_prior = [sum(math.exp(one.log_prior) for one in exact.trajectories if one.text.count("b") == count) for count in range(4)]
figure, axes = plt.subplots(figsize=(6.5, 3), layout="constrained")
places = np.arange(4)
for values, label, colour, shift in (
    (by_prior, "writer alone, exact", "white", -0.27),
    (by_list, "posterior, exact", "0.75", 0.0),
    (by_filter, "posterior, 10,000 particles", "0.3", 0.27),
):
    axes.bar(places + shift, values, 0.27, color=colour, edgecolor="black", label=label)
axes.set_xticks(places)
axes.set_xlabel("number of blunders in the answer")
axes.set_ylabel("probability")
axes.legend(frameon=False)
plt.show()

# %% [markdown]
# The two agree. One run has Monte-Carlo error, but it is of a good kind: over many runs the evidence is *unbiased*, the
# mean of $\hat Z / Z$ is 1, however few the particles. `num_groups` runs many independent filters in one batch.

# %%
smc = SMCFilter(StepByStep(), num_particles=50, num_groups=1000)
smc.init()
for t in range(1, MAX_STEPS + 1):
    smc.step(t)
ratio = (smc.log_evidence - exact.log_evidence).exp()
standard_error = ratio.std() / math.sqrt(len(ratio))
print(f"mean of Z-hat / Z over {len(ratio)} filters: {ratio.mean():.4f} ± {standard_error:.4f}")
assert abs(ratio.mean() - 1) < 5 * standard_error

figure, axes = plt.subplots(figsize=(6.5, 2.6), layout="constrained")
axes.hist(ratio.numpy(), bins=40, color="0.75", edgecolor="black", linewidth=0.5)
axes.axvline(1, color="black", linestyle="--", label="exact")
axes.set_xlabel(r"evidence of one filter with 50 particles, $\hat Z / Z$")
axes.set_ylabel("filters")
axes.legend(frameon=False)
plt.show()

# %% [markdown]
# ## What you have now
#
# A language model and a reward model are a probability model; a filter samples its posterior; and what the filter says can
# be checked. The ready-made class is an ordinary Pyro program too, so all of it can be changed by subclassing.
#
# **Next:** choose another problem above (`generate_problems(10, seed=7)`), or other numbers for the three tokens. Then
# tutorial 2 for what scores mean as a likelihood, tutorial 3 for all that a filter tells about its own error, and tutorial
# 4 for generative models of your own.
