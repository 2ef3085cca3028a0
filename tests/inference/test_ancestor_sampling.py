"""Ancestor sampling: what a reference's future is worth behind each particle, and that chains stay right with it."""

from itertools import product

import numpy as np
import pytest
import torch

from ppl_scaling.backends.finite import FiniteLanguageModel, FunctionRewardModel
from ppl_scaling.inference import ConditionalSMCFilter, ParticleFilter, ParticleGibbs, Reference
from ppl_scaling.inference.ancestor_sampling import rehearse
from ppl_scaling.models import LanguageModelStateSpace
from ppl_scaling.seeding import seeded
from ppl_scaling.token_law import TokenLaw
from tests.inference.chain_kernels import assert_invariant
from tests.worlds import LIKELIHOODS, LastLetter, early_ends


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
