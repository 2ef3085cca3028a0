"""Quadrature against closed forms, against integrals in one variable, and against dense grids."""

import math

import numpy as np
import pytest
import torch
from scipy import special, stats

from ppl_scaling.inference.optscale import quasi_monte_carlo
from ppl_scaling.inference.optscale.coordinates import Coordinates
from ppl_scaling.inference.optscale.evidence import Evidence, ask
from ppl_scaling.inference.optscale.nodes import weighty
from ppl_scaling.inference.optscale.quadrature import QuadraturePosterior, infer_scores
from ppl_scaling.inference.optscale.rules import GuaranteeRule, PriceRule
from ppl_scaling.models.scores import (
    BetaScores,
    InflatedBetaScores,
    LogitNormalScores,
    Prior,
    ScoreAndCorrectness,
    ScoreModel,
    TruncatedNormalScores,
    TwoComponentScores,
)

RNG = np.random.default_rng(5)
DRAWN = RNG.beta(8, 2, 64)
POWERS = np.array([1, 16, 1000, 10**6])


class KnownScale(ScoreModel):
    """Logit-normal scores of known scale: everything is known in closed form."""

    name, parameters, SCALE = "known-scale", ("location",), 0.5
    default_prior = Prior({"location": 0.5}, {"location": 1.5})

    def log_prob(self, scores, values):
        z = torch.logit(scores)
        normal = -0.5 * ((z - values["location"].unsqueeze(-1)) / self.SCALE) ** 2
        return normal - math.log(self.SCALE * math.sqrt(2 * math.pi)) - torch.log(scores * (1 - scores))

    def log_cdf(self, score, values):
        return torch.special.log_ndtr((torch.logit(torch.as_tensor(score)) - values["location"]) / self.SCALE)

    def log_survival(self, score, values):
        return torch.special.log_ndtr((values["location"] - torch.logit(torch.as_tensor(score))) / self.SCALE)

    def sample(self, values, sample_shape=(), *, generator=None):
        shape = (*sample_shape, *values["location"].shape)
        return (values["location"] + self.SCALE * torch.randn(shape, dtype=torch.float64, generator=generator)).sigmoid()


def known_scale_exact(scores, prior, scale):
    """Mean and standard deviation of the location given scores, and the log-evidence."""
    z, n = special.logit(scores), len(scores)
    precision = prior.scale["location"] ** -2 + n / scale**2
    mean = (prior.location["location"] / prior.scale["location"] ** 2 + z.sum() / scale**2) / precision
    covariance = scale**2 * np.eye(n) + prior.scale["location"] ** 2
    evidence = stats.multivariate_normal(np.full(n, prior.location["location"]), covariance).logpdf(z) if n else 0.0
    return mean, precision**-0.5, evidence - np.log(scores * (1 - scores)).sum()


@pytest.mark.parametrize("scores", [[], [0.3], DRAWN[:10], [0.999999] * 64], ids=["0", "1", "10", "equal"])
def test_one_parameter_against_the_closed_form(scores):
    scores = np.asarray(scores, dtype=float)
    posterior = infer_scores(KnownScale(), scores)
    mean, std, evidence = known_scale_exact(scores, KnownScale.default_prior, KnownScale.SCALE)
    assert posterior.log_evidence == pytest.approx(evidence, abs=posterior.precision)
    assert posterior.mean("location") == pytest.approx(mean, abs=1e-4 * std)
    assert posterior.std("location") == pytest.approx(std, rel=1e-4)
    target = 0.95
    locations = mean + std * special.ndtri((np.arange(200_000) + 0.5) / 200_000)
    log_cdf = special.log_ndtr((special.logit(target) - locations) / KnownScale.SCALE)
    for m, value in zip(POWERS, posterior.log_power_mean(target, POWERS), strict=True):
        assert math.exp(value) == pytest.approx(np.exp(m * log_cdf).mean(), abs=posterior.precision)
    predictive = special.ndtr((special.logit(target) - mean) / math.hypot(std, KnownScale.SCALE))
    assert float(posterior.predictive_cdf(target)) == pytest.approx(predictive, abs=posterior.precision)


def logit_normal_exact(scores, prior, target):
    """Evidence and E[F^m] of the logit-normal law, by a sum over the scale: given it, the location is normal."""
    log_scales = prior.location["log_scale"] + prior.scale["log_scale"] * np.linspace(-14, 9, 1201)
    steps = np.linspace(-8, 8, 801)
    weights = special.softmax(-0.5 * steps**2)
    z, n = special.logit(scores), len(scores)
    scales = np.exp(log_scales)
    precision = prior.scale["location"] ** -2 + n / scales**2
    mean = (prior.location["location"] / prior.scale["location"] ** 2 + z.sum() / scales**2) / precision
    # log N(z; mu0, s^2 I + tau^2 11'), by the identity for a matrix of rank one more
    tau, centred = prior.scale["location"], z - prior.location["location"]
    quadratic = (centred**2).sum() / scales**2 - (centred.sum() / scales**2) ** 2 / precision
    log_determinant = 2 * n * log_scales + np.log1p(n * tau**2 / scales**2)
    log_joint = -0.5 * (quadratic + log_determinant + n * math.log(2 * math.pi))
    log_joint += stats.norm(prior.location["log_scale"], prior.scale["log_scale"]).logpdf(log_scales)
    log_joint += math.log(log_scales[1] - log_scales[0])
    evidence = special.logsumexp(log_joint)
    locations = mean[:, None] + precision[:, None] ** -0.5 * steps
    log_cdf = special.log_ndtr((special.logit(target) - locations) / scales[:, None])
    means = [np.exp(log_joint - evidence) @ (np.exp(m * log_cdf) @ weights) for m in POWERS]
    return evidence - np.log(scores * (1 - scores)).sum(), np.array(means)


@pytest.mark.parametrize(
    "scores", [[], [0.3], DRAWN[:3], DRAWN[:10], DRAWN, [0.9] * 10], ids=["0", "1", "3", "10", "64", "equal"]
)
@pytest.mark.parametrize("precision", [None, 1e-6])
def test_location_and_scale_against_an_integral_in_one_variable(scores, precision):
    scores = np.asarray(scores, dtype=float)
    model = LogitNormalScores()
    posterior = infer_scores(model, scores, precision=precision)
    assert posterior.precision <= (precision or 1e-4)
    evidence, means = logit_normal_exact(scores, model.prior, 0.97)
    assert posterior.log_evidence == pytest.approx(evidence, abs=posterior.precision)
    np.testing.assert_allclose(np.exp(posterior.log_power_mean(0.97, POWERS)), means, atol=posterior.precision)


def dense(model, scores, target, size=501, reach=7.0):
    """Evidence and E[F^m] on a dense grid of the prior's range."""
    axis = np.linspace(-reach, reach, size)
    points = np.stack(np.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2)
    names = model.parameters
    values = {
        name: torch.as_tensor(model.prior.location[name] + model.prior.scale[name] * points[:, k])
        for k, name in enumerate(names)
    }
    log_joint = model.log_likelihood(torch.as_tensor(scores), values).numpy() - 0.5 * (points**2).sum(-1)
    log_joint += 2 * math.log(axis[1] - axis[0]) - math.log(2 * math.pi)
    evidence = special.logsumexp(log_joint)
    keep = log_joint > log_joint.max() - 25
    values = {name: value[torch.as_tensor(keep)] for name, value in values.items()}
    log_cdf = np.log1p(-np.exp(np.minimum(model.log_survival(target, values).numpy(), 0)))
    weights = np.exp(log_joint[keep] - evidence)
    return evidence, np.array([np.exp(m * log_cdf) @ weights for m in POWERS])


@pytest.mark.parametrize("model", [TruncatedNormalScores(), BetaScores()], ids=lambda model: model.name)
@pytest.mark.parametrize("scores", [DRAWN[:3], DRAWN[:10], DRAWN, [0.0, 1.0, 0.5, 1.0]], ids=["3", "10", "64", "ends"])
def test_against_dense_grids(model, scores):
    posterior = infer_scores(model, scores)
    with np.errstate(divide="ignore"):
        evidence, means = dense(model, np.asarray(scores), 0.97)
    assert posterior.log_evidence == pytest.approx(evidence, abs=2 * posterior.precision)
    np.testing.assert_allclose(np.exp(posterior.log_power_mean(0.97, POWERS)), means, atol=posterior.precision)


def test_independent_blocks_are_taken_one_by_one():
    scores = [0.0, 1.0, 1.0, *DRAWN[:7]]
    posterior = infer_scores(InflatedBetaScores(), scores)
    whole = InflatedBetaScores().prior
    between = Prior(*({name: part[name] for name in BetaScores.parameters} for part in (whole.location, whole.scale)))
    inner = infer_scores(BetaScores(between), DRAWN[:7])
    z = np.linspace(-9, 9, 4001)

    def atom(name, hits, misses):
        logit = whole.location[name] + whole.scale[name] * z
        log_joint = hits * special.log_expit(logit) + misses * special.log_expit(-logit) + stats.norm.logpdf(z)
        evidence = special.logsumexp(log_joint) + math.log(z[1] - z[0])
        return evidence, special.expit(logit) @ special.softmax(log_joint)

    (zero, share_zero), (one, share_one) = atom("logit_zero", 1, 9), atom("logit_one", 2, 7)
    assert posterior.log_evidence == pytest.approx(zero + one + inner.log_evidence, abs=2e-3)
    expected = share_zero + (1 - share_zero) * (1 - share_one) * float(inner.predictive_cdf(0.9))
    assert float(posterior.predictive_cdf(0.9)) == pytest.approx(expected, abs=1e-3)
    assert float(posterior.predictive_cdf(1.0)) == pytest.approx(1 - (1 - share_zero) * share_one, abs=1e-3)


def test_many_parameters_against_importance_sampling():
    """The same posterior by plain draws from the prior; five standard errors and the stated precision."""
    scores = np.array([0.05, 0.92, 0.95, 0.3])
    model = TwoComponentScores()
    posterior = infer_scores(model, scores)
    values = model.prior.sample((100_000,), torch.Generator().manual_seed(1))
    weights = model.log_likelihood(torch.as_tensor(scores), values).exp().numpy()
    standard_error = weights.std() / math.sqrt(len(weights)) / weights.mean()
    tolerance = 5 * standard_error + 3 * posterior.precision
    assert posterior.log_evidence == pytest.approx(math.log(weights.mean()), abs=tolerance)
    missed = model.log_cdf(0.97, values).exp().numpy()
    for m in (1, 16):
        terms = weights * missed**m / weights.mean()
        error = 5 * np.std(terms - terms.mean() * weights / weights.mean()) / math.sqrt(len(weights))
        assert math.exp(posterior.log_power_mean(0.97, m)) == pytest.approx(
            terms.mean(), abs=error + 3 * posterior.precision
        )


def test_what_is_not_precise_is_said_to_be(monkeypatch):
    sure = infer_scores(TwoComponentScores(), [0.9, 0.95, 0.1, 0.2])
    assert sure.precise and sure.precision == 1e-2
    monkeypatch.setattr(quasi_monte_carlo, "MOST_NODES", 4000)
    unsure = infer_scores(TwoComponentScores(), [0.8, 0.9, 0.7], precision=1e-6)
    assert not unsure.precise and unsure.precision > 1e-6
    evidence = Evidence([0.8, 0.9, 0.7], 4, TwoComponentScores())
    vars(evidence)["posterior"] = unsure
    for rule in (GuaranteeRule(0.95, 0.9), PriceRule(0.01)):
        decision = ask(rule, evidence)
        assert not decision.precise and "less precise" in decision.reason
    assert ask(PriceRule(0.01), Evidence([0.8, 0.9], 4, BetaScores())).precise


def test_labels_are_used():
    scores = [0.9, 0.8, 0.2, 0.1]
    model = ScoreAndCorrectness()
    unlabelled = infer_scores(model, scores)
    plain = infer_scores(TwoComponentScores(), scores)
    assert unlabelled.log_evidence == pytest.approx(plain.log_evidence, abs=1e-9)
    unknown = infer_scores(model, scores, correct=[math.nan] * 4)
    assert unknown.log_evidence == pytest.approx(plain.log_evidence, abs=1e-6)
    right = infer_scores(model, scores, correct=[1, 1, 1, math.nan])
    assert right.mean("logit_share") > unlabelled.mean("logit_share")


def test_the_same_scores_give_the_same_numbers():
    first, second = (infer_scores(BetaScores(), DRAWN[:5]) for _ in range(2))
    np.testing.assert_array_equal(first.log_weights, second.log_weights)
    reversed_order = infer_scores(BetaScores(), DRAWN[:5][::-1])
    assert reversed_order.log_evidence == pytest.approx(first.log_evidence, abs=1e-9)


def test_the_cut_of_the_prior_is_a_change_of_variable():
    coordinates = Coordinates(BetaScores(), BetaScores.parameters)
    t = np.linspace(-60, 60, 4001)
    density = np.exp(coordinates.log_prior(np.stack([t, np.zeros_like(t)], -1)) + 0.5 * math.log(2 * math.pi))
    assert density.sum() * (t[1] - t[0]) == pytest.approx(1.0, abs=1e-12)


def test_light_nodes_are_left_out_and_counted():
    weights = np.array([0.5, 1e-6, 0.3, 2e-6, 0.2 - 3e-6])
    kept, lost = weighty(weights, 2.5e-6)
    assert kept.tolist() == [0, 2, 3, 4] and lost == pytest.approx(1e-6)
    kept, lost = weighty(weights, 1e-5)
    assert kept.tolist() == [0, 2, 4] and lost == pytest.approx(3e-6)
    assert weighty(weights, 0.0)[1] == 0 and len(weighty(weights, 0.0)[0]) == 5
    assert weighty(np.ones(1), 2.0)[0].tolist() == [0]  # one is always kept
    nodes = infer_scores(BetaScores(), DRAWN)._levels[0]
    assert 0 < nodes.lost <= 1e-5 and nodes.weights.sum() == pytest.approx(1)
    assert (nodes.errors(np.zeros((1, nodes.size))) >= nodes.lost).all()


def test_errors():
    for bad in ([math.nan], [1.2], [-0.1]):
        with pytest.raises(ValueError, match="between 0 and 1"):
            infer_scores(BetaScores(), bad)
    with pytest.raises(TypeError, match="ScoreModel"):
        infer_scores("beta", [0.5])
    with pytest.raises(ValueError, match="precision"):
        infer_scores(BetaScores(), [0.5], precision=0.0)
    assert isinstance(infer_scores(BetaScores(), [0.5]), QuadraturePosterior)
