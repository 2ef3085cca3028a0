"""Stopping rules on whole pools at once: every order and every n together, from one table of nodes for each model.

The library decides one problem at a time; a replay asks millions of times. So the posterior is put on a fixed set of nodes
of the prior (``optscale_replay.py --check`` holds the decisions against the library's), and everything that a rule needs is
a product of matrices.
"""

from typing import NamedTuple

import numpy as np
import torch
from scipy import special, stats

from ppl_scaling.models.scores import Prior

GRID = np.linspace(0, 1, 201)


class Outlook(NamedTuple):
    """What the rules look at; see :meth:`Nodes.decide`."""

    gain: np.ndarray
    missed: np.ndarray
    planned: np.ndarray
    fresh: np.ndarray
    mean: np.ndarray


class Nodes:
    """Parameters of a model of two with prior weights, on a grid.

    Parameters
    ----------
    model : ScoreModel
    targets : sequence of float
    caps, peeks : sequence of int
        Most completions, and after how many a plan is made.
    length : int
        Most completions of all.
    """

    def __init__(self, model, targets, caps, peeks, length, sides=(49, 21)):
        self.caps, self.peeks = caps, peeks
        prior, names = model.prior, model.parameters
        axes = [np.linspace(-3.2, 3.2, side) for side in sides]
        unit = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 2)
        self.log_weights = stats.norm.logpdf(unit).sum(1)
        self.model = model
        self.values = {
            name: torch.from_numpy(prior.location[name] + prior.scale[name] * unit[:, i]) for i, name in enumerate(names)
        }
        log_below = np.stack([self._log_cdf(target) for target in targets], 1)
        above = np.stack([-np.expm1(self._log_cdf(score)) for score in GRID], 0)  # (grid, nodes): P(s >= score)
        pieces = np.diff(GRID)[:, None] * (above[1:] + above[:-1]) / 2
        # Expected gain of one more completion above each point of the grid.
        gain = np.concatenate([np.cumsum(pieces[::-1], 0)[::-1], np.zeros((1, above.shape[1]))])
        self.gain = torch.from_numpy(gain).float()
        powers = np.exp(np.arange(length + 1)[:, None, None] * np.maximum(log_below, -1e3))
        self.powers = torch.from_numpy(powers).float()  # (length + 1, nodes, targets)

    def _log_cdf(self, score):
        return self.model.log_cdf(float(score), self.values).numpy()

    def weights(self, pool):
        """Posterior weights in every order after every n: (orders, length, nodes)."""
        scores, where = np.unique(pool.scores, return_inverse=True)
        table = self.model.log_prob(torch.from_numpy(scores), self.values).T
        table = torch.nan_to_num(table, neginf=-1e4).float()[torch.from_numpy(where)]
        table[torch.from_numpy(pool.answers < 0)] = 0  # what has no answer says nothing of the scores of those that have
        total = table[torch.from_numpy(pool.order)].cumsum_(1)
        total += torch.from_numpy(self.log_weights).float()
        return torch.softmax(total, -1, dtype=torch.float32)

    def decide(self, pool):
        """What the rules look at, after every n in every order.

        Returns
        -------
        gain : array, shape (orders, length)
            Expected gain of one completion more.
        missed : array, shape (caps, orders, length, targets)
            Probability that all completions that a cap still allows stay below a target.
        planned : array, shape (peeks, orders, targets, length)
            Probability that 1, 2, ... further ones do, after a peek.
        fresh : array, shape (orders, length, targets)
            Probability that as many completions as have been drawn, were they drawn anew, would stay below a target.
        mean : array, shape (orders, length)
            Expected score of the next completion.
        """
        weights = self.weights(pool)
        cell = np.clip(np.searchsorted(GRID, pool.best, side="right") - 1, 0, len(GRID) - 2)
        share = torch.from_numpy((pool.best - GRID[cell]) / np.diff(GRID)[cell]).float()
        ahead = weights @ self.gain.T  # (orders, length, grid)
        low, high = (ahead.gather(2, torch.from_numpy(at)[..., None])[..., 0] for at in (cell, cell + 1))
        missed = torch.stack(
            [
                torch.stack([weights[:, n] @ self.powers[max(cap - n - 1, 0)] for n in range(weights.shape[1])], 1)
                for cap in self.caps
            ]
        )
        planned = torch.stack([torch.einsum("ok,mkt->otm", weights[:, n - 1], self.powers[1:]) for n in self.peeks])
        fresh = torch.stack([weights[:, n] @ self.powers[n + 1] for n in range(weights.shape[1])], 1)
        gain = (1 - share) * low + share * high
        return Outlook(*(one.numpy() for one in (gain, missed, planned, fresh, ahead[..., 0])))


class Dirichlet:
    """A Dirichlet process: the same from closed forms.

    Parameters
    ----------
    concentration : float
    base : array
        Sorted scores that stand for the base law.
    """

    def __init__(self, concentration, base, targets, caps, peeks, length):
        self.concentration, self.targets, self.caps, self.peeks, self.length = concentration, targets, caps, peeks, length
        above = 1 - np.searchsorted(base, GRID) / len(base)
        pieces = np.diff(GRID) * (above[1:] + above[:-1]) / 2
        self.gain = np.append(np.cumsum(pieces[::-1])[::-1], 0.0)
        self.below = np.clip(np.searchsorted(base, targets) / len(base), 1e-9, 1 - 1e-9)

    def decide(self, pool):
        """See :meth:`Nodes.decide`."""
        n = np.arange(1, self.length + 1)
        gain = self.concentration / (self.concentration + n) * np.interp(pool.best, GRID, self.gain)
        under = (pool.seen[..., None] < self.targets).cumsum(1) + self.concentration * self.below
        over = n[:, None] + self.concentration - under

        def all_below(m, under, over):
            ratio = special.gammaln(under + m) - special.gammaln(under)
            return np.exp(ratio + special.gammaln(under + over) - special.gammaln(under + over + m))

        missed = np.stack([all_below(np.maximum(cap - n, 0)[:, None], under, over) for cap in self.caps])
        at = [(under[:, peek - 1, :, None], over[:, peek - 1, :, None]) for peek in self.peeks]
        planned = np.stack([all_below(n, *one) for one in at])
        mean = (self.concentration * self.gain[0] + pool.seen.cumsum(1)) / (self.concentration + n)
        return Outlook(gain, missed, planned, all_below(n[:, None], under, over), mean)


class PlugIn:
    """A truncated normal fitted to what has been seen, in every order after every n at once.

    Parameters
    ----------
    prior : tuple of float, optional
        Location of mean and standard deviation; their prior standard deviation is 0.1, as in the paper. Without it the fit
        is the one of maximum likelihood.
    """

    def __init__(self, targets, prior=None, start=(0.8, 0.2)):
        self.targets, self.prior, self.start = np.asarray(targets), prior, start

    def fit(self, mean, variance, n):
        """Location and scale; Newton steps in the location and the logarithm of the scale, all problems at once."""
        mu = np.full(mean.shape, self.start[0] if self.prior is None else self.prior[0])
        rho = np.log(np.full(mean.shape, self.start[1] if self.prior is None else self.prior[1]))

        def loss(mu, rho):
            sigma = np.exp(rho)
            low, high = -mu / sigma, (1 - mu) / sigma
            flip = low > 0  # the far tail is accurate on the left only
            left, right = np.where(flip, -high, low), np.where(flip, -low, high)
            mass = special.log_ndtr(right) + np.log(-np.expm1(np.minimum(_difference(left, right), -1e-300)))
            total = rho + (variance + (mean - mu) ** 2) / (2 * sigma**2) + mass
            if self.prior is not None:
                total = total + ((mu - self.prior[0]) ** 2 + (sigma - self.prior[1]) ** 2) / (2 * 0.01 * n)
            return total

        damping, current = np.full(mean.shape, 1e-3), None
        current = loss(mu, rho)
        for _ in range(60):
            step = 1e-4 * np.exp(rho)
            h = 1e-4
            up, down = loss(mu + step, rho), loss(mu - step, rho)
            over, under = loss(mu, rho + h), loss(mu, rho - h)
            both = loss(mu + step, rho + h) - loss(mu + step, rho - h) - loss(mu - step, rho + h) + loss(mu - step, rho - h)
            g = np.stack([(up - down) / 2e-4, (over - under) / (2 * h)])  # in units of sigma
            a = (up - 2 * current + down) / 1e-8 + damping
            b = (over - 2 * current + under) / h**2 + damping
            c = both / (4e-4 * h)
            determinant = a * b - c**2
            good = (determinant > 0) & (a > 0)
            first = np.where(good, (b * g[0] - c * g[1]) / np.where(good, determinant, 1), g[0])
            second = np.where(good, (a * g[1] - c * g[0]) / np.where(good, determinant, 1), g[1])
            new_mu = np.clip(mu - np.clip(first, -3, 3) * np.exp(rho), -30, 31)
            new_rho = np.clip(rho - np.clip(second, -1, 1), np.log(1e-6), np.log(30))
            new = loss(new_mu, new_rho)
            better = new <= current
            mu, rho = np.where(better, new_mu, mu), np.where(better, new_rho, rho)
            current = np.where(better, new, current)
            damping = np.where(better, damping / 4, np.minimum(damping * 8 + 1e-6, 1e8))
        return mu, np.exp(rho)

    def log_below(self, mu, sigma):
        """``log F(target)`` at the fit, with the targets in a new last dimension."""
        mu, sigma = mu[..., None], sigma[..., None]
        return np.asarray(stats.truncnorm.logcdf(self.targets, -mu / sigma, (1 - mu) / sigma, mu, sigma))

    def decide(self, pool):
        """``log F(target)`` in every order after every n: (orders, length, targets)."""
        seen = pool.seen
        n = np.arange(1, seen.shape[1] + 1)
        mean = np.cumsum(seen, 1) / n
        variance = np.maximum(np.cumsum(seen**2, 1) / n - mean**2, 0)
        return self.log_below(*self.fit(mean, variance, n))


def _difference(left, right):
    return special.log_ndtr(left) - special.log_ndtr(right)


def population_prior(model, problems, most=40):
    """Prior of a new problem: mean and spread of the fits of some problems, each by maximum a posteriori."""
    fits = []
    for scores in problems:
        data = torch.as_tensor(scores[:most], dtype=torch.float64)
        z = torch.zeros(len(model.parameters), dtype=torch.float64, requires_grad=True)
        optimiser = torch.optim.LBFGS([z], max_iter=60, line_search_fn="strong_wolfe")

        def closure(data=data, z=z, optimiser=optimiser):
            optimiser.zero_grad()
            values = {k: model.prior.location[k] + model.prior.scale[k] * z[i] for i, k in enumerate(model.parameters)}
            loss = -model.log_likelihood(data, values) + 0.5 * (z**2).sum()
            loss.backward()
            return loss

        optimiser.step(closure)
        fits.append(z.detach().numpy())
    fits = np.array(fits)
    location, scale = fits.mean(0), np.maximum(fits.std(0), 0.02)
    names = model.parameters
    return Prior(
        {k: model.prior.location[k] + model.prior.scale[k] * float(location[i]) for i, k in enumerate(names)},
        {k: model.prior.scale[k] * float(scale[i]) for i, k in enumerate(names)},
    )
