"""Maps of score logits: increasing, exact at the ends, the identity at the prior's centre; what draws of them give."""

import math

import numpy as np
import pyro
import pytest
import torch
from torch.nn.functional import logsigmoid

from ppl_scaling.models import (
    CALIBRATIONS,
    BernoulliLikelihood,
    BetaCalibration,
    CalibratedLikelihood,
    CalibrationPosterior,
    MonotoneCalibration,
    OddsLikelihood,
    PlattCalibration,
    TemperatureCalibration,
    TwistLikelihood,
)
from ppl_scaling.models.labels import LabelShare
from ppl_scaling.models.scores import Prior

MAPS = {name: kind() for name, kind in CALIBRATIONS.items()} | {"one knot": MonotoneCalibration([0.5])}
each_map = pytest.mark.parametrize("calibration", MAPS.values(), ids=MAPS)
LOGITS = torch.linspace(-45, 45, 271, dtype=torch.float64)


def random_values(calibration, size, seed=0):
    return calibration.prior.sample((size, 1), torch.Generator().manual_seed(seed))


def centre(calibration):
    return {name: torch.tensor(where, dtype=torch.float64) for name, where in calibration.prior.location.items()}


@each_map
def test_the_prior_is_centred_on_the_identity(calibration):
    torch.testing.assert_close(calibration.transform(LOGITS, centre(calibration)), LOGITS, rtol=1e-12, atol=1e-12)


@each_map
def test_maps_increase_and_keep_scores_of_0_and_1(calibration):
    values = random_values(calibration, 50)
    mapped = calibration.transform(LOGITS, values)
    assert mapped.shape == (50, len(LOGITS)) and (mapped.diff(dim=-1) > 0).all()
    ends = calibration.transform(torch.tensor([-math.inf, math.inf], dtype=torch.float64), values)
    assert (ends[:, 0] == -math.inf).all() and (ends[:, 1] == math.inf).all()


def test_maps_by_hand():
    at = torch.tensor([-2.0, 0.5, 3.0], dtype=torch.float64)
    value = {name: torch.tensor(number, dtype=torch.float64) for name, number in {"a": math.log(2), "c": -1.0}.items()}
    assert TemperatureCalibration().transform(at, {"log_temperature": value["a"]}).tolist() == [-1.0, 0.25, 1.5]
    line = PlattCalibration().transform(at, {"log_slope": value["a"], "offset": value["c"]})
    assert line.tolist() == pytest.approx([-5.0, 0.0, 5.0])
    zero = torch.zeros((), dtype=torch.float64)
    bent = BetaCalibration().transform(at, {"log_low_slope": value["a"], "log_high_slope": zero, "offset": value["c"]})
    scores = at.sigmoid()
    assert bent.tolist() == pytest.approx((2 * scores.log() - (1 - scores).log() - 1).tolist())


def test_the_monotone_map_is_linear_between_knots_with_the_slopes_that_its_bends_say():
    knots = (-2.0, 0.0, 1.0)
    calibration = MonotoneCalibration(knots, smoothing=0.3)
    numbers = {"log_slope": 0.2, "offset": -0.7, "bend_1": 0.5, "bend_2": -0.4, "bend_3": 0.9}
    values = {name: torch.tensor(number, dtype=torch.float64) for name, number in numbers.items()}
    slopes = np.exp([0.2 + 0.4 - 0.5, 0.2 + 0.4, 0.2, 0.2 + 0.9])  # the third piece lies above the middle knot
    at_knots = np.array([-0.7 - 2 * slopes[1], -0.7, -0.7 + slopes[2]])
    places = np.array([-5.0, -2.0, -1.0, 0.0, 0.25, 1.0, 4.0])
    expected = np.interp(places, knots, at_knots)
    expected[0], expected[-1] = at_knots[0] - 3 * slopes[0], at_knots[2] + 3 * slopes[3]
    assert calibration.transform(torch.from_numpy(places), values).tolist() == pytest.approx(expected.tolist())
    at_quantiles = MonotoneCalibration.at_quantiles([0.0] * 90 + [1.0, 2.0] * 5, num_knots=4)
    assert at_quantiles.knots == (0.0,) and at_quantiles.smoothing == 0.5


@each_map
def test_programs_draw_labels_and_count_given_ones(calibration):
    logits = torch.linspace(-3, 3, 7, dtype=torch.float64)
    pyro.set_rng_seed(1)
    drawn = calibration(logits, counts=4.0)
    assert drawn.shape == (7,) and set((4 * drawn).tolist()) <= {0.0, 1.0, 2.0, 3.0, 4.0}
    values = {name: value.squeeze() for name, value in random_values(calibration, 1).items()}
    program = pyro.condition(calibration, data=values)
    trace = pyro.poutine.trace(program).get_trace(logits, labels=drawn, counts=4.0)
    mapped = calibration.transform(logits, values)
    expected = (4 * drawn * logsigmoid(mapped) + 4 * (1 - drawn) * logsigmoid(-mapped)).sum()
    expected = expected + calibration.prior.log_prob(values)
    torch.testing.assert_close(trace.log_prob_sum(), expected)


def test_a_share_counts_as_its_labels_one_by_one():
    logit, labels = (torch.tensor(one, dtype=torch.float64) for one in ([0.7], [1.0, 0.0, 1.0, 1.0]))
    one_by_one = torch.distributions.Bernoulli(logits=logit).log_prob(labels).sum()
    torch.testing.assert_close(LabelShare(logit, 4.0).log_prob(labels.mean()).sum(), one_by_one)
    with pytest.raises(ValueError, match="within the support"):
        LabelShare(logit, validate_args=True).log_prob(torch.tensor([1.5]))


@each_map
def test_marginal_scores_are_averages_at_moderate_and_extreme_logits(calibration):
    draws = {name: value.squeeze(-1).numpy() for name, value in random_values(calibration, 30).items()}
    posterior = CalibrationPosterior(calibration, draws)
    columns = {name: torch.from_numpy(array) for name, array in draws.items()}
    near = torch.tensor([-3.0, 0.0, 2.5], dtype=torch.float64)
    averages = calibration.transform(near.unsqueeze(-1), columns).sigmoid().mean(-1)
    torch.testing.assert_close(posterior.marginal(near).sigmoid(), averages)
    far = posterior.marginal(torch.tensor([-300.0, 300.0, 301.0, math.inf, -math.inf], dtype=torch.float64))
    assert far[:3].isfinite().all() and far[1] < far[2] and far[3] == math.inf and far[4] == -math.inf
    only = posterior.at(3)
    torch.testing.assert_close(only.marginal(near), only.plug_in(near))
    torch.testing.assert_close(posterior.of_draws(near, torch.tensor([3, 3, 3])), only.plug_in(near))
    assert posterior.thinned(7).num_draws == 7 and posterior.thinned(99).num_draws == 30


@each_map
def test_a_posterior_is_read_from_its_file_exactly(calibration, tmp_path):
    draws = {name: value.squeeze(-1).numpy() for name, value in random_values(calibration, 5).items()}
    posterior = CalibrationPosterior(calibration, draws)
    read = CalibrationPosterior.load(posterior.save(tmp_path / "calibration.json"))
    assert repr(read) == repr(posterior) and read.calibration.to_dict() == calibration.to_dict()
    assert all((read.draws[name] == array).all() for name, array in draws.items())


def test_float32_logits_near_one_keep_their_differences():
    """At logits 38 and 40 both scores are 1 to the last bit; calibrated increments still differ, in float64."""
    posterior = CalibrationPosterior(PlattCalibration(), {"log_slope": [-0.1, 0.1], "offset": [0.0, 0.5]})
    start = torch.full((2,), math.inf, dtype=torch.float64)
    after = torch.tensor([38.0, 40.0])
    for within in (BernoulliLikelihood(), TwistLikelihood(2.0), OddsLikelihood(2.0)):
        for how in ("plug_in", "marginal"):
            found = CalibratedLikelihood(within, posterior, how).log_increment(after, start)
            assert found.dtype == torch.float64 and found.isfinite().all() and found[0] < found[1]


def test_what_is_wrong_is_said(tmp_path):
    known = CalibrationPosterior(PlattCalibration(), {"log_slope": [0.0], "offset": [1.0]})
    wrapped = CalibratedLikelihood(OddsLikelihood(2.0, beta=0.5), known)
    assert wrapped.beta == 0.5 and wrapped.ess_threshold == 1.0 and "OddsLikelihood" in repr(wrapped)
    with pytest.raises(TypeError, match="not calibrated yet, got CalibratedLikelihood"):
        CalibratedLikelihood(wrapped, known)
    with pytest.raises(TypeError, match="expected a CalibrationPosterior, got PlattCalibration"):
        CalibratedLikelihood(TwistLikelihood(), PlattCalibration())
    with pytest.raises(ValueError, match="among plug_in, marginal, latent, got 'all'"):
        CalibratedLikelihood(TwistLikelihood(), known, "all")
    with pytest.raises(TypeError, match="elsewhere take 'marginal'"):
        CalibratedLikelihood(TwistLikelihood(), known, "latent").log_increment(LOGITS, LOGITS)
    with pytest.raises(ValueError, match="draws of log_slope, offset, got offset"):
        CalibrationPosterior(PlattCalibration(), {"offset": [1.0]})
    with pytest.raises(ValueError, match=r"one shape \(S,\)"):
        CalibrationPosterior(PlattCalibration(), {"log_slope": [0.0], "offset": [1.0, 2.0]})
    with pytest.raises(ValueError, match="draws of offset to be finite, got nan"):
        CalibrationPosterior(PlattCalibration(), {"log_slope": [0.0], "offset": [math.nan]})
    with pytest.raises(TypeError, match="prior to be a Prior"):
        PlattCalibration(prior=3)
    with pytest.raises(ValueError, match="prior of log_slope, offset for PlattCalibration, got one of slope"):
        PlattCalibration(Prior({"slope": 0.0}, {"slope": 1.0}))
    with pytest.raises(ValueError, match="finite and increase"):
        MonotoneCalibration([1.0, 1.0])
    with pytest.raises(ValueError, match="smoothing to be a finite number > 0, got 0"):
        MonotoneCalibration(smoothing=0)
    (tmp_path / "other.json").write_text('{"version": 1, "calibration": {"name": "magic"}, "draws": {}}')
    with pytest.raises(ValueError, match="among temperature, platt, beta, monotone"):
        CalibrationPosterior.load(tmp_path / "other.json")
    with pytest.raises(ValueError, match="No such file"):
        CalibrationPosterior.load(tmp_path / "missing.json")
