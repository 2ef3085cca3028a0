"""Fits of calibrations against quadrature, and the truth that labels were drawn from; metrics by hand.

Statistical comparisons are with 5 standard errors (a false alarm in 1.7 million each, of about ten).
"""

import functools
import math

import numpy as np
import pyro
import pytest
import torch
from scipy.special import expit, logit

from ppl_scaling.inference.calibration import fit_calibration
from ppl_scaling.inference.calibration_metrics import score_metrics
from ppl_scaling.models import (
    CALIBRATIONS,
    BetaCalibration,
    MonotoneCalibration,
    PlattCalibration,
    TemperatureCalibration,
)
from tests.statistics import K

NUM_LABELS = 60


@functools.cache
def small():
    """Few labels of scores that are too sure."""
    rng = np.random.default_rng(5)
    logits = rng.normal(1.0, 3.0, NUM_LABELS)
    return logits, (rng.random(NUM_LABELS) < expit(logits / 2)).astype(float)


def on_a_grid(*axes):
    """Weights, and the log-evidence, of the maps ``l exp(a) + c`` with a and c on grids, under the priors of the classes."""
    logits, labels = small()
    mesh = np.meshgrid(*axes, indexing="ij")
    scales = (1.0, 2.0)
    log_joint = sum(
        -0.5 * (one / s) ** 2 - math.log(s * math.sqrt(2 * math.pi)) for one, s in zip(mesh, scales, strict=False)
    )
    mapped = np.exp(mesh[0])[..., None] * logits + (mesh[1][..., None] if len(axes) > 1 else 0.0)
    log_joint = log_joint - np.logaddexp(0, np.where(labels == 1, -mapped, mapped)).sum(-1)
    cell = math.prod(axis[1] - axis[0] for axis in axes)
    evidence = np.logaddexp.reduce(log_joint, None) + math.log(cell)
    return np.exp(log_joint - np.logaddexp.reduce(log_joint, None)), evidence


@pytest.mark.parametrize("method", ["laplace", "nuts"])
def test_the_posterior_of_a_straight_line_against_quadrature(method):
    logits, labels = small()
    size = 4000 if method == "laplace" else 150
    fit = fit_calibration(PlattCalibration(), logits, labels, method=method, num_draws=size, num_chains=2, seed=1)
    slopes, offsets = np.linspace(-3, 1, 161), np.linspace(-3, 3, 161)
    weights, evidence = on_a_grid(slopes, offsets)
    for name, axis, own in (("log_slope", slopes, weights.sum(1)), ("offset", offsets, weights.sum(0))):
        mean = own @ axis
        spread = math.sqrt(own @ (axis - mean) ** 2)
        draws = fit.draws[name]
        if method == "nuts":
            error = K * draws.std() / math.sqrt(float(fit.diagnostics.ess[name]))
        else:  # resampled from five times as many points, of which weights waste less than a half
            error = K * spread * math.sqrt((1 + 2 / 5) / size)
        assert abs(draws.mean() - mean) < error
        assert abs(draws.std() / spread - 1) < 0.3
    if method == "laplace":  # the weights' standard deviation is below 1
        assert abs(math.expm1(fit.log_evidence - evidence)) < K / math.sqrt(5 * size)
        assert fit.converged and fit.diagnostics.pareto_k < 0.5


def test_the_evidence_of_a_temperature_against_quadrature():
    logits, labels = small()
    fit = fit_calibration(TemperatureCalibration(), logits, labels, num_draws=4000, seed=2)
    _, evidence = on_a_grid(np.linspace(-6, 6, 4001))  # log slope is minus log temperature, with the same prior
    assert fit.log_evidence == pytest.approx(evidence, abs=0.01)


def test_labels_drawn_from_a_map_give_it_back():
    """Scores too high, and too sure below a half: the right family finds the map, and all improve on held-out labels."""
    rng = np.random.default_rng(0)
    truth = {"log_low_slope": -0.9, "log_high_slope": -0.2, "offset": -0.8}
    logits = rng.normal(1.5, 2.5, 3000)
    columns = {name: torch.tensor(value, dtype=torch.float64) for name, value in truth.items()}
    right = BetaCalibration().transform(torch.from_numpy(logits), columns).numpy()
    labels = (rng.random(3000) < expit(right)).astype(float)
    fitted, held_out = slice(0, 2000), slice(2000, 3000)
    before = score_metrics(logits[held_out], labels[held_out])
    best = score_metrics(right[held_out], labels[held_out])
    for name, kind in CALIBRATIONS.items():
        fit = fit_calibration(kind(), logits[fitted], labels[fitted], num_draws=200, seed=1)
        assert fit.converged, fit
        after = score_metrics(fit.posterior.marginal(torch.from_numpy(logits[held_out])), labels[held_out])
        assert after.auc == pytest.approx(before.auc, abs=1e-12)
        assert after.log_loss < before.log_loss and after.brier_score < before.brier_score
        if name != "temperature":
            assert after.calibration_error < 0.5 * before.calibration_error
        if name in ("beta", "monotone"):  # about D / 2n nats are lost to estimation; that times ten is allowed
            assert after.log_loss < best.log_loss + 10 * len(fit.draws) / (2 * 2000)
        if name == "beta":
            for parameter, value in truth.items():
                draws = fit.draws[parameter]
                assert abs(draws.mean() - value) < K * draws.std()


def test_shares_with_counts_are_the_labels_one_by_one_and_soft_labels_their_average():
    logits = np.array([-1.0, 0.5, 2.0])
    together = fit_calibration(PlattCalibration(), logits, [0.0, 0.5, 0.75], counts=[2, 2, 4], num_draws=50, seed=3)
    each = fit_calibration(
        PlattCalibration(), [-1.0, -1.0, 0.5, 0.5, 2.0, 2.0, 2.0, 2.0], [0, 0, 1, 0, 1, 1, 1, 0], num_draws=50, seed=3
    )
    # Both climbs end at the same mode, so that under one seed the same points are weighed.
    assert together.log_evidence == pytest.approx(each.log_evidence, abs=1e-4)
    halves = fit_calibration(PlattCalibration(), np.tile(logits, 2), [0, 0.5, 0.75] * 2, counts=0.5, num_draws=50, seed=3)
    soft = fit_calibration(PlattCalibration(), logits, [0, 0.5, 0.75], num_draws=50, seed=3)
    assert halves.log_evidence == pytest.approx(soft.log_evidence, abs=1e-4)
    assert abs(together.log_evidence - soft.log_evidence) > 0.1


def test_without_information_the_posterior_is_the_prior():
    fit = fit_calibration(MonotoneCalibration(), [0.0], [0.5], counts=1e-9, num_draws=4000, seed=4)
    for name, draws in fit.draws.items():
        scale = fit.calibration.prior.scale[name]
        assert abs(draws.mean()) < K * scale * math.sqrt((1 + 2 / 5) / 4000)
        assert abs(draws.std() / scale - 1) < K * math.sqrt((1 + 2 / 5) / (2 * 4000))


def test_a_seed_fixes_the_fit_and_leaves_the_callers_state_alone():
    logits, labels = small()
    pyro.set_rng_seed(0)
    before = torch.get_rng_state()
    one, two = (fit_calibration(BetaCalibration(), logits, labels, num_draws=20, seed=9) for _ in range(2))
    assert torch.equal(before, torch.get_rng_state())
    assert all((one.draws[name] == two.draws[name]).all() for name in one.draws)


def test_export_to_arviz():
    logits, labels = small()
    data = fit_calibration(TemperatureCalibration(), logits, labels, num_draws=20, seed=1).to_arviz()
    assert data.posterior["log_temperature"].shape == (1, 20)
    temperature = np.exp(data.posterior["log_temperature"].values[0, 3])
    expected = -np.logaddexp(0, np.where(labels == 1, -logits, logits) / temperature)
    np.testing.assert_allclose(data.log_likelihood["label"].values[0, 3], expected)


def test_metrics_by_hand():
    scores, labels = np.array([0.9, 0.8, 0.3, 0.25]), np.array([1.0, 0.0, 1.0, 0.0])
    found = score_metrics(logit(scores), labels)
    assert score_metrics(logit(scores), labels, num_bins=1).calibration_error == pytest.approx(0.0625)
    assert score_metrics(logit(scores), labels, num_bins=2).calibration_error == pytest.approx((0.7 + 0.45) / 4)
    assert found.brier_score == pytest.approx((0.01 + 0.64 + 0.49 + 0.0625) / 4)
    assert found.log_loss == pytest.approx(-np.log([0.9, 0.2, 0.3, 0.75]).mean())
    assert found.auc == pytest.approx(0.75) and found.num_labels == 4
    assert score_metrics([0.0, 0.0], [1, 0]).auc == 0.5 and math.isnan(score_metrics([0.0], [1]).auc)
    shares = score_metrics(logit([0.9, 0.3]), [0.5, 1.0], counts=[2, 1])
    singles = score_metrics(logit([0.9, 0.9, 0.3]), [1, 0, 1])
    assert [shares.log_loss, shares.brier_score, shares.auc, shares.calibration_error] == pytest.approx(
        [singles.log_loss, singles.brier_score, singles.auc, singles.calibration_error]
    )
    assert np.isnan(found.bin_rates[5]) and found.bin_counts.sum() == 4


def test_what_is_wrong_is_said():
    with pytest.raises(TypeError, match="expected a Calibration, got str"):
        fit_calibration("platt", [0.0], [1])
    with pytest.raises(ValueError, match="method among laplace, nuts, got 'svi'"):
        fit_calibration(PlattCalibration(), [0.0], [1], method="svi")
    with pytest.raises(TypeError, match="expected labels, got None"):
        fit_calibration(PlattCalibration(), [0.0], None)
    with pytest.raises(ValueError, match=r"leave those out\), got inf at position 1"):
        fit_calibration(PlattCalibration(), [0.0, math.inf], [1, 1])
    with pytest.raises(ValueError, match=r"labels between 0 and 1, got 2\.0 at position 0"):
        fit_calibration(PlattCalibration(), [0.0], [2])
    with pytest.raises(ValueError, match="one label for each of the 2 scores"):
        score_metrics([0.0, 1.0], [1])
    with pytest.raises(ValueError, match="counts to be finite and above 0"):
        score_metrics([0.0], [1], counts=[0])
    with pytest.raises(TypeError, match="score_logits to be numbers"):
        score_metrics(["high"], [1])
    with pytest.raises(ValueError, match="num_draws >= 8"):
        fit_calibration(PlattCalibration(), [0.0], [1], num_draws=3)
