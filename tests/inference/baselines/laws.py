"""What the baselines must do on finite worlds, worked out by listing all outcomes and without any code of theirs."""

import itertools
import math
from collections import defaultdict

from ppl_scaling.inference import enumerate_posterior
from ppl_scaling.models import LanguageModelStateSpace
from tests.statistics import assert_mean
from tests.worlds import LastLetter, score_of


def outcomes(model):
    """Probability of each (answer, final score) of one completion."""
    alone = LanguageModelStateSpace(
        model.language_model,
        None,
        max_steps=model.max_steps,
        max_step_tokens=model.max_step_tokens,
        max_tokens=model.max_tokens,
    )
    law = defaultdict(float)
    for one in enumerate_posterior(alone, "?").trajectories:
        answer = LastLetter().extract(one.text) if one.finished else None
        law[answer, score_of(model, one.text)] += one.probability
    return dict(law)


def winners(model, rule, size):
    """Law of the answer that ``rule`` finds among ``size`` completions."""
    law = defaultdict(float)
    for drawn in itertools.product(outcomes(model).items(), repeat=size):
        law[rule([pair for pair, _ in drawn])] += math.prod(probability for _, probability in drawn)
    assert math.isclose(sum(law.values()), 1)
    return law


def assert_answers(results, law):
    """How often each answer is found; answers too rare for a normal mean are left to the others."""
    for answer, probability in law.items():
        if probability * len(results) > 10:
            assert_mean([one.answer == answer for one in results], probability)


def first(pairs):
    return pairs[0][0]


def majority(pairs):
    return _largest({}, ((answer, 1) for answer, _ in pairs))


def weighted(pairs):
    return _largest({}, pairs)


def best(pairs):
    answering = [pair for pair in pairs if pair[0] is not None]
    return max(answering, key=lambda pair: pair[1])[0] if answering else None


def _largest(votes, pairs):
    for answer, weight in pairs:
        if answer is not None:
            votes[answer] = votes.get(answer, 0) + weight
    return max(votes, key=lambda answer: round(votes[answer], 12)) if votes else None
