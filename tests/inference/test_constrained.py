"""Generation under a constraint: factors on what was written, and proposals that write nothing else, against enumeration."""

import math

import numpy as np
import pyro
import pytest
import torch

from ppl_scaling.inference import ParticleFilter, enumerate_posterior
from ppl_scaling.models import LanguageModelStateSpace
from ppl_scaling.token_law import TokenLaw
from tests.statistics import assert_mean
from tests.worlds import LIKELIHOODS, LastLetter, truncation

BANNED = "b"


class Without(LanguageModelStateSpace):
    """Never writes what is banned; steps have several tokens."""

    def step(self, state, t):
        super().step(state, t)
        kept = torch.tensor([BANNED not in text for text in self.texts(state, t)])
        pyro.factor(f"kept_{t}", torch.where(kept, 0.0, -math.inf))


class Guide:
    def __init__(self, model):
        self.model = model
        self.allowed = torch.tensor([token != BANNED for token in model.language_model.tokens])

    def init(self, state, prompts):
        pass

    def step(self, state, t):
        pyro.sample(f"x_{t}", self.model.transition(state, t).proposal(1.2, allowed=self.allowed))


def constrained(kind=Without):
    base = truncation(LIKELIHOODS["bernoulli"])
    limits = {name: getattr(base, name) for name in ("max_steps", "max_step_tokens", "max_tokens")}
    model = kind(base.language_model, base.reward_model, base.likelihood, **limits)
    exact = [one for one in enumerate_posterior(base, "?").trajectories if BANNED not in one.text]
    return model, exact


@pytest.mark.parametrize("guided", [False, True], ids=["factor alone", "proposal that keeps to it"])
def test_a_constraint_is_conditioned_on(guided):
    model, exact = constrained()
    evidence = sum(math.exp(one.log_joint) for one in exact)
    smc = ParticleFilter(model, Guide(model) if guided else None, num_particles=60, answer_format=LastLetter())
    results = smc.run_batch(["?"] * 300, seed=1)
    relative = np.exp([one.log_evidence for one in results]) / evidence
    assert_mean(relative, 1.0)
    text = max(exact, key=lambda one: one.probability).text
    probability = sum(math.exp(one.log_joint) for one in exact if one.text == text) / evidence
    shares = [sum(one.weight for one in result.trajectories if one.text == text) for result in results]
    assert_mean(relative * np.array(shares), probability)


def test_tokens_that_are_not_allowed_are_never_drawn_and_the_rest_is_normalised():
    logits = torch.tensor([[0.0, 1.0, 2.0, 3.0]])
    law = TokenLaw(torch.ones(1), top_k=2, allowed=torch.tensor([True, True, True, False]))
    expected = torch.tensor([[-math.inf, -math.log1p(math.e), -math.log1p(math.exp(-1)), -math.inf]])
    torch.testing.assert_close(law.log_probs(logits), expected)
    torch.testing.assert_close(law.rows(torch.tensor([0, 0])).log_probs(logits), expected)
    assert not law.agrees_with(TokenLaw(torch.ones(1), top_k=2))


def test_allowed_tokens_of_the_wrong_kind_are_refused():
    with pytest.raises(ValueError, match=r"bool tensor of shape \(V,\).*got torch.int64 of shape \(2,\)"):
        TokenLaw(torch.ones(1), allowed=torch.tensor([0, 1]))
    with pytest.raises(ValueError, match="each of the 3 tokens that the model has logits for, got 2"):
        TokenLaw(torch.ones(1), allowed=torch.tensor([True, True])).log_probs(torch.zeros(1, 3))
