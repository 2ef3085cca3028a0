# %% [markdown]
# # 1. LLM generation as a state-space model
#
# **Question:** a language model writes an answer step by step, and a process reward model (PRM) scores every step. Which
# distribution over answers do the two define together, and how do we sample from it?
#
# We first write that model in plain Pyro for a language model so small that every answer can be listed. Then we filter it,
# compare with the exact posterior, and finally run the same lines on a real transformer.

# %%
import math

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine

from ppl_scaling.inference import ParticleFilter, SMCFilter, enumerate_posterior

# %% [markdown]
# ## A world of three tokens
#
# Our writer makes a good step (`g`), a blunder (`b`), or ends (`$`). After a blunder it blunders more easily. The PRM sees
# what was written so far and says how likely it is to be right.

# %%
TOKENS = ["g", "b", "$"]
START = torch.tensor([0.6, 0.4, 0.0])  # p(x_1)
NEXT = torch.tensor([[0.5, 0.2, 0.3], [0.2, 0.5, 0.3]])  # p(x_t | x_{t-1} = g), p(x_t | x_{t-1} = b)
SCORE = torch.tensor([0.9, 0.4, 0.1])  # PRM score after 0, 1, 2 or more blunders
MAX_STEPS = 6

# %% [markdown]
# ## The model, from scratch
#
# The *state* $x_t$ is the step that is written at time $t$: the transition is the language model. The *emission* is the PRM:
# $y_t \sim \mathrm{Bernoulli}(r_t)$, observed to be 1. A Pyro program for a filter has two methods, `init` and `step`;
# whatever the next step needs goes into `state`, a dictionary of tensors whose first dimension is the particle.
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
smc = SMCFilter(StepByStep(), num_particles=2000, ess_threshold=0.5)
smc.init()
for t in range(1, MAX_STEPS + 1):
    smc.step(t)
    print(f"step {t}: ESS {smc.history[-1].ess.item():7.1f}   log evidence {smc.log_evidence.item():.4f}")

share = float((torch.softmax(smc.log_weights[0], -1) * (smc.state["blunders"] == 0)).sum())
print(f"P(no blunder | all steps judged right) = {share:.3f}")

# %% [markdown]
# ## Is that right?
#
# The world is small, so we can list it. `FiniteLanguageModel` and `FiniteRewardModel` hold the same two tables, and
# `LanguageModelStateSpace` is the ready-made version of the program above. Its likelihood is the same Bernoulli emission.

# %%
from ppl_scaling.backends.finite import FiniteLanguageModel, FiniteRewardModel
from ppl_scaling.models import BernoulliLikelihood, LanguageModelStateSpace

language_model = FiniteLanguageModel(
    {
        "": {"g": 0.6, "b": 0.4, "$": 0.0},
        "g": {"g": 0.5, "b": 0.2, "$": 0.3},
        "b": {"g": 0.2, "b": 0.5, "$": 0.3},
    }
)
reward_model = FiniteRewardModel(lambda prompt, text: (0.9, 0.4, 0.1)[min(text.count("b"), 2)])
model = LanguageModelStateSpace(language_model, reward_model, BernoulliLikelihood(), max_steps=MAX_STEPS)

exact = enumerate_posterior(model, "?")
exact_share = sum(one.probability for one in exact.trajectories if "b" not in one.text)
print(f"{len(exact.trajectories)} possible answers")
print(f"exact: log evidence {exact.log_evidence:.4f}   P(no blunder) {exact_share:.3f}")

# %% [markdown]
# One run has Monte-Carlo error. Over many runs the *evidence* is unbiased: the mean of $\hat Z / Z$ is 1. Groups run many
# independent filters in one batch.

# %%
smc = SMCFilter(StepByStep(), num_particles=200, num_groups=500)
smc.init()
for t in range(1, MAX_STEPS + 1):
    smc.step(t)
ratio = (smc.log_evidence - exact.log_evidence).exp()
standard_error = ratio.std() / math.sqrt(len(ratio))
print(f"mean of Z-hat / Z over {len(ratio)} filters: {ratio.mean():.4f} ± {standard_error:.4f}")
assert abs(ratio.mean() - 1) < 5 * standard_error

# %% [markdown]
# ## The same on a transformer
#
# The library ships a small causal language model and a PRM, both real transformers checkpoints, trained on word problems.
# The model is the same class, and these are the same lines. (The answer stands in `\boxed{}`, as in MATH.)

# %%
from ppl_scaling.backends import TokenClassificationRewardModel, TransformersLanguageModel
from ppl_scaling.models.pretrained import LANGUAGE_MODEL_PATH, REWARD_MODEL_PATH
from ppl_scaling.tasks import generate_problems

problem = generate_problems(1, seed=7)[0]
language_model = TransformersLanguageModel.from_pretrained(LANGUAGE_MODEL_PATH)
reward_model = TokenClassificationRewardModel.from_pretrained(REWARD_MODEL_PATH)

model = LanguageModelStateSpace(language_model, reward_model)
result = ParticleFilter(model, num_particles=32).run(problem.problem, seed=1)
print(problem.problem)
for answer in result.answers[:3]:
    print(f"  {answer.answer:>6s}  {answer.probability:.3f} ± {answer.standard_error:.3f}")
print(f"log evidence {result.log_evidence:.3f}, true answer {problem.answer}")
print("\n".join(result.best_trajectory.steps))

# %% [markdown]
# **Next:** put `state["temperature"] = pyro.sample("temperature", ...)` into `init` of a subclass of
# `LanguageModelStateSpace` and look at `result.latents["temperature"]`; or change the likelihood to `TwistLikelihood()`
# and compare the posteriors: the default `BernoulliLikelihood` counts every score, the twist only the last.
