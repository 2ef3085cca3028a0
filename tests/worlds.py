"""Finite worlds with a known posterior, and the models over them that the samplers are tested on."""

import math

from ppl_scaling.backends.finite import FiniteLanguageModel, FunctionRewardModel
from ppl_scaling.inference.results import Trajectory
from ppl_scaling.models import BernoulliLikelihood, LanguageModelStateSpace, OddsLikelihood, TwistLikelihood

LIKELIHOODS = {
    "bernoulli": BernoulliLikelihood(),
    "bernoulli, beta 0.5": BernoulliLikelihood(beta=0.5),
    "twist": TwistLikelihood(),
    "twist, beta 2": TwistLikelihood(beta=2.0),
    "odds": OddsLikelihood(),
    "odds, temperature 2": OddsLikelihood(temperature=2.0, beta=0.5),
}


class LastLetter:
    """The answer is the last letter; an empty text has none."""

    def extract(self, text):
        return text[-1:] or None

    def equivalent(self, first, second):
        return first == second


class AnyCase(LastLetter):
    """Capitals mean what small letters mean."""

    def equivalent(self, first, second):
        return first.lower() == second.lower()


def answering(answer, weight):
    """A trajectory of which nothing matters but its answer and its weight."""
    return Trajectory((), "", (), math.nan, 0.0, weight, answer, True, False, 1, ())


def make(kind, model, **settings):
    """A method that finds the answers of these worlds."""
    return kind(model, answer_format=LastLetter(), **settings)


def score_of(model, text):
    return 1 / (1 + math.exp(-model.reward_model.score_logit("?", text)))


def step_scores(model, trajectory):
    """Scores of a trajectory whose steps are single letters, from its own prefixes; an end that is written is a step."""
    text = trajectory.text
    prefixes = [text[: length + 1] for length in range(len(text))] + [text] * trajectory.finished
    return [score_of(model, prefix) for prefix in prefixes]


def early_ends(likelihood):
    """Answers of one to four one-token steps, which may end at once and are never cut before the fourth."""
    language = FiniteLanguageModel({"": {"a": 0.5, "b": 0.3, "$": 0.2}, "a": {"a": 0.3, "b": 0.3, "$": 0.4}})
    scores = {"": 0.5, "a": 0.6, "b": 0.3, "aa": 0.8, "ab": 0.4, "ba": 0.7, "bb": 0.1}
    reward = FunctionRewardModel(lambda prompt, text: scores.get(text, 0.2 + 0.6 * (text.count("a") / (1 + len(text)))))
    return LanguageModelStateSpace(language, reward, likelihood, max_steps=5)


def truncation(likelihood):
    """Steps of several tokens, limits on tokens of a step and of the whole, many truncated particles."""
    table = {
        "": {"a": 0.5, "b": 0.4, "$": 0.1},
        "a": {"a": 0.2, "b": 0.5, ";": 0.2, "$": 0.1},
        ";": {"a": 0.5, "b": 0.5},
    }
    reward = FunctionRewardModel(lambda prompt, text: (0.9, 0.2, 0.5)[len(text) % 3])
    return LanguageModelStateSpace(
        FiniteLanguageModel(table, delimiter=";"), reward, likelihood, max_steps=3, max_step_tokens=3, max_tokens=7
    )


def impossible_branches(likelihood):
    """Scores of exactly 0 (branches of weight zero) and tokens of probability zero."""
    language = FiniteLanguageModel(
        {
            "": {"a": 0.4, "b": 0.4, "c": 0.2},
            "c": {"c": 0.0, "a": 1.0},
            "a": {"b": 0.5, "$": 0.5},
            "b": {"a": 0.7, "$": 0.3},
        }
    )
    reward = FunctionRewardModel(
        lambda prompt, text: 0.0 if text.startswith("b") or "aba" in text else 0.35 + 0.1 * len(text)
    )
    return LanguageModelStateSpace(language, reward, likelihood, max_steps=6)


WORLDS = {"early ends": early_ends, "truncation": truncation, "impossible branches": impossible_branches}
