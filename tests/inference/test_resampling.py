"""Laws of the resampling schemes."""

import numpy as np
import pytest
import torch

from ppl_scaling.inference import RESAMPLING_SCHEMES, resampling_scheme
from tests.statistics import assert_mean

SCHEMES = pytest.mark.parametrize("scheme", RESAMPLING_SCHEMES.values(), ids=RESAMPLING_SCHEMES)
WEIGHTS = {
    "uneven": [0.05, 0.3, 0.0, 0.4, 0.25],
    "whole copies": [0.25, 0.5, 0.0, 0.25],
    "one particle has all": [0.0, 1.0, 0.0],
    "zero at both ends": [0.0, 0.37, 0.21, 0.42, 0.0, 0.0],
    "one particle": [1.0],
}


def counts(ancestors, size):
    return torch.nn.functional.one_hot(ancestors, size).sum(-2)


@SCHEMES
@pytest.mark.parametrize("weights", WEIGHTS.values(), ids=WEIGHTS)
def test_expected_copies_are_n_times_the_weight(scheme, weights):
    torch.manual_seed(0)
    row = torch.tensor(weights, dtype=torch.float64)
    copies = counts(scheme(row.expand(20_000, -1)), len(row))
    for particle, weight in enumerate(weights):
        assert_mean(copies[:, particle], len(row) * weight)
    assert not copies[:, row == 0].any()


@pytest.mark.parametrize("name", ["systematic", "ssp"])
def test_floor_or_ceiling_copies(name):
    torch.manual_seed(1)
    weights = torch.softmax(3 * torch.randn(500, 33, dtype=torch.float64), -1)
    copies = counts(resampling_scheme(name)(weights), 33)
    assert ((copies - 33 * weights).abs() < 1 + 1e-9).all()


def test_residual_keeps_the_whole_part():
    torch.manual_seed(2)
    weights = torch.softmax(2 * torch.randn(500, 20, dtype=torch.float64), -1)
    assert (counts(resampling_scheme("residual")(weights), 20) >= (20 * weights).floor()).all()


def test_no_scheme_has_more_variance_than_multinomial():
    """Variance of the number of copies of the first half; standard errors of variances over 20000 draws are about 1 %."""
    torch.manual_seed(3)
    weights = torch.softmax(torch.randn(16, dtype=torch.float64), -1)
    variance = {
        name: float(counts(scheme(weights.expand(20_000, -1)), 16)[:, :8].sum(-1).double().var())
        for name, scheme in RESAMPLING_SCHEMES.items()
    }
    for name in ("stratified", "systematic", "residual", "ssp"):
        assert variance[name] < 0.9 * variance["multinomial"]


@SCHEMES
def test_groups_are_resampled_separately(scheme):
    torch.manual_seed(4)
    weights = torch.zeros(50, 4, dtype=torch.float64)
    weights[torch.arange(50), torch.arange(50) % 4] = 1.0
    assert (scheme(weights) == (torch.arange(50) % 4)[:, None]).all()


@SCHEMES
@pytest.mark.parametrize(
    ("uniform", "dtype"),
    [(0.0, torch.float64), (0.5, torch.float64), (1 - 2**-53, torch.float64), (1 - 2**-24, torch.float32)],
)
@pytest.mark.parametrize("size", [3, 7, 256])
def test_extreme_uniform_numbers_stay_in_range(scheme, uniform, dtype, size, monkeypatch):
    """Cumulative weights that round below one, and uniform numbers at both ends, give no index outside the particles."""
    monkeypatch.setattr(torch, "rand", lambda shape, **kind: torch.full(tuple(shape), uniform, **kind))
    weights = torch.full((1, size), 1 / size, dtype=dtype)
    weights[0, -1] = 0.0
    weights = weights / weights.sum() * (1 - 1e-15)
    ancestors = scheme(weights)
    assert ancestors.min() >= 0 and ancestors.max() <= size - 2


def test_unknown_name():
    with pytest.raises(ValueError, match="among multinomial, stratified, systematic, residual, ssp, got 'systemtic'"):
        resampling_scheme("systemtic")
    with pytest.raises(ValueError, match="did you mean 'systematic'"):
        resampling_scheme("systemtic")


@SCHEMES
def test_many_sizes_run_through(scheme):
    torch.manual_seed(5)
    for size in (1, 2, 5, 64, 300):
        weights = torch.rand(20, size, dtype=torch.float64) ** 6
        weights /= weights.sum(-1, keepdim=True)
        assert np.all(counts(scheme(weights), size).sum(-1).numpy() == size)
