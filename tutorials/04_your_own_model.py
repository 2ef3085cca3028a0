# %% [markdown]
# # 4. Your own model
#
# **Question:** how do I change the generative model (what is written, what is unknown, what is rewarded), and how do I
# know that the posterior I get is the right one?
#
# A model here is a Pyro program: an object with `init`, run once, and `step`, run for every reasoning step. All particles
# run at once, so a Pyro site has one value for each of them. What you write changes the posterior as it does anywhere in
# Pyro:
#
# | you write | it means |
# |---|---|
# | `pyro.sample("z", d)` | an unknown with prior `d`; each particle draws its own |
# | `pyro.sample("y", d, obs=value)` | data: the weight of a particle is multiplied by its likelihood |
# | `pyro.factor("f", log_weight)` | the weight is multiplied by anything you like; minus infinity forbids |
# | a *guide* with the same sites | draw from there instead; the weight is corrected by $p/q$ |
#
# Each section adds one of these to a real language model, and compares with something that needs no filter.

# %%
import itertools
import math
import os
import re
import tempfile

import matplotlib.pyplot as plt
import numpy as np
import pyro
import pyro.distributions as dist
import torch
from scipy.integrate import trapezoid
from scipy.stats import lognorm, norm

from ppl_scaling.backends import FiniteLanguageModel, FunctionRewardModel, TransformersLanguageModel, load_reward_model
from ppl_scaling.inference import Islands, MajorityVote, ParticleFilter, SMCFilter, enumerate_posterior, evaluate, summarize
from ppl_scaling.models import LanguageModelStateSpace
from ppl_scaling.models.pretrained import LANGUAGE_MODEL_PATH, REWARD_MODEL_PATH
from ppl_scaling.tasks import Problem, generate_problems

SMOKE = "CI" in os.environ  # fewer particles, so that the test is quick
language_model = TransformersLanguageModel.from_pretrained(LANGUAGE_MODEL_PATH)
reward_model = load_reward_model(REWARD_MODEL_PATH)

# %% [markdown]
# ## A constraint on what is written
#
# Zoe's friend types the solution on a keyboard whose 7 is broken. What will be written? Without a reward model the
# posterior of `LanguageModelStateSpace` is the language model itself; a subclass adds the constraint. `self.texts(state,
# t)` is what each particle wrote in step `t`.

# %%
problem = (
    "Zoe has 14 pens. Zoe then triples what she has. Tom has 8 fewer pens than Zoe and gives her all of them. "
    "How many pens does Zoe have now?"
)


class BrokenSeven(LanguageModelStateSpace):
    def step(self, state, t):
        super().step(state, t)
        possible = torch.tensor(["7" not in text for text in self.texts(state, t)])
        pyro.factor(f"no_seven_{t}", torch.where(possible, 0.0, -math.inf))


num_draws = 100 if SMOKE else 800
plain = LanguageModelStateSpace(language_model, reward_model=None)
drawn = ParticleFilter(plain, num_particles=num_draws).run(problem, seed=0).trajectories
accepted = [one for one in drawn if "7" not in one.text]
rate = len(accepted) / len(drawn)
rate_error = math.sqrt(rate * (1 - rate) / len(drawn))
print("a draw from the language model:", *drawn[0].steps, sep="\n  ")
print(f"without a 7: {rate:.3f} ± {rate_error:.3f} of {len(drawn)} draws")

# %% [markdown]
# Those accepted draws are *rejection sampling*: slow, and exact. The filter must agree with them, in the answers and in
# the **evidence**, the probability that the constraint holds. `Islands` makes ten runs of it in one batch, pools them in
# proportion to their evidence, and takes standard errors between them.


# %%
def pooled(model, guide=None, num_particles=32, num_replicates=10):
    if SMOKE:
        num_particles, num_replicates = 8, min(num_replicates, 4)
    method = ParticleFilter(model, guide, num_particles=num_particles)
    return Islands(method, num_replicates=num_replicates).run(problem, seed=1)


def evidence(result):
    value = math.exp(result.log_evidence)
    return f"{value:.3g} ± {value * result.log_evidence_standard_error:.1g}"


def probabilities(result):
    return {one.answer: one.probability for one in result.answers}


def counted(trajectories, weights=None):
    weights = np.ones(len(trajectories)) if weights is None else weights
    table = {}
    for one, weight in zip(trajectories, weights / weights.sum(), strict=True):
        table[one.answer] = table.get(one.answer, 0.0) + float(weight)
    return table


broken = BrokenSeven(language_model, reward_model=None)
filtered = pooled(broken)
print(f"rejection: P(no 7) = {rate:.3f} ± {rate_error:.3f}")
print(f"filter:    P(no 7) = {evidence(filtered)}")

# %% [markdown]
# ## A guide that keeps to the constraint, and why a mask alone is not enough
#
# The filter writes steps and then throws many of them away. What about not writing a 7 at all? A *guide*, Pyro's word for
# a proposal, draws each step with these tokens left out. `transition(...).proposal(...)` is the language model with other
# sampling settings, and it remembers both probabilities, so the weight gets $\log p - \log q$ in the same forward pass.
#
# Tempting is to put the same mask into the *model*, as constrained decoding does. That is another distribution: when only
# unlikely tokens are left, the mask renormalises them to one and forgets that this path was unlikely.

# %%
without_seven = torch.tensor(["7" not in token for token in language_model.vocabulary.texts])


class WithoutSeven:
    def __init__(self, model):
        self.model = model

    def init(self, state, prompts):
        """Nothing: the latents of `init`, if there are any, are drawn from the model."""

    def step(self, state, t):
        pyro.sample(f"x_{t}", self.model.transition(state, t).proposal(allowed=without_seven))


class Masked(LanguageModelStateSpace):
    """What one gets from a mask without weights; not the posterior."""

    def step(self, state, t):
        transition = self.transition(state, t).proposal(allowed=without_seven)
        self.advance(state, t, transition, pyro.sample(f"x_{t}", transition))


guided = pooled(broken, WithoutSeven(broken))
masked = pooled(Masked(language_model, reward_model=None))
print(f"rejection:         P(no 7) = {rate:.3f} ± {rate_error:.3f}")
print(f"filter:            P(no 7) = {evidence(filtered)}")
print(f"filter with guide: P(no 7) = {evidence(guided)}")

# %%
tables = {
    "rejection": counted(accepted),
    "filter": probabilities(filtered),
    "filter with guide": probabilities(guided),
    "mask without weights": probabilities(masked),
}
leading = [sorted(table, key=table.get, reverse=True)[:4] for table in (tables["rejection"], tables["mask without weights"])]
shown = list(dict.fromkeys(str(answer) for answers in leading for answer in answers))
figure, axes = plt.subplots(figsize=(8, 3.2), layout="constrained")
for place, (name, table) in enumerate(tables.items()):
    heights = [table.get(answer, 0.0) for answer in shown]
    shade = ("black", "dimgray", "darkgray", "white")[place]
    axes.bar(np.arange(len(shown)) + 0.2 * place - 0.3, heights, 0.2, color=shade, edgecolor="black", label=name)
axes.set_xticks(range(len(shown)), shown)
axes.set(xlabel="answer", ylabel="probability, given that no 7 is written")
axes.legend(frameon=False)
plt.show()

# %% [markdown]
# The three that condition agree. The mask without weights writes 86 in about a quarter of its answers, which the language
# model itself hardly ever does: it was about to write 76, and took the next best key. The guide draws the same nonsense,
# but its weights know that this was unlikely. (So it gains little here. A guide pays as far as it is close to the
# posterior.)
#
# ## Data beside the text
#
# Someone remembers that Zoe had fewer than 100 pens in the end, and is right nine times out of ten. That is an
# observation, with a likelihood, at the step in which the answer appears:


# %%
def boxed(text):
    found = re.search(r"\\boxed\{(\d+)\}", text)
    return int(found.group(1)) if found else None


class WithHint(LanguageModelStateSpace):
    def step(self, state, t):
        super().step(state, t)
        answers = [boxed(text) for text in self.texts(state, t)]
        agrees = torch.tensor([answer is not None and answer < 100 for answer in answers])
        with pyro.poutine.mask(mask=torch.tensor([answer is not None for answer in answers])):
            pyro.sample(f"hint_{t}", dist.Bernoulli(torch.where(agrees, 0.9, 0.1)), obs=torch.ones(()))


hinted = probabilities(pooled(WithHint(language_model, reward_model=None)))
before = counted(drawn)
ends = [boxed(one.text) for one in drawn]
after = counted(drawn, np.array([1.0 if end is None else 0.9 if end < 100 else 0.1 for end in ends]))
print("answer   without hint   with hint: draws, reweighted   filter")
for answer in sorted(before, key=before.get, reverse=True)[:4]:
    print(f"{answer!s:>6s}   {before[answer]:12.3f}   {after[answer]:27.3f}   {hinted.get(answer, 0.0):6.3f}")

# %% [markdown]
# ## Your own reward model: any function
#
# A process reward model scores a step. It need not be a network: `FunctionRewardModel` takes a table or *any function* of
# the problem and the text so far that returns a score between 0 and 1, and works with any language model. Here is a pocket
# calculator that trusts a step if its computation is right.


# %%
def calculator(prompt, text):
    *_, last = text.strip().split("\n")
    found = re.search(r"(\d+) ([-+*/]) (\d+) = (\d+)", last)
    if found is None:
        return 0.5
    first, operation, second, value = (int(one) if one.isdigit() else one for one in found.groups())
    right = {"+": first + second, "-": first - second, "*": first * second, "/": first / second if second else None}
    return 0.95 if right[operation] == value else 0.05


problem = books = (
    "Mia has 60 books. Then she finds 9 bags with 8 books in each bag. She buys 57 more. How many books does Mia have now?"
)
checked = LanguageModelStateSpace(language_model, FunctionRewardModel(calculator))
print(f"likelihood: {checked.likelihood}")  # the default for scores of single steps
filtered = probabilities(pooled(checked))

plain_draws = ParticleFilter(plain, num_particles=num_draws).run(problem, seed=2).trajectories
weights = [
    math.prod(calculator(problem, text) for text in itertools.accumulate(one.text.splitlines(keepends=True)))
    for one in plain_draws
]
print("answer   language model   with calculator: draws, reweighted   filter")
alone, reweighted = counted(plain_draws), counted(plain_draws, np.array(weights))
for answer in sorted(reweighted, key=reweighted.get, reverse=True)[:4]:
    print(f"{answer!s:>6s}   {alone[answer]:14.3f}   {reweighted[answer]:33.3f}   {filtered.get(answer, 0.0):6.3f}")

# %% [markdown]
# The language model likes to carry once too often; the calculator knows better, and the right answer, 189, comes out on
# top.

# %% [markdown]
# ## An unknown for every particle
#
# Which sampling temperature suits this language model? Make it an unknown. `state["temperature"]` is an entry that
# `LanguageModelStateSpace` reads if it is there: each particle then writes with a temperature of its own, and those whose
# computations the calculator finds right survive.
#
# First in a world small enough to enumerate, with three possible temperatures: for each of them, the exact evidence is
# known, and by Bayes' rule that is the posterior up to a constant.

# %%
TEMPERATURES = torch.tensor([0.5, 1.0, 2.0])
small_language = FiniteLanguageModel({"": {"g": 0.6, "b": 0.2, "$": 0.2}, "b": {"g": 0.2, "b": 0.5, "$": 0.3}})
small_reward = FunctionRewardModel(lambda prompt, text: 0.9 if text.endswith("g") else 0.1)


class OneOfThree(LanguageModelStateSpace):
    def init(self, state, prompts):
        super().init(state, prompts)
        which = pyro.sample("which", dist.Categorical(torch.full((3,), 1 / 3)))
        state["temperature"] = TEMPERATURES[which]


log_evidences = [
    enumerate_posterior(
        LanguageModelStateSpace(small_language, small_reward, temperature=float(one), max_steps=6), "?"
    ).log_evidence
    for one in TEMPERATURES
]
exact = torch.softmax(torch.tensor(log_evidences), 0)
small = OneOfThree(small_language, small_reward, max_steps=6)
result = ParticleFilter(small, num_particles=1000 if SMOKE else 4000).run("?", seed=0)
print("temperature        ", *(f"{float(one):7.1f}" for one in TEMPERATURES))
print("exact posterior    ", *(f"{float(one):7.3f}" for one in exact))
print("filter             ", *(f"{result.weights @ (result.latents['which'] == which):7.3f}" for which in range(3)))

# %% [markdown]
# Now on the transformer, with a continuous prior. There is no enumeration, but the same rule still checks it: run the
# model at some *fixed* temperatures, and multiply each one's evidence with the prior density.

# %%
PRIOR = dist.LogNormal(0.0, 0.5)


class UnknownTemperature(LanguageModelStateSpace):
    def init(self, state, prompts):
        super().init(state, prompts)
        state["temperature"] = pyro.sample("temperature", PRIOR)


problem = (
    "Ravi has 60 marbles. Then he uses 16 marbles. Then he gets as many more as he had at first. He puts them into 8 equal "
    "piles and keeps one pile. How many marbles does Ravi have in the end?"
)
unknown = UnknownTemperature(language_model, FunctionRewardModel(calculator))
result = pooled(unknown, num_particles=64, num_replicates=6)
runs = [(share, one) for share, one in zip(result.replicate_weights, result.replicates, strict=True) if share > 0]
temperatures = np.concatenate([one.latents["temperature"] for _, one in runs])
weights = np.concatenate([share * one.weights for share, one in runs])
print(f"prior mean {float(PRIOR.mean):.2f}, posterior mean {weights @ temperatures:.2f}")
print(f"{len(np.unique(temperatures[weights > 0]))} different temperatures are left of {len(temperatures)}")

grid = np.array([0.4, 0.7, 1.0, 1.4, 2.0])
fixed = [LanguageModelStateSpace(language_model, FunctionRewardModel(calculator), temperature=one) for one in grid]
log_evidences = [pooled(one, num_particles=48, num_replicates=2).log_evidence for one in fixed]
height = np.exp(log_evidences) * lognorm.pdf(grid, 0.5)

# %%
fine = np.linspace(0.05, 3.0, 200)
figure, axes = plt.subplots(figsize=(8, 3), layout="constrained")
bins = np.linspace(0, 3, 16)
axes.hist(temperatures, bins, weights=weights / 0.2, color="lightgray", edgecolor="gray", label="filter")
axes.plot(fine, lognorm.pdf(fine, 0.5), "k:", label="prior")
axes.plot(grid, height / trapezoid(height, grid), "ko-", label="fixed temperatures")
axes.set(xlabel="temperature (no unit)", ylabel="density", xlim=(0, 3))
axes.legend(frameon=False)
plt.show()

# %% [markdown]
# The evidence prefers the colder ones, and the posterior says by how much. One caution: the temperature is drawn once, in
# `init`, and cannot move afterwards, so every resampling leaves fewer different values. More particles help, as does a
# chain that draws it anew (tutorial 6).
#
# ## The same evidence under another proposal
#
# A guide may touch several sites: this one draws lower temperatures, and steps that are more careful still than these
# temperatures ask for. Sites that a guide leaves out come from the model. Whatever it does, the evidence must stay the
# same: that is the best test of a guide, and of its weights.


# %%
class Careful:
    def __init__(self, model):
        self.model = model

    def init(self, state, prompts):
        pyro.sample("temperature", dist.LogNormal(-0.4, 0.5))

    def step(self, state, t):
        transition = self.model.transition(state, t)
        pyro.sample(f"x_{t}", transition.proposal(temperature=0.8 * state["temperature"]))


print(f"drawn from the model: evidence = {evidence(result)}")
careful = pooled(unknown, Careful(unknown), num_particles=64, num_replicates=6)
print(f"drawn by the guide:   evidence = {evidence(careful)}")

# %% [markdown]
# ## Your own family of reward-model checkpoints
#
# For a checkpoint whose format the library does not know, write a class with two methods: `layout` says which tokens the
# checkpoint reads for a problem and its steps so far, and `logit` reads the log-odds of "right" off the hidden state at
# the last of them. Caches, resampling, aggregation over steps and a check at load time come with the base class. This one
# reads the embedded checkpoint, so we can compare with the family that is built in.

# %%
from transformers import AutoModelForTokenClassification

from ppl_scaling.backends.reward_models import TransformersRewardModel, linear


class LineByLine(TransformersRewardModel):
    family = "line-by-line"
    auto_class = AutoModelForTokenClassification

    def layout(self, problem, steps):
        tokens = list(self.encode(f"<|bos|><|user|>{problem}<|assistant|>"))
        for step in steps:
            tokens += [*self.encode(step.strip()), *self.encode("\n")]
        return tokens

    def logit(self, hidden):
        wrong, right = linear(self.model.score, hidden).unbind(-1)
        return right - wrong


mine = load_reward_model(REWARD_MODEL_PATH, family=LineByLine)
print(mine)
steps = ["Mia finds 9 bags of 8: 9 * 8 = 72.", "Mia finds 72 more: 60 + 72 = 122."]
for judge in (reward_model, mine):
    session = judge.start([books], num_particles=1)
    scores = [float(torch.sigmoid(session.score([step]))) for step in steps]
    print(f"{judge.family:20s}", "  ".join(f"{score:.4f}" for score in scores))

# %% [markdown]
# The second step is wrong (60 + 72 = 132), and both say so in the same number.
#
# ## Your own task
#
# Problems are texts with a right answer; an *answer format* finds the answer in what was written and says when two are the
# same. `evaluate` runs a method on all problems, writes a line for each, and goes on where it was if it is interrupted.


# %%
class LastNumber:
    def extract(self, text):
        numbers = re.findall(r"\d+", text)
        return numbers[-1] if numbers else None

    def equivalent(self, first, second):
        return int(first) == int(second)


task = [
    Problem(id=str(number), problem=one.problem, answer=one.answer)
    for number, one in enumerate(generate_problems(4 if SMOKE else 24, num_steps=3, seed=11))
]
methods = {
    "majority vote": MajorityVote(plain, num_completions=8, answer_format=LastNumber()),
    "filter, calculator": ParticleFilter(checked, num_particles=8, answer_format=LastNumber()),
}
with tempfile.TemporaryDirectory() as folder:
    for name, method in methods.items():
        records = evaluate(method, task, f"{folder}/{name}.jsonl", batch_size=12)
        summary = summarize(records)
        interval = f"[{summary.accuracy_low:.2f}, {summary.accuracy_high:.2f}]"
        print(f"{name:20s} accuracy {summary.accuracy:.2f} {interval}, {summary.generated_tokens} tokens")

# %% [markdown]
# ## No language model at all
#
# The filter knows nothing of language. Here is a random walk with two regimes, calm and wild, seen through noise: `init`
# and `step` as before, and what is observed is an argument of `step`.

# %%
SWITCH = torch.tensor([[0.9, 0.1], [0.3, 0.7]])  # P(next regime | calm), P(next regime | wild)
WALK = torch.tensor([0.2, 2.0])  # standard deviation of a step of the walk
NOISE = 0.5


class Regimes:
    def init(self, state):
        size = state.num_groups * state.group_size
        state["wild"] = torch.zeros(size, dtype=torch.long)
        state["level"] = torch.zeros(size)

    def step(self, state, t, y):
        state["wild"] = pyro.sample(f"wild_{t}", dist.Categorical(SWITCH[state["wild"]]))
        state["level"] = pyro.sample(f"level_{t}", dist.Normal(state["level"], WALK[state["wild"]]))
        pyro.sample(f"y_{t}", dist.Normal(state["level"], NOISE), obs=y)


data = np.array([0.1, -0.4, 0.3, 0.2, 2.6, 5.1, 4.2, 4.6, 4.0, 4.3, 4.5, 4.1])
pyro.set_rng_seed(0)
smc = SMCFilter(Regimes(), num_particles=500 if SMOKE else 4000)
smc.init()
estimate = []
for t, y in enumerate(torch.tensor(data, dtype=torch.float32), start=1):
    smc.step(t, y)
    weights, level = torch.softmax(smc.log_weights[0], -1), smc.state["level"].double()
    mean = weights @ level
    spread = (weights @ (level - mean) ** 2).sqrt()
    estimate.append([float(weights @ smc.state["wild"].double()), float(mean), float(spread)])
wild, level, spread = np.array(estimate).T

# %% [markdown]
# If the regimes were known, this would be linear and Gaussian, and the Kalman filter exact. They are not, but there are
# only $2^{12}$ paths of them: so the exact answer is the mixture of that many Kalman filters, which is a few lines of
# NumPy.

# %%
switch, walk = SWITCH.double().numpy(), WALK.double().numpy()
paths = np.array(list(itertools.product((0, 1), repeat=len(data))))
log_weight, mean, variance, before = np.zeros(len(paths)), np.zeros(len(paths)), np.zeros(len(paths)), 0
exact = []
for t, y in enumerate(data):
    log_weight += np.log(switch[before, paths[:, t]])
    before = paths[:, t]
    variance += walk[before] ** 2
    total = variance + NOISE**2
    log_weight += norm.logpdf(y, mean, np.sqrt(total))
    mean, variance = mean + variance / total * (y - mean), variance * NOISE**2 / total
    share = np.exp(log_weight - np.logaddexp.reduce(log_weight))
    centre = share @ mean
    exact.append([share @ before, centre, math.sqrt(share @ (variance + (mean - centre) ** 2))])
exact_wild, exact_level, exact_spread = np.array(exact).T
log_evidence = np.logaddexp.reduce(log_weight)
print(f"log evidence: exact {log_evidence:.3f}, filter {smc.log_evidence.item():.3f}")
print(f"largest difference: level {abs(level - exact_level).max():.3f}, P(wild) {abs(wild - exact_wild).max():.3f}")

# %%
figure, (upper, lower) = plt.subplots(2, 1, figsize=(8, 4.5), sharex=True, layout="constrained", height_ratios=(2, 1))
time = np.arange(1, len(data) + 1)
band = 1.645 * spread
upper.fill_between(time, level - band, level + band, color="lightgray", label="filter: mean ± 1.645 standard deviations")
upper.plot(time, exact_level, "k-", label="exact mean")
upper.plot(time, data, "ko", markerfacecolor="white", label="observed")
upper.set_ylabel("level")
upper.legend(frameon=False, loc="upper left")
lower.bar(time, wild, color="lightgray", edgecolor="gray", label="filter")
lower.plot(time, exact_wild, "kx", label="exact")
lower.set(xlabel="time (steps)", ylabel="P(wild | data so far)", ylim=(0, 1.05), xticks=time)
lower.legend(frameon=False)
plt.show()

# %% [markdown]
# A single run proves little. Over many runs, which are groups of one batch, the mean of $\hat Z / Z$ must be 1:

# %%
smc = SMCFilter(Regimes(), num_particles=100, num_groups=100 if SMOKE else 400)
smc.init()
for t, y in enumerate(torch.tensor(data, dtype=torch.float32), start=1):
    smc.step(t, y)
ratio = (smc.log_evidence - log_evidence).exp()
standard_error = float(ratio.std()) / math.sqrt(len(ratio))
print(f"mean of Z-hat / Z over {len(ratio)} filters: {float(ratio.mean()):.3f} ± {standard_error:.3f}")
assert abs(float(ratio.mean()) - 1) < 5 * standard_error

# %% [markdown]
# **Next:**
#
# * Give `BrokenSeven` a reward model and see which wins, the reward or the keyboard.
# * Put what a particle must remember into `state` as a tensor (how many computations it has made, say), and observe it.
# * Write a likelihood of your own: a subclass of `ppl_scaling.models.Likelihood` with one method, `log_increment`.
# * Tutorial 5 looks at posteriors with ArviZ; tutorial 6 is about what to do when one run of a filter is not enough.
