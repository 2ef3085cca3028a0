"""Draws of a Dirichlet process by breaking sticks, which the closed forms know nothing of."""

import numpy as np


def stick_breaking(rng, concentration, num_draws, num_sticks):
    """Weights of the atoms of each draw, shape (num_draws, num_sticks); the last atom has what is left of the stick."""
    fractions = rng.beta(1, concentration, (num_draws, num_sticks))
    fractions[:, -1] = 1
    left = np.cumprod(np.concatenate([np.ones((num_draws, 1)), 1 - fractions[:, :-1]], 1), 1)
    return fractions * left
