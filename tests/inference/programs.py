"""A user's own program that several samplers are tested on: a latent of each particle and a factor of each step."""

import math

import numpy as np
import pyro
import pyro.distributions as dist
import torch

from ppl_scaling.inference import enumerate_posterior
from ppl_scaling.models import LanguageModelStateSpace
from tests.worlds import LIKELIHOODS, LastLetter, early_ends

TEMPERATURES = (0.6, 1.0, 2.0)
PRIOR = (0.2, 0.5, 0.3)
PENALTY = 0.35


class WarmAndBrief(LanguageModelStateSpace):
    """A temperature for each particle, and a penalty for every step that it takes."""

    def init(self, state, prompts):
        super().init(state, prompts)
        state["choice"] = pyro.sample("choice", dist.Categorical(torch.tensor(PRIOR)))
        state["temperature"] = torch.tensor(TEMPERATURES)[state["choice"]]

    def step(self, state, t):
        active = ~state["finished"] & ~state["truncated"]
        super().step(state, t)
        pyro.factor(f"brief_{t}", torch.where(active, -PENALTY, 0.0))


def warm_and_brief():
    base = early_ends(LIKELIHOODS["bernoulli"])
    return WarmAndBrief(base.language_model, base.reward_model, base.likelihood, max_steps=base.max_steps)


def exact_warm_and_brief():
    """Log-evidence, posterior of the answers and posterior of the choice of a temperature, by enumeration."""
    joint = {}
    for choice, temperature in enumerate(TEMPERATURES):
        base = early_ends(LIKELIHOODS["bernoulli"])
        base.temperature = temperature
        for one in enumerate_posterior(base, "?").trajectories:
            key = choice, LastLetter().extract(one.text) if one.finished else None
            weight = PRIOR[choice] * math.exp(one.log_joint - PENALTY * len(one.steps))
            joint[key] = joint.get(key, 0.0) + weight
    evidence = sum(joint.values())
    answers, choices = {}, np.zeros(len(PRIOR))
    for (choice, answer), weight in joint.items():
        answers[answer] = answers.get(answer, 0.0) + weight / evidence
        choices[choice] += weight / evidence
    return math.log(evidence), answers, choices
