"""Users' own programs through the same filter, against enumeration: latents, factors, handlers, conditioned steps."""

from functools import partial

import numpy as np
import pyro
import pytest
import torch
from pyro import poutine

from ppl_scaling.inference import ParticleFilter, enumerate_posterior
from ppl_scaling.interfaces import PAD
from ppl_scaling.models import Handled, LanguageModelStateSpace, SamplingProposal, TokenBlock
from ppl_scaling.models.sessions import ParticleSessions
from ppl_scaling.token_law import TokenLaw
from tests.inference.exactness import assert_unbiased
from tests.inference.programs import exact_warm_and_brief, warm_and_brief
from tests.statistics import assert_mean
from tests.worlds import LIKELIHOODS, LastLetter, early_ends


@pytest.mark.parametrize("guided", [False, True], ids=["bootstrap", "temperature proposal"])
def test_a_latent_temperature_and_an_extra_factor(guided):
    model = warm_and_brief()
    log_evidence, answers, choices = exact_warm_and_brief()
    proposal = SamplingProposal(model, temperature=1.3) if guided else None
    smc = ParticleFilter(model, proposal, num_particles=60, answer_format=LastLetter(), ess_threshold=0.7)
    results = smc.run_batch(["?"] * 400, seed=1)
    relative = assert_unbiased(results, log_evidence, answers)
    for choice, probability in enumerate(choices):
        assert_mean(relative * [one.weights @ (one.latents["choice"] == choice) for one in results], probability)


def test_conditioning_the_latent_of_a_language_model():
    fixed = Handled(warm_and_brief(), partial(pyro.condition, data={"choice": torch.tensor(2)}))
    smc = ParticleFilter(fixed, num_particles=60, answer_format=LastLetter())
    results = smc.run_batch(["?"] * 300, seed=2)
    log_evidence, _, choices = exact_warm_and_brief()
    assert_mean(np.exp([one.log_evidence - log_evidence for one in results]), choices[2])


def test_conditioning_a_step_forces_it_and_counts_its_probability():
    base = early_ends(LIKELIHOODS["twist"])
    letter = base.language_model.tokens.index("b")
    fixed = Handled(base, partial(poutine.condition, data={"x_1": torch.tensor([letter])}))
    results = ParticleFilter(fixed, num_particles=60, answer_format=LastLetter()).run_batch(["?"] * 300, seed=3)
    exact = sum(np.exp(t.log_joint) for t in enumerate_posterior(base, "?").trajectories if t.steps[0] == "b")
    assert_mean(np.exp([one.log_evidence for one in results]) / exact, 1.0)
    assert all(trajectory.steps[0] == "b" for trajectory in results[0].trajectories)


def test_scaling_the_language_model_and_not_the_likelihood():
    """poutine.scale around the transition alone: every step counts p ** 0.5."""

    class Flat(LanguageModelStateSpace):
        def step(self, state, t):
            transition = self.transition(state, t)
            with poutine.scale(scale=0.5):
                token_block = pyro.sample(f"x_{t}", transition)
            self.advance(state, t, transition, token_block)

    base = early_ends(LIKELIHOODS["bernoulli"])
    flat = Flat(base.language_model, base.reward_model, base.likelihood, max_steps=base.max_steps)
    results = ParticleFilter(flat, num_particles=60, answer_format=LastLetter()).run_batch(["?"] * 400, seed=4)
    exact = sum(np.exp(t.log_joint - 0.5 * t.log_prior) for t in enumerate_posterior(base, "?").trajectories)
    assert_mean(np.exp([one.log_evidence for one in results]) / exact, 1.0)


def test_a_program_written_from_scratch():
    """Nothing of ours but the distribution of a step and the sessions; the same answer as the ready-made model."""
    base = early_ends(LIKELIHOODS["bernoulli"])

    class FromScratch:
        max_steps = base.max_steps

        def init(self, state, prompts):
            language = base.language_model.start(prompts, state.group_size, max_step_tokens=1, max_tokens=None)
            reward = base.reward_model.start(prompts, state.group_size)
            state.sessions["particles"] = sessions = ParticleSessions(language, reward)
            state["slot"] = sessions.slots
            state["finished"] = state["truncated"] = torch.zeros(len(sessions.slots), dtype=torch.bool)

        def step(self, state, t):
            sessions = state.sessions["particles"]
            active = sessions.follow(state, t)
            law = TokenBlock(sessions.language, active, sessions.slots, TokenLaw(torch.ones(len(active))))
            step = law.accept(pyro.sample(f"x_{t}", law), t == self.max_steps)
            sessions.note(t, step, len(active))
            if step.texts:
                score = torch.full(active.shape, torch.inf, dtype=torch.float64)
                score[sessions.slots] = sessions.reward.score(step.texts)
                pyro.deterministic(f"score_{t}", score)
                pyro.factor(f"y_{t}", torch.where(active, torch.nn.functional.logsigmoid(score), 0.0))
            state["finished"] = state["finished"].index_put((sessions.slots,), step.finished)
            state["truncated"] = state["truncated"].index_put((sessions.slots,), step.truncated)
            state["slot"] = torch.arange(len(active))

    settings = {"num_particles": 30, "answer_format": LastLetter(), "ess_threshold": 0.8}
    scratch = ParticleFilter(FromScratch(), **settings).run("?", seed=5)
    ready = ParticleFilter(base, **settings).run("?", seed=5)
    assert scratch.log_evidence == pytest.approx(ready.log_evidence, abs=1e-12)
    assert [t.text for t in scratch.trajectories] == [t.text for t in ready.trajectories]


def test_token_blocks_are_distributions_over_padded_steps():
    base = early_ends(LIKELIHOODS["twist"])
    session = base.language_model.start(["?"], 3, max_step_tokens=1, max_tokens=None)
    session.select(torch.arange(2))
    active = torch.tensor([True, False, True])
    law = TokenBlock(session, active, torch.tensor([0, 2]), TokenLaw(torch.ones(3)))
    block = law.sample()
    assert block.shape == (3, 1) and block[1, 0] == PAD and (block[[0, 2]] != PAD).all()
    assert law.log_prob(block)[1] == 0 and law.batch_shape == (3,)
    with pytest.raises(ValueError, match=r"shape \(3, L\) or \(L,\), got \(2, 1\)"):
        law.log_prob(block[:2])
    with pytest.raises(ValueError, match="at least one token for every active particle"):
        law.log_prob(torch.full((3, 1), PAD))
    with pytest.raises(ValueError, match=r"batch shape \(3,\), got \(7,\)"):
        law.expand((7,))
    with pytest.raises(ValueError, match="empty sample_shape"):
        law.sample((2,))
    with pytest.raises(ValueError, match="temperature above 0, got 0"):
        law.proposal(0.0)
