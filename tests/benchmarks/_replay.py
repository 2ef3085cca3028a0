"""Pools of completions in many random orders, and what a stopping rule finds and spends on them.

Nothing here decides anything: a rule says after how many completions it stops in each order of each pool, and this says what
that is worth.
"""

from dataclasses import dataclass, field

import numpy as np


@dataclass
class Pool:
    """Completions of one problem, in many orders of which only the beginning is looked at.

    Attributes
    ----------
    scores, correct, tokens, answers : array, shape (size,)
    order : integer array, shape (orders, length)
    leader : integer array, shape (orders, length)
        The completion with the best score so far.
    """

    scores: np.ndarray
    correct: np.ndarray
    tokens: np.ndarray
    answers: np.ndarray
    order: np.ndarray
    leader: np.ndarray = field(init=False)
    _spent: np.ndarray | None = field(default=None, init=False)

    def __post_init__(self):
        seen = self.scores[self.order]
        best = np.maximum.accumulate(seen, axis=1)
        fresh = np.concatenate([np.ones((len(seen), 1), bool), seen[:, 1:] > best[:, :-1]], axis=1)
        position = np.maximum.accumulate(np.where(fresh, np.arange(seen.shape[1]), 0), axis=1)
        self.leader = np.take_along_axis(self.order, position, axis=1)

    @property
    def seen(self):
        """Scores in their order."""
        return self.scores[self.order]

    @property
    def best(self):
        """The best score so far."""
        return self.scores[self.leader]

    def worth(self, stops, chosen=None):
        """Mean accuracy, best score, completions and tokens over the orders, for each row of ``stops``.

        Parameters
        ----------
        stops : integer array, shape (points, orders)
            After how many completions each order is stopped.
        chosen : array, shape (orders, length), optional
            Whether the answer after n completions is right; default: that of the best score.
        """
        if self._spent is None:
            self._spent = np.cumsum(self.tokens[self.order], axis=1)
        right = self.correct[self.leader] if chosen is None else chosen
        rows = np.arange(len(self.order))
        found = [table[rows, stops - 1].mean(-1) for table in (right, self.best, self._spent)]
        return np.stack([*found[:2], stops.mean(-1), found[2]], -1)

    def votes(self):
        """What the answers say after each completion; ties go to the answer that was found first.

        Returns
        -------
        dict of arrays, shape (orders, length)
            ``first`` and ``second``: votes of the leading answers; ``of_best``: of the answer with the best score;
            ``once``: how many answers have been found once; ``right`` and ``weighted_right``: whether the answer with most
            votes is right, and the one with the largest sum of scores.
        """
        orders, length = self.order.shape
        rows = np.arange(orders)
        right_of = np.zeros(self.answers.max() + 2, bool)  # the last is for no answer
        right_of[self.answers[self.correct.astype(bool)]] = True
        counts = np.zeros((orders, len(right_of)))
        weights = np.zeros_like(counts)
        leader = np.full(orders, -1)
        weighty = np.full(orders, -1)
        names = "first", "second", "of_best", "once", "right", "weighted_right"
        found = {name: np.zeros((orders, length)) for name in names}
        for n in range(length):
            drawn = self.order[:, n]
            answer = self.answers[drawn]
            voted = answer >= 0
            counts[rows, answer] += voted
            weights[rows, answer] += voted * self.scores[drawn]
            leader = np.where(voted & (counts[rows, answer] > counts[rows, leader]), answer, leader)
            weighty = np.where(voted & (weights[rows, answer] > weights[rows, weighty]), answer, weighty)
            found["first"][:, n] = counts[rows, leader]
            others = counts.copy()
            others[rows, leader] = 0
            found["second"][:, n] = others.max(1)
            found["of_best"][:, n] = counts[rows, self.answers[self.leader[:, n]]]
            found["once"][:, n] = (counts == 1).sum(1)
            found["right"][:, n], found["weighted_right"][:, n] = right_of[leader], right_of[weighty]
        return found


def pools_of(scores, correct, tokens, answers, *, num_orders, length, seed):
    """Pools of the problems in the rows; each has its own stream, so that a subset is shuffled as it is in the whole."""
    made = []
    for j in range(len(scores)):
        rng = np.random.default_rng([seed, j])
        order = np.argsort(rng.random((num_orders, scores.shape[1])), axis=1)[:, :length]
        made.append(Pool(scores[j], correct[j], tokens[j], answers[j], order))
    return made


def first_stop(stop, caps, earliest=1):
    """The first n, from ``earliest``, at which a rule stops, and each cap if that comes first.

    Parameters
    ----------
    stop : boolean array, shape (..., orders, length)
    caps : sequence of int

    Returns
    -------
    integer array, shape (..., caps, orders)
    """
    stop = stop.copy()
    stop[..., : earliest - 1] = False
    stop[..., -1] = True
    first = stop.argmax(axis=-1) + 1
    return np.minimum(first[..., None, :], np.asarray(caps)[:, None])


@dataclass
class Family:
    """Operating points of one kind of rule.

    Attributes
    ----------
    name : str
    points : list
        A label for each operating point.
    worth : array, shape (problems, points, 4)
        As :meth:`Pool.worth` gives it.
    """

    name: str
    points: list
    worth: np.ndarray

    def means(self, problems, what=0):
        """Mean accuracy (or other thing) and completions of every point over some problems."""
        return self.worth[problems][:, :, what].mean(0), self.worth[problems][:, :, 2].mean(0)


def frontier(value, cost):
    """Points on the upper concave hull of value by cost, cheapest first: mixtures of two rules are rules too."""
    hull = []
    for point in np.lexsort((-value, cost)):
        if hull and value[point] <= value[hull[-1]]:
            continue
        while len(hull) > 1:
            a, b = hull[-2], hull[-1]
            if (value[b] - value[a]) * (cost[point] - cost[a]) > (value[point] - value[a]) * (cost[b] - cost[a]):
                break
            hull.pop()
        hull.append(int(point))
    return hull


def cost_of(level, value, cost):
    """Completions at which the broken line through the points, in their order, first has a level; infinite if never."""
    if value[0] >= level:
        return cost[0]
    for k in range(1, len(value)):
        if value[k] >= level:
            share = (level - value[k - 1]) / (value[k] - value[k - 1])
            return cost[k - 1] + share * (cost[k] - cost[k - 1])
    return np.inf
