"""Results of many independent runs against enumeration: what must be unbiased, and what may be biased and by how much."""

import numpy as np

from tests.statistics import assert_mean
from tests.worlds import LastLetter


def share_of(result, answer):
    """Probability of an answer in a result, zero if it was not found; ``None`` stands for having none."""
    if answer is None:
        return result.no_answer_probability
    return {entry.answer: entry.probability for entry in result.answers}.get(answer, 0.0)


def assert_unbiased(results, log_evidence, answers):
    """Evidence, and shares of the answers weighted by it, have no bias, however few particles there are.

    Returns the evidences relative to the exact one, in which other estimates are unbiased as well.
    """
    relative_evidence = np.exp([one.log_evidence - log_evidence for one in results])
    assert_mean(relative_evidence, 1.0)
    for answer, probability in answers.items():
        assert_mean(relative_evidence * [share_of(one, answer) for one in results], probability)
    return relative_evidence


def assert_matches(results, exact):
    """Evidence exactly unbiased; answers within the bias of a self-normalised estimate.

    With E[share * evidence] = probability and E[evidence] = 1 (relative to the exact one) the bias of the share is exactly
    -cov(share, evidence), so at most the product of the two spreads.
    """
    answers = exact.answers(LastLetter())
    relative_evidence = assert_unbiased(results, exact.log_evidence, answers)
    for answer, probability in answers.items():
        shares = np.array([share_of(one, answer) for one in results])
        assert_mean(shares, probability, bias=relative_evidence.std() * shares.std())
