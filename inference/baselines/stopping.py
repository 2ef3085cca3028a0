r"""How sure it is that the answer with the most votes would keep its lead: the stopping rules of adaptive self-consistency.

Votes :math:`v_1 \ge v_2 \ge \dots` for the answers seen so far are draws from unknown probabilities :math:`p` with a uniform
prior, so :math:`p \mid v \sim \mathrm{Dirichlet}(v + 1)`. Both rules are posterior probabilities, and one-dimensional
integrals that are computed to rounding error, not sampled.

References
----------
Aggarwal et al. (2023), Let's sample step by step, arXiv 2305.11860.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from scipy import integrate, special

__all__ = ["STOPPING_RULES", "beta_confidence", "dirichlet_confidence"]


def beta_confidence(votes: Sequence[int]) -> float:
    r"""Probability that the leader beats the runner-up, all other answers left aside.

    :math:`P(p_1 > 1/2)` for :math:`p_1 \sim \mathrm{Beta}(v_1 + 1, v_2 + 1)`. Where only one answer has been seen, the
    runner-up is one without votes.

    Parameters
    ----------
    votes : sequence of int
        For each answer seen so far, in any order.
    """
    leader, second, *_ = [*sorted(votes, reverse=True), 0, 0]
    return float(special.betainc(second + 1, leader + 1, 0.5))


def dirichlet_confidence(votes: Sequence[int]) -> float:
    r"""Probability that the leader is the most probable of all answers seen.

    :math:`P(p_1 > \max_{i \ge 2} p_i)` for :math:`p \sim \mathrm{Dirichlet}(v + 1)`. As such a vector is one of independent
    Gamma variables over their sum, it is :math:`\int_0^1 \prod_{i \ge 2} F_i(F_1^{-1}(u))\, du` with their distribution
    functions :math:`F_i`. With fewer than three answers it is :func:`beta_confidence`.

    Parameters
    ----------
    votes : sequence of int
    """
    shapes = np.sort(np.asarray(votes, dtype=float))[::-1] + 1
    if len(shapes) < 3:
        return beta_confidence(votes)

    def all_below(u: float) -> float:
        return float(np.prod(special.gammainc(shapes[1:], special.gammaincinv(shapes[0], u))))

    return float(integrate.quad(all_below, 0.0, 1.0, epsabs=1e-9, epsrel=1e-9, limit=200)[0])


STOPPING_RULES: dict[str, Callable[[Sequence[int]], float]] = {"beta": beta_confidence, "dirichlet": dirichlet_confidence}
"""The rules by name."""
