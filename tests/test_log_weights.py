"""Arithmetic of log-weights at its edges."""

import math

import pytest
import torch

from ppl_scaling.log_weights import ess, log_mean_exp, normalize, too_unequal


def rows(*values):
    return torch.tensor(values, dtype=torch.float64)


def test_values_by_hand():
    log_weights = rows([0.0, math.log(3)], [-800.0, -800.0])
    assert log_mean_exp(log_weights).tolist() == pytest.approx([math.log(2), -800.0])
    assert normalize(log_weights).tolist() == [pytest.approx([0.25, 0.75]), pytest.approx([0.5, 0.5])]
    assert ess(log_weights).tolist() == pytest.approx([16 / 10, 2.0])


def test_extreme_differences_and_zero_weights():
    log_weights = rows([0.0, -math.inf, -1e4], [1e4, 0.0, -math.inf])
    assert ess(log_weights).tolist() == pytest.approx([1.0, 1.0])
    assert normalize(log_weights)[:, 1].tolist() == [0.0, 0.0]


def test_all_weights_zero():
    dead = rows([-math.inf, -math.inf])
    assert log_mean_exp(dead).item() == -math.inf and ess(dead).item() == 0
    assert normalize(dead).isnan().all()


def test_nan_is_not_repaired_and_arguments_are_not_changed():
    log_weights = rows([math.nan, 0.0])
    assert log_mean_exp(log_weights).isnan().all() and ess(log_weights).isnan().all()
    untouched = rows([1.0, 2.0])
    for function in (log_mean_exp, normalize, ess):
        function(untouched)
    assert untouched.tolist() == [[1.0, 2.0]]


def test_one_particle_and_a_constant_shift():
    assert ess(rows([-3.0])).item() == pytest.approx(1.0)
    log_weights = torch.randn(5, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(ess(log_weights + 123.0), ess(log_weights))
    torch.testing.assert_close(log_mean_exp(log_weights + 123.0), log_mean_exp(log_weights) + 123.0)


def test_equal_weights_are_never_too_unequal():
    for number in (2, 3, 7, 100, 1001):
        equal = torch.full((1, number), -3.7, dtype=torch.float64)
        assert not too_unequal(equal, 1.0).any()
        equal[0, 0] += 1e-4
        assert too_unequal(equal, 1.0).all() and not too_unequal(equal, 0.5).any()
    assert too_unequal(torch.tensor([[0.0, -math.inf, -math.inf]]), 0.5).all()
