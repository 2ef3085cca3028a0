"""Particle Gibbs against enumeration: it leaves the posterior invariant, and finds it from a bad start.

The chains of a case are groups of one batch. They start in the exact posterior; a kernel that is wrong moves them away from
it, more with every sweep.
"""

from itertools import product

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch

from ppl_scaling.backends.finite import FiniteLanguageModel, FunctionRewardModel
from ppl_scaling.errors import AllWeightsZeroError, ScoreError
from ppl_scaling.inference import ConditionalSMCFilter, ParticleFilter, ParticleGibbs, Reference, enumerate_posterior
from ppl_scaling.inference.ancestor_sampling import rehearse
from ppl_scaling.inference.autocorrelation import standard_error_of_mean
from ppl_scaling.models import LanguageModelStateSpace, SamplingProposal
from ppl_scaling.seeding import seeded
from ppl_scaling.token_law import TokenLaw
from tests.inference.chain_kernels import assert_invariant, assert_law, exact_blocks, weighted_shares
from tests.inference.test_custom_models import TEMPERATURES, exact_joint, warm_and_brief
from tests.statistics import assert_mean
from tests.worlds import LIKELIHOODS, WORLDS, LastLetter, early_ends, impossible_branches, truncation

# Every world with every likelihood and both sizes, with and without ancestor sampling; thresholds take turns.
CASES = [
    (world, likelihood, size, (0.5, 1.0)[(place + size) % 2], past)
    for place, (world, likelihood) in enumerate((w, one) for w in WORLDS for one in ("bernoulli", "twist", "odds"))
    for size in (2, 5)
    for past in (False, True)
]


@pytest.mark.parametrize(("world", "likelihood", "size", "threshold", "past"), CASES)
def test_the_kernel_leaves_the_posterior_invariant(world, likelihood, size, threshold, past):
    model = WORLDS[world](LIKELIHOODS[likelihood])
    gibbs = ParticleGibbs(
        model, num_particles=size, ess_threshold=threshold, ancestor_sampling=past, answer_format=LastLetter()
    )
    assert_invariant(gibbs, 250, 2, seed=1, can_die=world == "impossible branches")


def long_memory(likely, right, wrong):
    """After an 'a' the language model likes to write 'c' and the reward model to read it; after a 'b' it is 'd'."""
    later = [first + "".join(rest) for first in "ab" for size in range(3) for rest in product("cd", repeat=size)]
    table = {f"?{text}": {("c", "d")[text[0] == "b"]: likely, ("d", "c")[text[0] == "b"]: 1 - likely} for text in later}
    language = FiniteLanguageModel({"": {"a": 0.5, "b": 0.5, "$": 0.0}} | table)

    def score(prompt, text):
        return 0.3 + 0.4 * (text == "a") if len(text) == 1 else right if text[0] + text[-1] in ("ac", "bd") else wrong

    return LanguageModelStateSpace(language, FunctionRewardModel(score), max_steps=4)


@pytest.mark.parametrize("world", [(0.95, 0.6, 0.5), (0.55, 0.95, 0.1)], ids=["language", "scores"])
def test_pasts_are_drawn_with_what_both_models_say_of_the_future(world):
    """The whole future depends on the first step here; leaving out either model would show in one of the worlds."""
    gibbs = ParticleGibbs(
        long_memory(*world), num_particles=2, ess_threshold=1.0, ancestor_sampling=True, answer_format=LastLetter()
    )
    assert_invariant(gibbs, 600, 3, seed=3)


@pytest.mark.parametrize("past", [False, True])
def test_so_it_does_with_a_proposal(past):
    model = early_ends(LIKELIHOODS["bernoulli, beta 0.5"])
    gibbs = ParticleGibbs(
        model,
        SamplingProposal(model, temperature=1.7),
        num_particles=3,
        ess_threshold=1.0,
        ancestor_sampling=past,
        answer_format=LastLetter(),
    )
    assert_invariant(gibbs, 400, 2, seed=2)


@pytest.mark.parametrize("past", [False, True])
def test_from_a_bad_start_the_average_approaches_the_posterior(past):
    """All chains start at one improbable trajectory and are averaged after a burn-in."""
    model = truncation(LIKELIHOODS["bernoulli"])
    exact = exact_blocks(model)
    worst = min(exact, key=exact.get)
    gibbs = ParticleGibbs(model, num_particles=4, ess_threshold=1.0, ancestor_sampling=past, answer_format=LastLetter())
    references, shares = [Reference(worst)] * 250, []
    with seeded(3):
        for iteration in range(10):
            sweeps = gibbs.sweep(["?"] * 250, references)
            references = [one.draw for one in sweeps]
            if iteration >= 8:
                shares.append([weighted_shares(one) for one in sweeps])
    averages = [
        {key: np.mean([one.get(key, 0.0) for one in of_chain]) for key in exact} for of_chain in zip(*shares, strict=True)
    ]
    assert_law(averages, exact)


def test_sites_of_one_name_in_several_steps_are_several_latents():
    """A result keeps all of them along the lineages, and a chain each in its own step."""

    class Moody(LanguageModelStateSpace):
        def step(self, state, t):
            super().step(state, t)
            state["mood"] = pyro.deterministic("seen", pyro.sample("mood", dist.Normal(float(t), 0.1)))

    base = early_ends(LIKELIHOODS["twist"])
    model = Moody(base.language_model, base.reward_model, base.likelihood, max_steps=4)
    result = ParticleFilter(model, num_particles=20, answer_format=LastLetter()).run("?", seed=0)
    names = [f"mood_{t}" for t in range(1, result.num_steps + 1)]
    assert result.num_steps > 1 and set(names) <= set(result.latents)
    for t, name in enumerate(names, start=1):
        assert np.abs(result.latents[name] - t).max() < 1.0
    with seeded(0):
        gibbs = ParticleGibbs(model, num_particles=3, answer_format=LastLetter())
        reference = gibbs.sweep(["?"])[0].draw
        smc = gibbs._filter(1, [reference], None)
        smc.init(["?"])
        for t in (1, 2):
            smc.step(t)
    for t, record in enumerate(smc.history[1:], start=1):
        assert record.sites["mood"][0] == float(reference.latents[f"mood_{t}"])


def test_latents_of_the_reference_are_kept():
    """A temperature for each particle and a factor of its own: the chain knows them too."""
    model = warm_and_brief()
    joints = [exact_joint(float(temperature)) for temperature in TEMPERATURES]
    prior = (0.2, 0.5, 0.3)
    evidence = sum(p * sum(joint.values()) for p, joint in zip(prior, joints, strict=True))
    gibbs = ParticleGibbs(model, num_particles=3, ess_threshold=1.0, answer_format=LastLetter())
    with seeded(4):
        references = None
        for _ in range(12):
            sweeps = gibbs.sweep(["?"] * 400, references)
            references = [one.draw for one in sweeps]
    for choice, (p, joint) in enumerate(zip(prior, joints, strict=True)):
        assert_mean([float(one.latents["choice"] == choice) for one in references], p * sum(joint.values()) / evidence)
    with pytest.raises(TypeError, match="method 'step' of LanguageModelStateSpace"):
        ParticleGibbs(model, ancestor_sampling=True)


@pytest.mark.parametrize("temperatures", [False, True])
def test_ancestor_sampling_equals_computing_everything_anew(tiny_lm, tiny_prm, temperatures):
    """What a reference's future is worth behind each particle, on transformers, by plain forward passes."""

    class Program(LanguageModelStateSpace):
        def init(self, state, prompts):
            super().init(state, prompts)
            if temperatures:
                state["temperature"] = torch.linspace(0.8, 1.4, len(state["slot"]))

    model = Program(tiny_lm, tiny_prm, LIKELIHOODS["bernoulli, beta 0.5"], max_steps=5, max_step_tokens=4, max_tokens=17)
    first = ParticleFilter(model, num_particles=6, ess_threshold=1e-9).run_batch(["abc", "de"], seed=0)
    longest = [max((one.token_blocks for one in run.trajectories), key=len) for run in first]
    references = [Reference(blocks) for blocks in longest]
    smc = ConditionalSMCFilter(model, references, num_particles=4, ess_threshold=1.0)
    with seeded(1):
        smc.init(["abc", "de"])
        for t in (1, 2):
            smc.step(t)
        sessions = smc.state.sessions["particles"]
        before = sessions.language.tokens_forwarded
        futures = [one.token_blocks[2:] for one in references]
        found = rehearse(model, smc.state, 3, futures, None)
        assert (sessions.language.tokens_forwarded > before).all()
        # ... and the run goes on as if nothing had happened.
        smc.step(3)
    again = ConditionalSMCFilter(model, references, num_particles=4, ess_threshold=1.0)
    with seeded(1):
        again.init(["abc", "de"])
        for t in (1, 2, 3):
            again.step(t)
    torch.testing.assert_close(smc.log_weights, again.log_weights, atol=1e-4, rtol=1e-4)

    lineage = smc.history[2].ancestors
    for group, (prompt, future) in enumerate(zip(["abc", "de"], futures, strict=True)):
        for particle in range(4):
            past = [
                sessions.token_blocks[t][group * 4 + int(place)]
                for t, place in ((1, lineage[group, particle]), (2, particle))
            ]
            own = 0.8 + 0.6 / 7 * (group * 4 + int(lineage[group, particle])) if temperatures else 1.0
            law = TokenLaw(torch.tensor([own]))
            language = tiny_lm.start([prompt], 1, max_step_tokens=4, max_tokens=17)
            reward = tiny_prm.start([prompt], 1)
            log_ratio, room, ended = 0.0, 17, False
            for t, block in enumerate([*past, *future], start=1):
                if ended or len(block) > room:
                    log_ratio = -np.inf
                    break
                room -= len(block)
                language.select(torch.tensor([0]))
                log_prob = float(language.log_prob(torch.tensor([block]), law))
                finished, truncated = language.accept(torch.tensor([block]), t == 5)
                logit = reward.score(language.decode(torch.tensor([block]))).double()
                ended = bool(finished | truncated)
                if t > 2:
                    log_ratio += log_prob + 0.5 * float(torch.nn.functional.logsigmoid(logit))
            if not ended:
                log_ratio = -np.inf
            assert float(found.log_ratios[group, particle]) == pytest.approx(log_ratio, abs=1e-3)


def test_what_ended_and_what_goes_on_do_not_mix():
    """Futures behind particles that have ended, and ends behind particles that go on, have probability zero."""
    model = early_ends(LIKELIHOODS["twist"])
    number = model.language_model.tokens.index
    short, long = [(number("$"),)], [(number("a"),), (number("b"),), (number("$"),)]
    for reference in (short, long):
        smc = ConditionalSMCFilter(model, [Reference(reference)], num_particles=40, ess_threshold=1.0)
        with seeded(2):
            smc.init(["?"])
            smc.step(1)
        ended = smc.state["finished"]
        assert 0 < int(ended.sum()) < 40
        ratios = rehearse(model, smc.state, 2, [reference[1:]], None).log_ratios[0]
        assert torch.equal(ratios > -torch.inf, ended if reference is short else ~ended)


def test_a_short_look_ahead_costs_less_and_reads_only_that_far():
    model = early_ends(LIKELIHOODS["bernoulli"])
    number = model.language_model.tokens.index
    reference = Reference([(number("a"),)] * 5)
    smc = ConditionalSMCFilter(model, [reference], num_particles=10, ess_threshold=1.0)
    with seeded(0):
        smc.init(["?"])
        smc.step(1)
        all_of_it = rehearse(model, smc.state, 2, [reference.token_blocks[1:]], None)
        next_step = rehearse(model, smc.state, 2, [reference.token_blocks[1:]], 1)
    going = int((~smc.state["finished"]).sum())
    assert all_of_it.num_scored == [4 * going] and next_step.num_scored == [going]
    texts = smc.state.sessions["particles"].texts[1]
    for text, finished, ratio in zip(texts, smc.state["finished"], next_step.log_ratios[0], strict=True):
        if not finished:
            row = model.language_model.next_token("?" + text)
            score = torch.tensor(model.reward_model.score_logit("?", text + "a"), dtype=torch.float64)
            assert float(ratio) == pytest.approx(np.log(row["a"]) + float(score.sigmoid().log()), abs=1e-6)


def test_ancestor_sampling_lets_early_steps_change():
    """Few particles and long answers: all lineages meet in the reference unless its past is drawn anew."""
    language = FiniteLanguageModel({"": {"a": 0.5, "b": 0.5, "$": 0.0}})
    reward = FunctionRewardModel(lambda prompt, text: 0.3 if text.endswith("a") else 0.6)
    model = LanguageModelStateSpace(language, reward, max_steps=20)
    rates = {}
    for past in (False, True):
        gibbs = ParticleGibbs(
            model, num_particles=3, num_iterations=8, ancestor_sampling=past, ess_threshold=1.0, answer_format=LastLetter()
        )
        rates[past] = np.mean([one.update_rate[:5] for one in gibbs.run_batch(["?"] * 8, seed=0)])
    assert rates[False] < 0.1 < 0.25 < rates[True]


def test_result_of_a_chain():
    model = early_ends(LIKELIHOODS["bernoulli"])
    gibbs = ParticleGibbs(
        model,
        num_particles=5,
        num_iterations=40,
        burn_in=4,
        ancestor_sampling=True,
        ess_threshold=1.0,
        answer_format=LastLetter(),
    )
    results = gibbs.run_batch(["?"] * 20, seed=5)
    exact = enumerate_posterior(model, "?")
    one = results[0]
    assert [two.answer for two in gibbs.run_batch(["?"] * 20, seed=5)[0].draws] == [draw.answer for draw in one.draws]
    assert one.method == "particle Gibbs" and one.configuration["ancestor_sampling"] is True
    assert len(one.draws) == len(one.log_likelihoods) == len(one.log_evidences) == len(one.answer_weights) == 40
    assert sum(entry.weight for entry in one.trajectories) == pytest.approx(1.0)
    assert sum(entry.probability for entry in one.answers) + one.no_answer_probability == pytest.approx(1.0)
    np.testing.assert_allclose(one.answer_weights[4:].mean(0), [entry.probability for entry in one.answers])
    for draw, log_likelihood in zip(one.draws, one.log_likelihoods, strict=True):
        assert log_likelihood == pytest.approx(float(np.log(draw.scores).sum()), abs=1e-5)
    given = sum(draw.num_tokens for draw in one.draws[:-1])
    assert one.lm_tokens_forwarded - given > one.generated_tokens > 36 * 4
    assert one.prm_calls == one.prm_tokens_forwarded > one.generated_tokens + given
    assert_mean([np.exp(run.log_evidence - exact.log_evidence) for run in results], 1.0)
    probability = exact.answers(LastLetter())["a"]
    found = [next(entry for entry in run.answers if entry.answer == "a") for run in results]
    assert_mean([entry.probability for entry in found], probability)
    spread = np.std([entry.probability for entry in found], ddof=1)
    # The standard deviation over 20 chains is itself known to 16 percent.
    assert np.mean([entry.standard_error for entry in found]) == pytest.approx(spread, rel=0.5)
    assert one.log_evidence_of_chain == pytest.approx(exact.log_evidence, abs=0.3)
    assert "num_iterations=40" in repr(one) and one.to_dict()["draws"][0] == one.draws[0].answer
    short = ParticleGibbs(model, num_iterations=1, answer_format=LastLetter()).run("?", seed=0)
    assert np.isnan(short.update_rate).all() and np.isnan(short.log_evidence_of_chain)
    assert all(np.isnan(entry.standard_error) for entry in short.answers)


def test_a_chain_that_dies_fails_alone():
    model = impossible_branches(LIKELIHOODS["bernoulli"])
    results = ParticleGibbs(model, num_particles=2, num_iterations=3, answer_format=LastLetter()).run_batch(
        ["?"] * 40, seed=0
    )
    failed = [isinstance(one, AllWeightsZeroError) for one in results]
    assert 0 < sum(failed) < 40
    assert all(len(one.draws) == 3 for one, failure in zip(results, failed, strict=True) if not failure)


def test_an_impossible_reference_is_an_error():
    model = impossible_branches(LIKELIHOODS["bernoulli"])
    number = model.language_model.tokens.index
    gibbs = ParticleGibbs(model, num_particles=2, answer_format=LastLetter())
    good, bad = Reference([(number("a"),), (number("$"),)]), Reference([(number("b"),), (number("$"),)])
    with seeded(0):
        outcomes = gibbs.sweep(["?"] * 20, [bad, good] * 10)
    assert all(not isinstance(one, AllWeightsZeroError) for one in outcomes[1::2])
    truncated, cut_off = SamplingProposal(model, top_k=1), Reference([(number("c"),), (number("a"),), (number("$"),)])
    with pytest.raises(ScoreError), seeded(0):
        ParticleGibbs(model, truncated, num_particles=2, answer_format=LastLetter()).sweep(["?"], [cut_off])


def test_standard_error_of_a_chain():
    """An autoregression, whose variance is known; and series that tell nothing."""
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((200, 1000))
    series = np.zeros_like(noise)
    for t in range(1, 1000):
        series[:, t] = 0.8 * series[:, t - 1] + noise[:, t]
    errors = [standard_error_of_mean(one) for one in series]
    assert np.mean(errors) == pytest.approx(5 / np.sqrt(1000), rel=0.1)
    assert np.isnan(standard_error_of_mean(np.ones(100))) and np.isnan(standard_error_of_mean(np.arange(7.0)))
    alternating = np.tile([0.0, 1.0], 50)
    assert 0 < standard_error_of_mean(alternating) < 0.5 / 10


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_particles": 1}, "num_particles to be an integer of at least 2, got 1"),
        ({"num_iterations": 0}, "num_iterations to be an integer of at least 1, got 0"),
        ({"burn_in": 4}, "burn_in to be from 0 to num_iterations - 1 = 3"),
        ({"lookahead": 2}, "lookahead only together with ancestor_sampling"),
        ({"lookahead": 0, "ancestor_sampling": True}, "lookahead to be an integer of at least 1, got 0"),
        ({"ess_threshold": 0.0}, r"ess_threshold to be in \(0, 1\]"),
        ({"choice": "best"}, "a final choice among"),
    ],
)
def test_bad_settings_are_refused_at_once(settings, message):
    with pytest.raises(ValueError, match=message):
        ParticleGibbs(early_ends(LIKELIHOODS["twist"]), **settings)
