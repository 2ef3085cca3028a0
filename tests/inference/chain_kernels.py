"""Chains that start in the exact posterior: whatever the kernel, they must stay there."""

import numpy as np

from ppl_scaling.inference import Reference, enumerate_posterior
from ppl_scaling.seeding import seeded
from tests.statistics import assert_mean


def blocks_of(model, trajectory):
    """Token blocks of an exact trajectory of a model whose tokens are single letters."""
    number = model.language_model.tokens.index
    blocks = [[number(letter) for letter in step] for step in trajectory.steps]
    if trajectory.finished:
        blocks[-1].append(number(model.language_model.end))
    return tuple(map(tuple, blocks))


def exact_blocks(model):
    """Posterior probability of each trajectory, by its token blocks."""
    return {blocks_of(model, one): one.probability for one in enumerate_posterior(model, "?").trajectories}


def exact_draws(model, num_chains, seed):
    """References drawn from the posterior: a shifted grid, so that their shares are right to one in a chain."""
    exact = exact_blocks(model)
    rng = np.random.default_rng(seed)
    places = (np.arange(num_chains) + rng.random()) / num_chains
    chosen = np.searchsorted(np.cumsum(list(exact.values())), places * (1 - 1e-12))
    keys = list(exact)
    return [Reference(keys[one]) for one in rng.permutation(chosen)]


def assert_law(shares_of_chains, exact, **settings):
    """Compare shares of trajectories in each of many independent chains with their probabilities.

    Trajectories that fewer than ten chains are expected at, or of a probability below .02, are taken together: means of
    their shares are not close to normal.
    """
    least = max(0.02, 10 / len(shares_of_chains))
    common = [key for key, probability in exact.items() if probability >= least]
    for key in common:
        assert_mean([shares.get(key, 0.0) for shares in shares_of_chains], exact[key], **settings)
    rest = 1 - sum(exact[key] for key in common)
    if rest > least:
        assert_mean([1 - sum(shares.get(key, 0.0) for key in common) for shares in shares_of_chains], rest, **settings)


def weighted_shares(sweep):
    """Weight of each trajectory among the particles of a sweep."""
    shares = {}
    for one in sweep.trajectories:
        shares[one.token_blocks] = shares.get(one.token_blocks, 0.0) + one.weight
    return shares


def assert_invariant(gibbs, num_chains, num_sweeps, seed, problem="?", can_die=False):
    """Run the kernel from exact draws; particles, draws and evidences must have the laws that theory gives them."""
    model = gibbs.model
    exact, log_evidence = exact_blocks(model), enumerate_posterior(model, problem).log_evidence
    references = exact_draws(model, num_chains, seed)
    with seeded(seed):
        for _ in range(num_sweeps):
            sweeps = gibbs.sweep([problem] * num_chains, references)
            references = [one.draw for one in sweeps]
    assert_law([weighted_shares(one) for one in sweeps], exact)
    assert_law([{one.draw.token_blocks: 1.0} for one in sweeps], exact)
    if not can_die:
        assert_mean([np.exp(log_evidence - one.log_evidence) for one in sweeps], 1.0)
    return sweeps
