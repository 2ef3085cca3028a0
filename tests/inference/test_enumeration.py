"""Enumeration against a hand-made listing, so that the yardstick itself is measured."""

import itertools
import math

import pytest

from ppl_scaling.backends.finite import FiniteLanguageModel, FunctionRewardModel
from ppl_scaling.errors import AllWeightsZeroError
from ppl_scaling.inference import enumerate_posterior
from ppl_scaling.models import BernoulliLikelihood, LanguageModelStateSpace, OddsLikelihood, TwistLikelihood
from tests.worlds import LIKELIHOODS, WORLDS, LastLetter, truncation

TABLE = {"": {"a": 0.6, "b": 0.3, "$": 0.1}, "a": {"a": 0.2, "b": 0.5, "$": 0.3}}


def score(text):
    return 0.1 + 0.8 * (1 + text.count("a")) / (2 + len(text))


def by_hand(weigh):
    """List all strings over the alphabet of up to three one-token steps; ``weigh`` takes the scores of the prefixes."""
    joint = {}
    for length in (1, 2, 3):
        for letters in itertools.product("ab$", repeat=length):
            text = "".join(letters)
            if "$" in text[:-1] or (length < 3 and text[-1] != "$"):
                continue
            probability, scores = 1.0, []
            for place, letter in enumerate(letters):
                row = TABLE["a"] if place and letters[place - 1] == "a" else TABLE[""]
                probability *= row[letter]
                scores.append(score(text[: place + 1].rstrip("$")))
            joint[text.rstrip("$"), text[-1] == "$"] = probability * weigh(scores)
    return joint


@pytest.mark.parametrize(
    ("likelihood", "weigh"),
    [
        (BernoulliLikelihood(), math.prod),
        (BernoulliLikelihood(beta=2.0), lambda scores: math.prod(scores) ** 2),
        (TwistLikelihood(), lambda scores: scores[-1]),
        (TwistLikelihood(beta=0.5), lambda scores: math.sqrt(scores[-1])),
        (OddsLikelihood(temperature=2.0), lambda scores: math.sqrt(math.prod(r / (1 - r) for r in scores))),
    ],
    ids=repr,
)
def test_against_a_listing_by_hand(likelihood, weigh):
    """Each likelihood has the target that its docstring names: three different distributions over answers."""
    model = LanguageModelStateSpace(
        FiniteLanguageModel(TABLE), FunctionRewardModel(lambda prompt, text: score(text)), likelihood, max_steps=3
    )
    exact, joint = enumerate_posterior(model, "?"), by_hand(weigh)
    total = sum(joint.values())
    assert exact.log_evidence == pytest.approx(math.log(total))
    assert {(one.text, one.finished): one.probability for one in exact.trajectories} == pytest.approx(
        {key: value / total for key, value in joint.items()}
    )


@pytest.mark.parametrize("likelihood", LIKELIHOODS.values(), ids=LIKELIHOODS)
@pytest.mark.parametrize("world", WORLDS.values(), ids=WORLDS)
def test_it_is_a_distribution(world, likelihood):
    exact = enumerate_posterior(world(likelihood), "?")
    assert sum(one.probability for one in exact.trajectories) == pytest.approx(1)
    assert sum(exact.answers(LastLetter()).values()) == pytest.approx(1)
    assert all(one.finished != one.truncated for one in exact.trajectories)
    probabilities = [one.probability for one in exact.trajectories]
    assert probabilities == sorted(probabilities, reverse=True)


def test_the_prior_of_all_trajectories_sums_to_one_whatever_the_limits():
    for max_steps, max_step_tokens, max_tokens in itertools.product((1, 2, 3), (1, 3), (None, 2, 5)):
        base = truncation(LIKELIHOODS["twist"])
        model = LanguageModelStateSpace(
            base.language_model, None, max_steps=max_steps, max_step_tokens=max_step_tokens, max_tokens=max_tokens
        )
        exact = enumerate_posterior(model, "?")
        assert sum(math.exp(one.log_prior) for one in exact.trajectories) == pytest.approx(1)
        assert exact.log_evidence == pytest.approx(0)


def test_what_cannot_be_enumerated():
    model = truncation(LIKELIHOODS["twist"])
    with pytest.raises(ValueError, match="at most 10 trajectories, got more"):
        enumerate_posterior(model, "?", max_trajectories=10)
    flat = LanguageModelStateSpace(FiniteLanguageModel({"": {"a": 0.5, "b": 0.3, "$": 0.2}}), None, max_steps=1)
    assert len(enumerate_posterior(flat, "?", max_trajectories=3).trajectories) == 3
    with pytest.raises(ValueError, match="at most 2 trajectories, got more"):
        enumerate_posterior(flat, "?", max_trajectories=2)
    model.language_model = object()
    with pytest.raises(TypeError, match="a language model with a method 'steps', got object"):
        enumerate_posterior(model, "?")
    never = LanguageModelStateSpace(FiniteLanguageModel(TABLE), FunctionRewardModel(lambda prompt, text: 0.0), max_steps=2)
    with pytest.raises(AllWeightsZeroError):
        enumerate_posterior(never, "?")


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"a": {"$": 1.0}}, "empty context"),
        ({"": {"a": 0.5, "$": 0.6}}, "sum to 1"),
        ({"": {"a": 1.5, "$": -0.5}}, "sum to 1"),
        ({"": {"a": 1.0}}, "end token '\\$'"),
    ],
)
def test_bad_language_tables(table, message):
    with pytest.raises(ValueError, match=message):
        FiniteLanguageModel(table)


def test_bad_scores():
    with pytest.raises(ValueError, match=r"between 0 and 1 for 'x', got 1\.5"):
        FunctionRewardModel({"x": 1.5}).score_logit("", "x")
    with pytest.raises(ValueError, match="score table to have 'y', and it has no default"):
        FunctionRewardModel({"x": 0.5}).score_logit("", "y")
    assert FunctionRewardModel({"x": 0.5}, default=0.25).score_logit("", "y") == pytest.approx(math.log(1 / 3))
