# %% [markdown]
# # 5. Can I believe this posterior?
#
# **Question:** a run returns "91, with probability 0.8". How do I find out whether that number was computed well, what do I
# do if it was not, and what does it have to do with being right?
#
# [ArviZ](https://www.arviz.org) is the standard library for looking at posteriors, whoever computed them. Every result here
# can be given to it. And `diagnose` asks a result what only a particle filter can be asked, with advice.

# %%
import os
import tempfile
from pathlib import Path

import arviz as az
import matplotlib.pyplot as plt
import numpy as np

from ppl_scaling.backends import TokenClassificationRewardModel, TransformersLanguageModel
from ppl_scaling.diagnostics import (
    chan_lai_standard_error,
    credible_coverage,
    diagnose,
    evidence_spread,
    measure_calibration,
    particle_trace,
    plot_answers,
    plot_coverage,
    plot_genealogy,
    plot_reliability,
    plot_traces,
    write_report,
)
from ppl_scaling.inference import (
    BestOfN,
    ParticleFilter,
    ParticleGibbs,
    enumerate_posterior,
    evaluate,
    load_result,
    to_arviz,
)
from ppl_scaling.models import LanguageModelStateSpace, TwistLikelihood
from ppl_scaling.models.pretrained import LANGUAGE_MODEL_PATH, REWARD_MODEL_PATH
from ppl_scaling.tasks import Problem, answers_equivalent, generate_problems

SMOKE = "CI" in os.environ  # the tests run this page with fewer particles and repetitions

language_model = TransformersLanguageModel.from_pretrained(LANGUAGE_MODEL_PATH)
reward_model = TokenClassificationRewardModel.from_pretrained(REWARD_MODEL_PATH)
model = LanguageModelStateSpace(language_model, reward_model)
problems = generate_problems(6, num_steps=5, seed=7)
problem = problems[1]
result = ParticleFilter(model, num_particles=16 if SMOKE else 48).run(problem.problem, seed=0)
print(problem.problem)
print(result)

# %%
plot_answers(result.answers, no_answer_probability=result.no_answer_probability, chosen=result.answer)

# %% [markdown]
# ## The same in ArviZ
#
# ArviZ thinks in *draws* of *chains*. A draw is a whole answer here, and a run is a chain. `posterior` has what was drawn,
# `sample_stats` how, `log_likelihood` what the reward model (PRM) said of each step. The answers are coded: 0 is the most
# probable one, and `answer_indicator` is 1 for the answer that a draw has, so its mean is the posterior probability.

# %%
data = result.to_arviz()
texts = data["constant_data"]["answer_text"].values
for group in ("posterior", "log_likelihood", "sample_stats"):
    print(f"{group:15} {', '.join(f'{name}{list(one.dims[2:])}' for name, one in data[group].data_vars.items())}")
shares = data["posterior"]["answer_indicator"].mean(("chain", "draw")).values
for text, share, own in zip(texts, shares, result.answers, strict=False):
    print(f"{text:>5}   mean of the draws {share:.3f}   posterior {own.probability:.3f} ± {own.standard_error:.3f}")

# %% [markdown]
# The two columns differ a little, and that is on purpose. The particles of a filter have *weights*, and ArviZ gives all
# draws the same weight. So `to_arviz()` resamples them, as many as there were: the heavy ones are there several times. With
# `weights="keep"` the particles stay as they are, and the weights are in `sample_stats`. Then a plain mean is wrong:

# %%
kept = result.to_arviz(weights="keep")
indicator = kept["posterior"]["answer_indicator"]
weights = np.exp(kept["sample_stats"]["log_weights"])
plain, weighted = indicator.mean("draw").values[0], (indicator * weights).sum("draw").values[0]
for text, first, second, own in zip(texts, plain, weighted, result.answers, strict=False):
    print(f"{text:>5}   plain mean {first:.3f}   weighted mean {second:.3f}   posterior {own.probability:.3f}")
copies = len(np.unique(data["sample_stats"]["particle_of_draw"]))
print(f"{copies} different particles among the {data['posterior'].sizes['draw']} draws that were resampled")

# %% [markdown]
# ## What a filter can be asked
#
# Particles share ancestors, and no column of ArviZ knows that. Three things do.
#
# The **effective sample size** (ESS) after each step: how many equally heavy particles the weighted ones are worth. The
# **ancestors**: how many first particles have a descendant at the end, since what has been dropped cannot come back. And the
# **Pareto k** of the weights, below.

# %%
plot_traces(result)

# %%
plot_genealogy(result)

# %%
trace = particle_trace(result)
print("step   ESS  largest weight  first particles left")
for t in range(trace.num_steps):
    print(f"{t + 1:4}  {trace.ess[t]:4.1f}  {trace.max_weight[t]:14.2f}  {trace.unique_roots[t]:5} of {trace.num_particles}")

# %% [markdown]
# **Pareto k** says how heavy the tail of the weights is: above about 0.7 more particles would go on finding ever larger
# weights, so that no average over them can be trusted. A filter that resamples keeps its weights even. Without resampling
# the weights of all steps pile up; with a likelihood that is too sharp (`beta=60`, see below) their tail becomes too heavy.

# %%
from ppl_scaling.diagnostics import pareto_k

too_sure = LanguageModelStateSpace(language_model, reward_model, TwistLikelihood(beta=60.0))
for name, program in (("recommended power", model), ("power 60", too_sure)):
    never = ParticleFilter(program, num_particles=24 if SMOKE else 96, ess_threshold=1e-6).run(problems[5].problem, seed=0)
    print(f"{name:18} Pareto k {pareto_k(never.log_weights):5.2f}   ESS {never.ess[-1]:4.1f} of {never.num_particles}")

# %% [markdown]
# ## How well is the evidence known?
#
# The *evidence* is the filter's estimate of the probability of all that was observed. It weighs runs against each other, so
# its error tells how good a run is. One run has two estimates of that error, both from its genealogy: if the families of
# the first particles fared alike, chance had little to do with it. And replicates need no theory: they differ by what they
# differ.

# %%
replicates = ParticleFilter(model, num_particles=16).run_batch([problem.problem] * (3 if SMOKE else 12), seed=100)
spread = evidence_spread(replicates)
values = np.array([one.log_evidence for one in replicates])
figure, axes = plt.subplots(figsize=(6.5, 3), layout="constrained")
places = np.arange(1, len(values) + 1)
errors = [one.log_evidence_standard_error for one in replicates]
others = [chan_lai_standard_error(one) for one in replicates]
axes.errorbar(places - 0.1, values, yerr=errors, fmt="o", color="black", capsize=3, label="of the result")
axes.errorbar(places + 0.1, values, yerr=others, fmt="s", color="#888888", capsize=3, label="Chan and Lai")
axes.axhline(spread.log_evidence, color="black", linestyle="--", linewidth=1, label="all replicates")
axes.set_xticks(places)
axes.set_xlabel("replicate of 16 particles; bars are ± 1 standard error")
axes.set_ylabel("log-evidence (nats)")
axes.legend(frameon=False, fontsize=8, ncols=3, loc="lower left", bbox_to_anchor=(0, 1))
plt.show()
print(f"spread between replicates {spread.standard_deviation:.2f}, {spread.ratio:.2f} times what the runs say themselves")

# %% [markdown]
# The replicates differ by about what they say themselves. Where both bars are equal, Lee and Whiteley's estimate of so small
# a variance was negative, as an unbiased one may be, and the result took Chan and Lai's, which never is but leaves part of
# the luck out. Where it matters, take replicates (`Islands` does, and pools them).
#
# ## `diagnose`: a good run
#
# All of these, and some more, are checked by one function. Each check has a threshold, a reason for it, and advice.

# %%
health = diagnose(result)
print(health)
print(f"\nESS, {health['ess'].threshold}: {health['ess'].reason}")

# %% [markdown]
# ## ... and a bad one
#
# Now we spoil two things: six particles only, and a PRM that is far too sure of itself. Raising the likelihood to a power,
# `beta`, multiplies its log-odds, so the large power below plays a PRM whose scores are all nearly 0 or nearly 1.

# %%
other = problems[0]
bad = ParticleFilter(too_sure, num_particles=6).run(other.problem, seed=0)
print(f"right answer {other.answer}; {bad}\n")
print(diagnose(bad))

# %%
plot_genealogy(bad)

# %% [markdown]
# It returns a wrong answer with probability 1, and the standard error cannot warn us, because a run of one family has none.
# The report can: one particle took all the weight at once, and everything descends from it. It advises more particles, a
# lower `beta`, or a calibrated PRM. We do as we are told, one after the other.

# %%
several = 16 if SMOKE else 48
sensible = TwistLikelihood(reward_model.likelihood_beta)  # the power that the checkpoint recommends
tries = {
    "as it was": (too_sure, 6),
    "more particles": (too_sure, several),
    "lower beta": (LanguageModelStateSpace(language_model, reward_model, sensible), 6),
    "both": (LanguageModelStateSpace(language_model, reward_model, sensible), several),
}
for name, (program, size) in tries.items():
    tried = ParticleFilter(program, num_particles=size).run(other.problem, seed=0)
    found = diagnose(tried)
    troubles = [one.name for one in found.checks if one.status in ("bad", "warn")]
    answers = ", ".join(f"{one.answer} {one.probability:.2f}" for one in tried.answers[:3])
    print(f"{name:15} {found.status:5} lowest ESS {tried.ess.min():4.1f}   {answers:28} {', '.join(troubles)}")

# %% [markdown]
# More particles mend it; a lower `beta` alone finds the right answer, but six particles are too few to be sure of it, and
# the report says so. The two are not the same: a lower `beta` asks for another, milder posterior, while more particles
# compute the same one better. So lower it if the scores do not deserve to be believed, and else take more particles.
#
# ## Does `diagnose` tell the truth?
#
# Where all answers can be listed the true posterior is known. Here is a world of three tokens, in which we run many filters
# of each size: what does `diagnose` say, which standard error do they state, and how far off are they really?

# %%
from ppl_scaling.backends.finite import FiniteLanguageModel, FunctionRewardModel


class LastLetter:
    """The answer is the last letter but the end."""

    def extract(self, text):
        return text[-1:] or None

    def equivalent(self, first, second):
        return first == second


table = {"": {"a": 0.7, "b": 0.3}, "a": {"a": 0.4, "b": 0.2, "$": 0.4}, "b": {"a": 0.2, "b": 0.35, "$": 0.45}}
small_prm = FunctionRewardModel(lambda prompt, text: (0.02, 0.2, 0.5, 0.9)[min(text.count("b"), 3)])
small = LanguageModelStateSpace(FiniteLanguageModel(table), small_prm, TwistLikelihood(), max_steps=9)
truth = enumerate_posterior(small, "?")
exact = {}
for one in truth.trajectories:
    letter = LastLetter().extract(one.text) if one.finished else None
    exact[letter] = exact.get(letter, 0.0) + one.probability
print(f"exactly: P(b) = {exact['b']:.3f}, from {len(truth.trajectories)} possible answers")

for size in (4, 16, 64):
    filters = ParticleFilter(small, num_particles=size, answer_format=LastLetter())
    runs = filters.run_batch(["?"] * (20 if SMOKE else 100), seed=0)
    verdicts = [diagnose(one).status for one in runs]
    shares = np.array([next((x.probability for x in one.answers if x.answer == "b"), 0.0) for one in runs])
    stated = np.array([next((x.standard_error for x in one.answers if x.answer == "b"), np.nan) for one in runs])
    print(
        f"{size:3} particles:  {', '.join(f'{verdicts.count(name):3} {name}' for name in ('bad', 'warn', 'ok'))}   "
        f"stated error {np.sqrt(np.nanmean(stated**2)):.3f}   true error {np.sqrt(np.mean((shares - exact['b']) ** 2)):.3f}"
    )

# %% [markdown]
# Where most runs are called bad, the error is so large that the posterior says next to nothing; where most are called good,
# it is small. The stated errors are near the true ones and a little smaller, above all for few particles: where all descend
# from one particle the error is unknown, and not counted here.

# %% [markdown]
# ## Chains
#
# Particle Gibbs is Markov-chain Monte Carlo over whole answers: each iteration runs a small filter around the answer before.
# Its draws have equal weights, and ArviZ is at home: R-hat compares chains that began apart (near 1 if they agree), and ESS
# counts independent iterations. Ask them of `answer_indicator`, or of `answer_weights`, what the particles of an iteration
# together give each answer; the code of an answer is a name, not a number.

# %%
gibbs = ParticleGibbs(small, num_particles=4, num_iterations=60 if SMOKE else 200, burn_in=20, answer_format=LastLetter())
chains = gibbs.run_batch(["?"] * 4, seed=3)
draws = to_arviz(chains, answer_format=LastLetter())
names = draws["constant_data"]["answer_text"].values
print(az.summary(draws, var_names=["answer_indicator"], kind="diagnostics"))
for code, name in enumerate(names):
    share = float(draws["posterior"]["answer_indicator"].sel(answer_code=code).mean())
    print(f"{name}: {share:.3f}   exactly {exact[name]:.3f}")
print(diagnose(chains))

# %%
series = draws["posterior"]["answer_weights"].sel(answer_code=0).values
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 2.8), layout="constrained", width_ratios=[2, 1])
for chain, style in zip(series, ("-", "--", ":", "-."), strict=True):
    left.plot(np.arange(len(chain))[:60], chain[:60], style, linewidth=1)
    right.plot(np.cumsum(chain) / np.arange(1, len(chain) + 1), style, linewidth=1.2)
left.set_xlabel("iteration after the burn-in (the first 60)")
left.set_ylabel(f"weight of the answer {names[0]}")
right.axhline(exact[str(names[0])], color="black", linewidth=2, alpha=0.4, label="exact")
right.set_xlabel("iterations")
right.set_ylabel("mean so far")
right.legend(frameon=False, fontsize=8)
plt.show()

# %% [markdown]
# ## Keeping it
#
# A result is saved as one JSON file, from which exactly the same result is read again; on the command line that is
# `ppl-scaling solve ... --save RESULT`, then `ppl-scaling diagnose RESULT`. What was given to ArviZ goes into a NetCDF
# file, which ArviZ reads under any version. And `write_report` writes one HTML page with the answers, the checks, all
# pictures and a genealogy in which the text of every step can be read by pointing at it.

# %%
from ppl_scaling import arviz_export

folder = Path(tempfile.mkdtemp())
again = load_result(result.save(folder / "result.json"))
print(again.log_evidence == result.log_evidence, np.array_equal(again.ancestors, result.ancestors))
read = arviz_export.load(arviz_export.save(data, folder / "result.nc"))
print(read["posterior"].equals(data["posterior"]))
page = write_report(result, folder / "report.html")
print(f"{page.name}: {page.stat().st_size // 1024} kB")

# %% [markdown]
# ## Computed well, and wrong
#
# So far we have asked whether the posterior *of this model* was computed well. Whether the model is right is another
# question, and no single result can answer it. Here is a run that is healthy enough, on a harder problem:

# %%
hard = problems[5]
sure = ParticleFilter(model, num_particles=several).run(hard.problem, seed=0)
print(f"right answer {hard.answer}")
print(", ".join(f"{one.answer} {one.probability:.2f} ± {one.standard_error:.2f}" for one in sure.answers[:4]))
print(diagnose(sure))

# %% [markdown]
# The right answer is hardly in the posterior: the PRM likes others better. Only problems with known answers can tell how
# often that happens. First the PRM: of the whole solutions with some score, which share is right?

# %%
questions = generate_problems(8 if SMOKE else 48, num_steps=5, split="validation", seed=5)
votes = BestOfN(model, num_completions=4 if SMOKE else 8).run_batch([one.problem for one in questions], seed=0)
scores, right, groups = [], [], []
for number, (question, vote) in enumerate(zip(questions, votes, strict=True)):
    for one in vote.trajectories:
        if one.answer is not None:
            scores.append(one.score)
            right.append(answers_equivalent(one.answer, question.answer))
            groups.append(number)
prm = measure_calibration(scores, right, groups=groups)
print(prm)

# %%
plot_reliability(
    prm.bin_probability,
    prm.bin_frequency,
    prm.bin_count,
    low=prm.bin_low,
    high=prm.bin_high,
    calibration_error=prm.ece.value,
)

# %% [markdown]
# Then the posterior. `evaluate` runs a method on many problems and grades it; its records can be diagnosed too.

# %%
graded = [Problem(id=str(place), problem=one.problem, answer=one.answer) for place, one in enumerate(questions)]
records = evaluate(ParticleFilter(model, num_particles=8), graded, folder / "evaluation.jsonl", batch_size=16)
print(f"{np.mean([one.correct for one in records]):.2f} of the answers are right")
print(diagnose(records))

# %%
plot_coverage([credible_coverage(records, level) for level in (0.5, 0.7, 0.8, 0.9, 0.95)])

# %% [markdown]
# Here the two part. The scores of the PRM are in order and a little too small, but the posterior claims far too much: its
# 90 % sets hold the truth in about two of three problems. That is no accident of sampling. The likelihood raises the scores
# to a power, which was chosen so that the best answer wins often, and not so that its probability is honest. If you want
# the probabilities themselves, take `beta=1` with calibrated scores; if you want the answer, do not read them as the chance
# of being right.
#
# **Next:** open `report.html` of a run of yours and point at the particles that were dropped; let `ppl-scaling diagnose`
# look at an evaluation file of yours (`--html` and `--figures` work there as well); or calibrate the PRM inside the
# likelihood, with [tutorial 2](02_prm_as_likelihood.ipynb), and look at the coverage again.
