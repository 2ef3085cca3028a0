# %% [markdown]
# # 2. The PRM as a likelihood
#
# **Question:** a process reward model (PRM) gives every step of an answer a score between 0 and 1. Which distribution over
# answers does that define? There is more than one, and which you choose decides whether long or short answers win.
#
# A *likelihood* in Bayes' rule says how probable the observations are under each explanation. Here the explanations are
# answers $x$, the prior is the language model $p_\mathrm{LM}(x)$, and the likelihood is made of scores $r_1, \dots, r_T$.
# On worlds small enough to list every answer we look at three ways to make it, with nothing sampled; then at the real PRM.

# %%
import os

import matplotlib.pyplot as plt
import numpy as np
import torch
from torch.nn.functional import logsigmoid

from ppl_scaling.backends import FiniteLanguageModel, FunctionRewardModel
from ppl_scaling.inference import ParticleFilter, enumerate_posterior
from ppl_scaling.models import BernoulliLikelihood, LanguageModelStateSpace, OddsLikelihood, TwistLikelihood

SMOKE = "CI" in os.environ  # the tests run this page with fewer particles

# %% [markdown]
# ## Three targets
#
# | class | each step multiplies the weight by | target: $p_\mathrm{LM}(x)$ times |
# |---|---|---|
# | `BernoulliLikelihood` | $r_t$ | $\prod_t r_t$: every step was judged right |
# | `TwistLikelihood` | $r_t / r_{t-1}$ | $r_T$: the last score; those before it only steer the particles |
# | `OddsLikelihood` | $r_t / (1 - r_t)$ | $\prod_t r_t / (1 - r_t)$: what the paper's released code weighs with |
#
# The world of tutorial 1: a writer makes good steps (`g`) and blunders (`b`) and ends at some point. The PRM scores the
# answer so far: .9, .4 or .1 after no, one or more blunders. An answer that has not ended after six steps is cut.

# %%
writer = FiniteLanguageModel(
    {
        "": {"g": 0.6, "b": 0.4, "$": 0.0},
        "g": {"g": 0.5, "b": 0.2, "$": 0.3},
        "b": {"g": 0.2, "b": 0.5, "$": 0.3},
    }
)
judge = FunctionRewardModel(lambda prompt, text: (0.9, 0.4, 0.1)[min(text.count("b"), 2)])
LIKELIHOODS = {"Bernoulli": BernoulliLikelihood(), "twist": TwistLikelihood(), "odds": OddsLikelihood()}


def posterior_of(likelihood, max_steps=6):
    return enumerate_posterior(LanguageModelStateSpace(writer, judge, likelihood, max_steps=max_steps), "?")


targets = {"language model": posterior_of(TwistLikelihood(beta=0))}  # power 0: no likelihood at all
targets |= {name: posterior_of(likelihood) for name, likelihood in LIKELIHOODS.items()}

# %% [markdown]
# All four on one picture: how many blunders an answer has, and in how many letters it is written.

# %%
figure, panels = plt.subplots(1, 4, figsize=(10, 2.4), sharey=True, layout="constrained")
for axes, (name, target) in zip(panels, targets.items(), strict=True):
    table = np.zeros((3, 6))
    for one in target.trajectories:
        table[min(one.text.count("b"), 2), len(one.text) - 1] += one.probability
    axes.imshow(table, cmap="Greys", vmin=0, vmax=0.6, aspect="auto")
    for (row, column), share in np.ndenumerate(table):
        if share >= 0.005:
            axes.text(column, row, f"{share:.2f}"[1:], ha="center", va="center", color="white" if share > 0.3 else "black")
    length = sum(one.probability * len(one.text) for one in target.trajectories)
    axes.set_title(f"{name}\nmean length {length:.1f}", fontsize=10)
    axes.set_xticks(range(6), range(1, 7))
    axes.set_xlabel("letters")
panels[0].set_yticks(range(3), ["0", "1", "2 or more"])
panels[0].set_ylabel("blunders")
plt.show()

# %% [markdown]
# All three move weight to answers without blunders. But Bernoulli makes answers shorter than the language model does,
# since each further step costs a factor below 1. The odds make them longer: a step with score .9 *earns* a factor of 9.
# The twist has no such habit: given the number of blunders, lengths are as the language model has them.
#
# The filter samples each of these targets. Every answer is a point here, with two standard errors.


# %%
class WholeText:
    """An answer is the whole text. (Usually it is what stands in a box.)"""

    def extract(self, text):
        return text or None

    def equivalent(self, first, second):
        return first == second


figure, axes = plt.subplots(figsize=(4.6, 4.2), layout="constrained")
for (name, likelihood), marker in zip(LIKELIHOODS.items(), "osD", strict=True):
    model = LanguageModelStateSpace(writer, judge, likelihood, max_steps=6)
    result = ParticleFilter(model, num_particles=1000, answer_format=WholeText()).run("?", seed=0)
    exact = targets[name].answers(WholeText())
    pairs = [
        (exact[one.answer], one.probability, 2 * one.standard_error) for one in result.answers if exact[one.answer] > 3e-3
    ]
    axes.errorbar(
        *np.transpose(pairs)[:2],
        yerr=np.transpose(pairs)[2],
        marker=marker,
        ls="",
        mfc="white",
        color="black",
        capsize=2,
        label=f"{name}: log evidence {result.log_evidence:.2f}, exact {targets[name].log_evidence:.2f}",
    )
axes.plot([2e-3, 0.6], [2e-3, 0.6], color="0.6", lw=1)
axes.set_xscale("log")
axes.set_yscale("log")
axes.set_xlabel("exact posterior probability of an answer")
axes.set_ylabel("by 1000 particles")
axes.legend(frameon=False, fontsize=8)
plt.show()

# %% [markdown]
# ## Length bias
#
# To see length alone, take a writer that chooses with equal probability between a short way of two steps and a long one.
# Both are equally good: every score on either is .9.


# %%
def two_ways(num_steps):
    """A short way ``s.`` and a long one ``l...``; the step that ends an answer is scored too."""
    rows = {"": {"s": 0.5, "l": 0.5}, "s": {"$": 1.0}}
    rows |= {"l" + "." * done: {".": 1.0} for done in range(num_steps - 2)}
    return FiniteLanguageModel(rows | {"l" + "." * (num_steps - 2): {"$": 1.0}})


def long_way(num_steps, score, likelihood, **settings):
    """Posterior probability of the long way."""
    model = LanguageModelStateSpace(two_ways(num_steps), FunctionRewardModel(score, **settings), likelihood)
    target = enumerate_posterior(model, "?")
    return sum(one.probability for one in target.trajectories if one.text.startswith("l"))


lengths = range(2, 13)
figure, axes = plt.subplots(figsize=(6.5, 3), layout="constrained")
for (name, likelihood), marker in zip(LIKELIHOODS.items(), "osD", strict=True):
    shares = [long_way(steps, lambda prompt, text: 0.9, likelihood) for steps in lengths]
    axes.plot(lengths, shares, marker=marker, color="black", mfc="white", label=name)
axes.set_xlabel("steps of the long way (the short one has 2)")
axes.set_ylabel("probability of the long way")
axes.set_ylim(0, 1.05)
axes.legend(frameon=False)
plt.show()

# %% [markdown]
# Same scores, three verdicts. With the odds it is worse than a habit. In the world above a good step is followed by
# another with probability .5 and then earns a factor of 9. So longer answers have ever more weight, and it is the limit on
# steps alone that decides:

# %%
for max_steps in (4, 6, 8, 10):
    print(
        f"limit {max_steps:2d}:",
        *(f"{name} {posterior_of(one, max_steps).log_evidence:6.2f}  " for name, one in LIKELIHOODS.items()),
    )

# %% [markdown]
# The evidence under Bernoulli and twist settles; that under the odds grows without end.
#
# **What to do** depends on what your PRM's scores mean.
#
# * *A score speaks of one step*: "this step is right, given that those before it were". Then $\prod_t r_t$ is the
#   probability that all steps are right, and a longer way has more chances to go wrong. Bernoulli is right, and not
#   biased.
# * *A score speaks of the whole prefix*: "this will end well" (a value function, an outcome score). Then .9 after each of
#   ten steps is the same statement ten times, and Bernoulli counts it ten times. The twist counts it once.
# * *Scores of steps, but all lengths should have an equal chance*: aggregate them to a score of the prefix, and twist.
#   With `prod` that is Bernoulli's target again; with `min` an answer counts as its worst step.

# %%
prefix = {"scores_prefixes": True}  # then the twist is what LanguageModelStateSpace takes by default
eight = {
    "Bernoulli, .9 for each step": long_way(8, lambda prompt, text: 0.9, BernoulliLikelihood()),
    "twist of the product": long_way(
        8, lambda prompt, text: 0.9 ** (len(text) + 1), None, **prefix
    ),  # T steps leave T - 1 letters
    "twist of the minimum": long_way(8, lambda prompt, text: 0.9, None, **prefix),
}
for name, share in eight.items():
    print(f"long way of 8 steps, {name:28s} {share:.3f}")

# %% [markdown]
# On a transformer `aggregation="prod"` or `"min"` of `load_reward_model` does the same. And a reward model says which kind
# it is: `reward_model.scores_prefixes` picks the default likelihood.
#
# ## Scores near 0 and 1
#
# PRMs like to be sure: on easy steps most scores are above .99. A PRM computes a *logit* $l$, the logarithm of the odds $r
# / (1 - r)$, and from it the score $r = \sigma(l)$. In low precision that is rounded to 1 while the logit is still
# moderate.

# %%
logits = torch.linspace(0, 20, 401, dtype=torch.float64)
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
for kind, style in ((torch.bfloat16, "-"), (torch.float16, "--"), (torch.float32, ":")):
    score = torch.sigmoid(logits).to(kind)
    again = torch.logit(score.double())
    kept = int((score < 1).sum())
    name = f"{str(kind).removeprefix('torch.')}: exactly 1 from {float(logits[kept]):.1f} on"
    left.plot(logits[:kept], again[:kept], style, color="black", marker="x", markevery=[kept - 1], label=name)
left.plot(logits, logits, color="0.8", lw=5, zorder=0, label="exact")
left.set_xlabel("logit that the PRM computed")
left.set_ylabel("logit of the rounded score")
left.legend(frameon=False)

around = torch.linspace(-8, 8, 200, dtype=torch.float64)
right.plot(around, logsigmoid(around), "-", color="black", label=r"$\log r$ (Bernoulli, twist)")
right.plot(around, 8 * logsigmoid(around), "--", color="black", label=r"$8 \log r$ (power 8)")
right.plot(around, around, ":", color="black", label=r"$\log r/(1-r)$ (odds)")
right.set_ylim(-16, 9)
right.set_xlabel("logit of the score")
right.set_ylabel("log-weight (nats)")
right.legend(frameon=False)
plt.show()

# %% [markdown]
# Left: what a score that has been stored as a probability still knows. Right: who needs it. Near 1 the logarithm $\log r$
# is flat, so that Bernoulli and twist don't care much; the odds do. Take four answers that are equally probable under the
# language model:

# %%
four = torch.tensor([5.0, 7.0, 9.0, 11.0], dtype=torch.float64)
unsure = torch.tensor(torch.inf, dtype=torch.float64)  # "the score before the first step is 1"
rounded = torch.sigmoid(four).to(torch.bfloat16).double()
for name, likelihood in {"odds, temperature 2": OddsLikelihood(2.0), "twist, power 8": TwistLikelihood(8.0)}.items():
    for source, values in {
        "from logits": four,
        "from bfloat16, clipped at 1e-7": torch.logit(rounded.clamp(max=1 - 1e-7)),
    }.items():
        weights = torch.softmax(likelihood.tempered(likelihood.log_increment(values, unsure)), 0)
        print(f"{name:20s} {source:31s}", np.round(weights.numpy(), 3))

# %% [markdown]
# Under the odds the rounded scores cannot tell the last three apart, and where they are clipped decides how much the first
# one counts. So this library never makes a logarithm from a probability. The head of every PRM is computed in float32
# wherever scores are read, also if the model is in bfloat16; likelihoods get logits, and go on in float64 with
# `logsigmoid`, which is exact at both ends.
#
# ## The power
#
# Any likelihood takes a power `beta`: the target becomes $p_\mathrm{LM}(x)\, L(x)^\beta$. With 0 it is the language model,
# with 1 the posterior; more says that the PRM counts for more than one verdict. It has a price. Write $Z(\beta)$ for the
# evidence. Of $N$ independent draws from the language model, weighed at the end, there remain in effect $N\, Z(\beta)^2 /
# Z(2\beta)$.

# %%
powers = [0, 0.5, 1, 2, 4, 8, 16]
evidence = {beta: posterior_of(TwistLikelihood(beta)) for beta in sorted({*powers, *(2 * one for one in powers)})}
clean = [sum(one.probability for one in evidence[beta].trajectories if "b" not in one.text) for beta in powers]
left_over = [np.exp(2 * evidence[beta].log_evidence - evidence[2 * beta].log_evidence) for beta in powers]
figure, axes = plt.subplots(figsize=(6.5, 3), layout="constrained")
axes.plot(powers, clean, "o-", color="black", mfc="white", label="P(no blunder)")
axes.plot(powers, left_over, "s--", color="black", mfc="white", label="share of the draws that is left")
axes.set_xscale("symlog", linthresh=1)
axes.set_xticks(powers, powers)
axes.set_xlabel("power of TwistLikelihood")
axes.set_ylim(0, 1.05)
axes.legend(frameon=False)
plt.show()

# %% [markdown]
# ## Is the PRM right? Calibration
#
# If the last score *is* the probability that the answer is right, then the twist with power 1 has a plain meaning: its
# target is the law of right answers, and its evidence is the language model's rate of right answers. Real PRMs are surer
# than they should be. In our world we know the truth, so let us make such a one.

# %%
from ppl_scaling.inference import BestOfN, fit_calibration
from ppl_scaling.models import CalibratedLikelihood, PlattCalibration

TRUTH = (0.8, 0.3, 0.05)  # probability that an answer is right, after 0, 1, 2 or more blunders


def truth(text):
    return TRUTH[min(text.count("b"), 2)]


def too_sure(prompt, text):
    return float(torch.sigmoid(2 * torch.logit(torch.tensor(truth(text), dtype=torch.float64)) + 2))


sure_judge = FunctionRewardModel(too_sure, scores_prefixes=True)
sure_model = LanguageModelStateSpace(writer, sure_judge, max_steps=6)
rate = sum(np.exp(one.log_prior) * truth(one.text) for one in posterior_of(TwistLikelihood(beta=0)).trajectories)
print(f"rate of right answers {rate:.3f}, evidence {np.exp(enumerate_posterior(sure_model, '?').log_evidence):.3f}")

# %% [markdown]
# A calibration is an increasing map of logits, so it changes no ranking; here a straight line (Platt). Its parameters get
# a posterior from labelled answers: 1000 of the language model's, each marked right or wrong. `CalibratedLikelihood` wraps
# a likelihood with it, and `"marginal"` averages over what is not known of the map.

# %%
answers = BestOfN(sure_model, num_completions=1000, answer_format=WholeText()).run("?", seed=0).trajectories
labels = np.random.default_rng(0).random(1000) < [truth(one.text) for one in answers]
score_logits = torch.logit(torch.tensor([one.score for one in answers], dtype=torch.float64))
fit = fit_calibration(PlattCalibration(), score_logits, labels, seed=0)
for name in fit.draws:
    print(f"{name}: {fit.draws[name].mean():.2f} ± {fit.draws[name].std():.2f}")


def evidence_with(calibration):
    likelihood = CalibratedLikelihood(TwistLikelihood(), calibration, "marginal")
    model = LanguageModelStateSpace(writer, sure_judge, likelihood, max_steps=6)
    return np.exp(enumerate_posterior(model, "?").log_evidence)


of_draws = [evidence_with(fit.posterior.at(index)) for index in range(0, 400, 20)]
print(f"right answers {rate:.3f}; evidence, calibrated {evidence_with(fit.posterior):.3f} ± {np.std(of_draws):.3f}")

# %% [markdown]
# The true map has slope 1/2, so a `log_slope` of about -0.7, and offset -1. The evidence is now close to what it should
# be; what is left is what 1000 labels cannot tell. There are two more ways to use the draws: `"plug_in"` takes their mean
# for certain, and `"latent"` gives every particle a map of its own.
#
# ## The embedded PRM
#
# It was trained to predict how a prefix will end (`scores_prefixes`). We take half of some validation problems to fit, the
# other half to look. The answers to one problem hang together, so each counts as half a label.

# %%
from ppl_scaling.backends import TokenClassificationRewardModel, TransformersLanguageModel
from ppl_scaling.diagnostics import measure_calibration, plot_reliability
from ppl_scaling.models.pretrained import LANGUAGE_MODEL_PATH, REWARD_MODEL_PATH
from ppl_scaling.tasks import answers_equivalent, generate_problems

language_model = TransformersLanguageModel.from_pretrained(LANGUAGE_MODEL_PATH)
reward_model = TokenClassificationRewardModel.from_pretrained(REWARD_MODEL_PATH)
model = LanguageModelStateSpace(language_model, reward_model)
print(model.likelihood)

problems = generate_problems(6 if SMOKE else 96, split="validation", seed=2)
votes = BestOfN(model, num_completions=4).run_batch([one.problem for one in problems], seed=0)


def right(answer, problem):
    return answer is not None and answers_equivalent(answer, problem.answer)


rows = [
    (number, torch.logit(torch.tensor(one.score, dtype=torch.float64)), right(one.answer, problem))
    for number, (problem, vote) in enumerate(zip(problems, votes, strict=True))
    for one in vote.trajectories
]
which, scored, correct = (np.array(column) for column in zip(*rows, strict=True))
half = which % 2 == 0
fit = fit_calibration(PlattCalibration(), scored[half], correct[half], counts=0.5, seed=0)
print(fit)
before = measure_calibration(1 / (1 + np.exp(-scored[~half])), correct[~half], groups=which[~half], num_bins=5)
mapped = fit.posterior.marginal(torch.from_numpy(scored[~half])).sigmoid().numpy()
after = measure_calibration(mapped, correct[~half], groups=which[~half], num_bins=5)
for name, one in {"as it is": before, "calibrated": after}.items():
    print(f"{name:10s}  Brier score {one.brier}   mean score minus share that is right {one.excess}")
plot_reliability(
    before.bin_probability,
    before.bin_frequency,
    before.bin_count,
    low=before.bin_low,
    high=before.bin_high,
    calibration_error=before.ece.value,
    title="embedded PRM, whole answers",
)

# %% [markdown]
# This PRM errs on the careful side: the fitted slope, `exp(log_slope)`, is above 1, and what it scores .7 is right more
# often than that (its model card finds the same). On the other half of the problems scores are too low on average, and the
# map, though it sharpens them, does not mend that: the halves differ by more than it knows. The intervals count problems,
# not labels, and 48 are few. Take hundreds.
#
# Mean scores are evidences too: the mean of calibrated final scores over what the language model writes is the evidence
# under the twist with power 1, here estimated by importance sampling. It says how hard a problem is before any answer is
# graded.
#
# For *answering* a higher power is better, and this checkpoint recommends 8 (`likelihood_beta` in its `config.json`,
# chosen on validation problems: tutorial 8). A calibration does not take its place: it says what a score means, the power
# how much more an answer counts for being surer.

# %%
few = [one for number, one in enumerate(problems) if number % 2][: 2 if SMOKE else 8]
choices = {
    "language model alone": TwistLikelihood(0),
    "power 1": TwistLikelihood(1),
    "power 1, calibrated": CalibratedLikelihood(TwistLikelihood(1), fit.posterior, "marginal"),
    "power 8": TwistLikelihood(8),
}
for name, likelihood in choices.items():
    powered = LanguageModelStateSpace(language_model, reward_model, likelihood)
    results = ParticleFilter(powered, num_particles=8 if SMOKE else 16).run_batch([one.problem for one in few], seed=0)
    mass = [
        sum(answer.probability for answer in result.answers if right(answer.answer, problem))
        for result, problem in zip(results, few, strict=True)
    ]
    smallest = np.mean([one.ess.min() for one in results])
    print(f"{name:20s}  mean posterior of the right answer {np.mean(mass):.2f}, mean of the smallest ESS {smallest:4.1f}")

# %% [markdown]
# **Next:** try `aggregation="min"` with your own PRM and see whether its scores are about steps or prefixes: plot them
# along right and wrong answers (`plot_score_trajectories`). `ppl-scaling calibrate labels.jsonl --output calibration.json`
# fits a map from a file of labels, and `--calibration` of the other commands takes it. Other maps are
# `TemperatureCalibration`, `BetaCalibration` and `MonotoneCalibration`. Tutorial 3 looks at what the filter does with
# these weights.
