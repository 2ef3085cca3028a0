# %% [markdown]
# # 6. Particle Gibbs and parallel tempering
#
# **Question:** a particle filter never goes back. What if the best answers begin with a step that looks bad? When is one
# run not enough, how would I notice, and what then?
#
# Three remedies: run many small filters and pool them (*islands*), use the filter as the move of a Markov chain (*particle
# Gibbs*), and let several such chains, with weaker and weaker rewards, exchange what they find (*parallel tempering*).
# Each has the same target as the filter, and each is checked here against exact enumeration.

# %%
import itertools
import os

import arviz as az
import matplotlib.pyplot as plt
import numpy as np

from ppl_scaling.backends import FiniteLanguageModel, FunctionRewardModel, TransformersLanguageModel, load_reward_model
from ppl_scaling.inference import (
    Islands,
    ParallelTempering,
    ParticleFilter,
    ParticleGibbs,
    enumerate_posterior,
    stratified,
    to_arviz,
)
from ppl_scaling.models import LanguageModelStateSpace, TwistLikelihood
from ppl_scaling.models.pretrained import LANGUAGE_MODEL_PATH, REWARD_MODEL_PATH

SMOKE = "CI" in os.environ  # shorter chains, so that the test is quick

# %% [markdown]
# ## Two roads
#
# An answer is one of two roads, `a` or `b`, and four letters more. The reward model likes road `a` until the very end,
# where it turns out that `b` was better. With `TwistLikelihood` the posterior is the language model times the *last*
# score: the scores before it only steer the particles, here in the wrong direction.

# %%
LENGTH = 4


def two_roads(letters):
    """A model whose answers are a road and LENGTH letters of that road's own."""
    table = {"": {"a": 0.5, "b": 0.5}}
    for road, own in letters.items():
        for length in range(LENGTH):
            for word in itertools.product(own, repeat=length):
                table[road + "".join(word)] = {letter: 0.5 for letter in own}
        for word in itertools.product(own, repeat=LENGTH):
            table[road + "".join(word)] = {"$": 1.0}

    def score(prompt, text):
        if len(text) <= LENGTH:
            return 0.9 if text[0] == "a" else 0.01
        liked = sum(letter == letters[text[0]][0] for letter in text[1:])
        return (0.25 if text[0] == "a" else 0.9) * (1 + liked) / (1 + LENGTH)

    reward = FunctionRewardModel(score, scores_prefixes=True)
    return LanguageModelStateSpace(FiniteLanguageModel(table), reward, TwistLikelihood(), max_steps=LENGTH + 2)


class Road:
    """The answer is the first letter."""

    def extract(self, text):
        return text[0]

    def equivalent(self, first, second):
        return first == second


model = two_roads({"a": "uv", "b": "xy"})
exact = enumerate_posterior(model, "?")
target = exact.answers(Road())["b"]
print(f"{len(exact.trajectories)} answers, log evidence {exact.log_evidence:.3f}, P(road b) = {target:.3f}")

# %% [markdown]
# ## What a small filter makes of it

# %%
SETTINGS = {"answer_format": Road(), "ess_threshold": 0.9}
num_runs = 60 if SMOKE else 200


def share(result):
    """Posterior probability of road b in one run."""
    return next((one.probability for one in result.answers if one.answer == "b"), 0.0)


small = ParticleFilter(model, num_particles=4, **SETTINGS).run_batch(["?"] * num_runs, seed=0)
# Stratified, as the even spacing of systematic resampling can fall in step with weights that take two values only.
large = ParticleFilter(model, num_particles=1000, resampling=stratified, **SETTINGS).run_batch(["?"] * 10, seed=0)
shares, large_shares = (np.array([share(one) for one in results]) for results in (small, large))
evidences = np.exp([one.log_evidence for one in small])
print(f"exact: P(road b) = {target:.3f}")
for number, found in ((4, shares), (1000, large_shares)):
    mean, spread = found.mean(), found.std(ddof=1)
    print(f"{number:4d} particles, {len(found):3d} runs: mean {mean:.3f}, standard deviation {spread:.3f}")

# %%
figure, axes = plt.subplots(figsize=(8, 2.8), layout="constrained")
axes.hist(shares, bins=np.linspace(0, 1, 21), color="lightgray", edgecolor="gray", label="filters with 4 particles")
axes.axvline(target, color="black", linestyle="--", label="exact")
axes.set(xlabel="P(road b) of one run", ylabel="number of runs")
axes.legend(frameon=False)
plt.show()

# %% [markdown]
# Nearly every run with few particles loses road `b` at the first resampling and is then sure of the wrong road. Nothing
# inside such a run shows the mistake. Many particles help, if the memory holds them; but even of 1000 only about ten are
# on road `b` after the first resampling.
#
# ## Islands: pool by the evidence
#
# The estimate of the *evidence* is unbiased even for four particles: the few runs that found road `b` have a far larger
# one. `Islands` runs a method several times in one batch, pools the runs in proportion to it, and takes standard errors
# between replicates, by the jackknife.

# %%
islands = Islands(ParticleFilter(model, num_particles=4, **SETTINGS), num_replicates=num_runs).run("?", seed=0)
leading = islands.answers[0]
print(f"mean evidence {evidences.mean():.3f} (exact {np.exp(exact.log_evidence):.3f})")
print(f"plain mean over runs  P(road b) = {shares.mean():.3f}")
print(f"pooled by evidence    P(road {leading.answer}) = {leading.probability:.3f} ± {leading.standard_error:.3f}")
print(f"log evidence {islands.log_evidence:.3f} ± {islands.log_evidence_standard_error:.3f}")
largest = np.sort(islands.replicate_weights)[::-1]
print(f"the 10 weightiest of {num_runs} runs have {largest[:10].sum():.0%} of the weight")

# %% [markdown]
# ## Particle Gibbs: a filter as the move of a Markov chain
#
# *Conditional* SMC is a filter in which one particle is given, the trajectory where the chain stands; a draw from the
# weighted particles is the next state. The chain has the right target for any number of particles from two on. `run_batch`
# with the same problem several times gives independent chains, and `to_arviz` hands them to ArviZ.

# %%
num_chains, num_iterations = 8, 20 if SMOKE else 200
chain = {"num_particles": 4, "num_iterations": num_iterations, **SETTINGS}


def looked_at(results):
    """What ArviZ says of the indicator of road b, and the indicator itself, shape (chains, iterations)."""
    data = to_arviz(results, answer_format=Road())
    code = list(data.constant_data["answer_text"].values).index("b")
    draws = data.posterior["answer_indicator"].isel(answer_code=code).values.astype(float)
    tokens = sum(result.lm_tokens_forwarded for result in results)
    print(f"P(road b) = {draws.mean():.3f} (exact {target:.3f}), ", end="")
    print(f"R-hat {az.rhat(draws):.2f}, ESS {az.ess(draws):.0f}, {tokens} tokens")
    return draws


gibbs = ParticleGibbs(model, **chain).run_batch(["?"] * num_chains, seed=1)
gibbs_draws = looked_at(gibbs)

# %%
figure, axes = plt.subplots(figsize=(8, 2.6), layout="constrained")
axes.imshow(1 - gibbs_draws, aspect="auto", cmap="gray", interpolation="nearest", vmin=0, vmax=1.3)
axes.set(xlabel="iteration", ylabel="chain", title="particle Gibbs: gray is road a, black road b")
plt.show()

# %% [markdown]
# Each chain stays for long on the road it is on. **R-hat** compares the spread between chains with that within them; far
# above 1.01 it says that they have not seen the same distribution. **ESS** says how many independent draws the chains are
# worth. Beware of the case that R-hat cannot see: all chains on the same wrong road. Different starts are what it needs.
#
# ## Ancestor sampling
#
# The given trajectory keeps its own past, so its early steps hardly ever change. `ancestor_sampling=True` draws its past
# anew at every resampling: whose beginning could this ending have come from? That needs endings that *fit* other
# beginnings. Let both roads use the same letters, and count how often each step of the chain changes (`update_rate`).

# %%
shared = two_roads({"a": "uv", "b": "uv"})
assert abs(enumerate_posterior(shared, "?").answers(Road())["b"] - target) < 1e-9
print("without: ", end="")
without = ParticleGibbs(shared, **chain).run_batch(["?"] * num_chains, seed=2)
_ = looked_at(without)
print("with:    ", end="")
ancestral = ParticleGibbs(shared, ancestor_sampling=True, **chain).run_batch(["?"] * num_chains, seed=2)
_ = looked_at(ancestral)

# %%
figure, axes = plt.subplots(figsize=(8, 2.8), layout="constrained")
steps = np.arange(1, LENGTH + 2)
for name, results, style in [("without", without, "ko--"), ("with ancestor sampling", ancestral, "ks-")]:
    rates = np.mean([one.update_rate[: len(steps)] for one in results], axis=0)
    axes.plot(steps, rates, style, markerfacecolor="white", label=name)
axes.set(xlabel="step", ylabel="share of iterations\nthat change it", ylim=(0, 0.5), xticks=steps)
axes.legend(frameon=False)
plt.show()

# %% [markdown]
# Where the letters of the roads differ, no ending fits another beginning, and ancestor sampling changes nothing:

# %%
print("different letters, with ancestor sampling: ", end="")
unmoved = ParticleGibbs(model, ancestor_sampling=True, **chain).run_batch(["?"] * num_chains, seed=3)
_ = looked_at(unmoved)

# %% [markdown]
# ## Parallel tempering
#
# Level $k$ of a ladder has the target $p_\mathrm{LM}(x)\, L(x)^{b_k}$, with $L$ the likelihood of the whole answer. At $b
# = 0$ there is no reward and the chain moves freely; at $b = 1$ it is our posterior. Neighbouring levels propose to swap
# where they stand. All levels run as groups of one batch.

# %%
tempering = ParallelTempering(model, powers=(1.0, 0.3, 0.0), **chain)
tempered = tempering.run_batch(["?"] * num_chains, seed=4)
tempered_draws = looked_at(tempered)
print("powers    ", tempered[0].powers)
print("swap rates", np.mean([one.swap_rates for one in tempered], axis=0).round(2), "between neighbours")
print("walkers went down the ladder and up again", sum(one.round_trips for one in tempered), "times")

# %%
figure, (upper, lower) = plt.subplots(2, 1, figsize=(8, 4.4), layout="constrained")
upper.imshow(1 - tempered_draws, aspect="auto", cmap="gray", interpolation="nearest", vmin=0, vmax=1.3)
upper.set(ylabel="chain", xlabel="iteration", title="parallel tempering: gray is road a, black road b")
span = min(40, num_iterations)
for walker, style in enumerate(("k-", "k--")):
    levels = np.argmax(tempered[0].replicas[:span] == walker, axis=1)
    lower.plot(np.arange(span), levels, style, linewidth=1, label=f"walker {walker + 1} of chain 0")
lower.set(xlabel="iteration", ylabel="power", yticks=range(3), yticklabels=tempered[0].powers)
lower.invert_yaxis()
lower.legend(frameon=False, ncols=2, loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0.1)
plt.show()

# %% [markdown]
# The roads now alternate, R-hat is near 1 and the ESS more than ten times that of particle Gibbs, for three times the
# tokens. Swap rates should be neither near 0 (put a power in between) nor all near 1 (leave one out).
#
# ## All of them at once
#
# A chain averages over its weighted particles (`answers`), not only over its draws. Its standard error comes from the
# autocorrelation; between chains there is a second one, which does not trust the chains.

# %%
print(f"{'exact':22s} {target:.3f}")
print(f"{'islands':22s} {share(islands):.3f} ± {islands.answers[0].standard_error:.3f} (between replicates)")
for name, results in {"particle Gibbs": gibbs, "parallel tempering": tempered}.items():
    found = np.array([share(one) for one in results])
    print(f"{name:22s} {found.mean():.3f} ± {found.std(ddof=1) / np.sqrt(len(found)):.3f} (between {len(found)} chains)")

# %% [markdown]
# ## On a language model
#
# The same classes on the embedded transformer, which adds and subtracts with errors (the right answer is 54). Four chains
# each, and for comparison one filter that is far larger.

# %%
language_model = TransformersLanguageModel.from_pretrained(LANGUAGE_MODEL_PATH)
reward_model = load_reward_model(REWARD_MODEL_PATH)
model = LanguageModelStateSpace(language_model, reward_model)
problem = (
    "Max has 64 cards. Then he loses 3 baskets with 5 cards in each basket. Then he makes 5 more cards. "
    "How many cards does Max have in the end?"
)
num_iterations = 6 if SMOKE else 12
chain = {"num_particles": 4 if SMOKE else 8, "num_iterations": num_iterations, "burn_in": 1 if SMOKE else 2}
runs = {
    "particle Gibbs": ParticleGibbs(model, **chain),
    "with ancestor sampling": ParticleGibbs(model, ancestor_sampling=True, **chain),
    "parallel tempering": ParallelTempering(model, powers=(1.0, 0.5, 0.2), **chain),
}
found = {name: method.run_batch([problem] * 4, seed=5) for name, method in runs.items()}
found["large filter"] = [ParticleFilter(model, num_particles=32 if SMOKE else 512).run(problem, seed=6)]

means = {}
for name, results in found.items():
    means[name] = {}
    for result in results:
        for one in result.answers:
            means[name][one.answer] = means[name].get(one.answer, 0.0) + one.probability / len(results)
    tokens = sum(one.lm_tokens_forwarded for one in results)
    leading = sorted(means[name].items(), key=lambda one: -one[1])[:3]
    print(f"{name:24s}", "  ".join(f"{answer}: {p:.2f}" for answer, p in leading), f"  ({tokens} tokens)")

# %% [markdown]
# `to_arviz` has everything by name: an indicator for every answer, of which R-hat and ESS are asked, the log-likelihood of
# each draw, and for parallel tempering the swap rates. Is ten iterations enough? That is not a matter of taste: where R-hat
# is above some 1.05 or the ESS below a hundred, the answer is to run longer, as one would for anything that counts.

# %%
for name in runs:
    data = to_arviz(found[name])
    with np.errstate(divide="ignore", invalid="ignore"):  # chains that stand still
        table = az.summary(data, var_names=["answer_indicator", "total_log_likelihood"], kind="diagnostics", round_to=2)
    print(name)
    print(table[["ess_bulk", "r_hat"]].iloc[[0, -1]].to_string(), "\n")
print("swap rates", np.mean([one.swap_rates for one in found["parallel tempering"]], axis=0).round(2))

# %%
figure, axes = plt.subplots(figsize=(8, 3), layout="constrained")
shown = sorted(means["large filter"], key=means["large filter"].get, reverse=True)[:5]
for place, (name, table) in enumerate(means.items()):
    shade = ("white", "lightgray", "dimgray", "black")[place]
    heights = [table.get(answer, 0.0) for answer in shown]
    axes.bar(np.arange(len(shown)) + 0.2 * place - 0.3, heights, 0.2, color=shade, edgecolor="black", label=name)
axes.set_xticks(range(len(shown)), shown)
axes.set(xlabel="answer", ylabel="posterior probability")
axes.legend(frameon=False)
plt.show()

# %% [markdown]
# **When to use which.** More particles first, as long as they fit into memory: they run in one batch and give an evidence
# with an error. Islands when you want error bars that trust nothing inside a run. Particle Gibbs when memory is short and
# time is not; with ancestor sampling if endings fit other beginnings. Parallel tempering when good answers begin badly.
#
# **Next:** make the trap deeper (0.01 in `score`) and see which method gives way first; leave out the power 0.3; or ask
# `ppl_scaling.diagnostics.diagnose(result)` what it thinks of these chains.
