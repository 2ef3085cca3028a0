"""Results in ArviZ: what stands where, that weights are never lost, padding, and Markov chains."""

import json
import math

import arviz
import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch

from ppl_scaling import arviz_export
from ppl_scaling.draw_statistics import ess, rhat
from ppl_scaling.inference import (
    AnnealedSMC,
    BestOfN,
    Islands,
    ParallelTempering,
    ParticleFilter,
    ParticleGibbs,
    enumerate_posterior,
    to_arviz,
)
from ppl_scaling.inference.result_arrays import arrays
from ppl_scaling.models import LanguageModelStateSpace
from tests.statistics import assert_mean
from tests.worlds import LIKELIHOODS, LastLetter, early_ends

FORMAT = LastLetter()
MODEL = early_ends(LIKELIHOODS["bernoulli"])


def replicates(number=3, seed=4, **settings):
    settings = {"num_particles": 20, "ess_threshold": 0.9} | settings
    return ParticleFilter(MODEL, answer_format=FORMAT, **settings).run_batch(["?"] * number, seed=seed)


def exported(results, **settings):
    return to_arviz(results, answer_format=FORMAT, **settings)


def test_kept_weights_are_those_of_the_particles():
    results = replicates()
    data = exported(results, weights="keep")
    assert data.posterior.sizes["chain"] == 3 and data.posterior.sizes["draw"] == 20
    assert data.attrs["weights"] == "sample_stats.log_weights"
    weights = np.exp(data.sample_stats.log_weights.values)
    np.testing.assert_allclose(weights, [one.weights for one in results])
    indicator = data.posterior.answer_indicator.values
    texts = data.constant_data.answer_text.values.tolist()
    for chain, result in enumerate(results):
        shares = dict(zip(texts, weights[chain] @ indicator[chain], strict=True))
        for answer in result.answers:
            assert shares[answer.answer] == pytest.approx(answer.probability)
        found = data.posterior.answer.values[chain]
        assert [None if code < 0 else texts[code] for code in found] == [one.answer for one in result.trajectories]
        assert data.constant_data.text.values[chain].tolist() == [one.text for one in result.trajectories]
    assert data.sample_stats.log_evidence.values.tolist() == [one.log_evidence for one in results]


def test_per_step_statistics_are_padded_to_the_longest_run():
    results = [one for seed in range(12) for one in replicates(1, seed=seed, num_particles=2)]
    data = exported(results)
    longest = max(one.num_steps for one in results)
    assert len({one.num_steps for one in results}) > 1 and data.observed_data.y.values.tolist() == [1] * longest
    assert data.posterior.step.values.tolist() == list(range(1, longest + 1))
    stats = data.sample_stats
    for chain, result in enumerate(results):
        steps = result.num_steps
        np.testing.assert_array_equal(stats.ess.values[chain, :steps], result.ess)
        np.testing.assert_array_equal(stats.ancestors.values[chain, :steps], result.ancestors)
        np.testing.assert_array_equal(stats.resampled.values[chain, :steps], result.resampled)
        assert stats.log_evidence_increments.values[chain, :steps].sum() == pytest.approx(result.log_evidence)
        assert np.isnan(stats.ess.values[chain, steps:]).all() and (stats.ancestors.values[chain, steps:] == -1).all()
        for draw, particle in enumerate(stats.particle_of_draw.values[chain]):
            one = result.trajectories[particle]
            scores = data.posterior.step_score.values[chain, draw]
            assert scores[: len(one.scores)].tolist() == list(one.scores) and np.isnan(scores[len(one.scores) :]).all()
            likelihoods = data.log_likelihood.y.values[chain, draw, : len(one.scores)]
            np.testing.assert_allclose(likelihoods, np.log(one.scores), rtol=1e-6)


def test_weights_after_each_step_explain_the_effective_sample_size():
    for result in replicates(ess_threshold=0.95):
        weights = np.exp(result.log_weights_by_step)
        np.testing.assert_allclose(weights.sum(1) ** 2 / (weights**2).sum(1), result.ess)
        np.testing.assert_array_equal(result.log_weights_by_step[-1], result.log_weights)
        assert result.log_evidence_by_step[-1] == result.log_evidence


def test_resampled_draws_have_equal_weights_and_the_right_counts():
    results = replicates(4, num_particles=30)
    data = exported(results)
    assert data.attrs["weights"] == "equal" and np.unique(data.sample_stats.log_weights.values).size == 1
    for chain, result in enumerate(results):
        counts = np.bincount(data.sample_stats.particle_of_draw.values[chain], minlength=30)
        assert (np.abs(counts - 30 * result.weights) < 1 + 1e-9).all()  # systematic resampling
    again = exported(results)
    for name in ("particle_of_draw", "log_weights"):
        np.testing.assert_array_equal(data.sample_stats[name].values, again.sample_stats[name].values)
    other = exported(results, seed=11).sample_stats.particle_of_draw.values
    assert (other != again.sample_stats.particle_of_draw.values).any()


def test_resampling_is_unbiased():
    """Means over seeds of shares among the draws are the weights."""
    result = replicates(1)[0]
    posteriors = [arrays([result], seed=seed, answer_format=FORMAT)[0]["posterior"] for seed in range(40)]
    shares = [one["answer_indicator"][1][0].mean(0) for one in posteriors]
    for code, answer in enumerate(result.answers):
        assert_mean(np.array(shares)[:, code], answer.probability)


def test_islands_are_chains_and_annealing_has_rungs():
    islands = Islands(ParticleFilter(MODEL, num_particles=8, answer_format=FORMAT), num_replicates=3).run("?", seed=0)
    data = exported([islands])
    assert data.posterior.sizes["chain"] == 3
    assert data.sample_stats.log_evidence.values.tolist() == [one.log_evidence for one in islands.replicates]
    annealed = AnnealedSMC(MODEL, num_particles=8, powers=[0.3, 1.0], answer_format=FORMAT).run("?", seed=0)
    stats = exported([annealed]).sample_stats
    assert stats.ess.dims == ("chain", "rung") and stats.powers.values.tolist() == [[0.3, 1.0]]
    assert stats.log_evidence_increments.values.sum() == pytest.approx(annealed.log_evidence)


def test_a_baseline_has_no_likelihood_and_no_filter():
    result = BestOfN(MODEL, num_completions=5, answer_format=FORMAT).run("?", seed=0)
    data = exported([result], weights="keep")
    assert "log_likelihood" not in data.groups() and "ess" not in data.sample_stats
    weights = np.exp(data.sample_stats.log_weights.values[0])
    np.testing.assert_allclose(weights, [one.weight for one in result.trajectories])


def test_latents_come_along():
    class Warm(LanguageModelStateSpace):
        def init(self, state, prompts):
            super().init(state, prompts)
            state["temperature"] = pyro.sample("temperature", dist.LogNormal(0.0, 0.2))
            pyro.sample("score", dist.Dirichlet(pyro.param("a", lambda: torch.ones(2))))

    model = Warm(MODEL.language_model, MODEL.reward_model, max_steps=5)
    result = ParticleFilter(model, num_particles=10, answer_format=FORMAT).run("?", seed=0)
    data = exported([result], weights="keep")
    np.testing.assert_array_equal(data.posterior.temperature.values[0], result.latents["temperature"])
    assert data.posterior.latent_score.shape == (1, 10, 2)  # a name that the export needs itself


@pytest.mark.parametrize("method", [ParticleGibbs, ParallelTempering])
def test_markov_chains(method):
    chains = method(MODEL, num_particles=6, num_iterations=60, burn_in=5, answer_format=FORMAT).run_batch(["?"] * 3, seed=1)
    data = exported(chains)
    assert data.posterior.sizes["chain"] == 3 and data.posterior.draw.values.tolist() == list(range(5, 60))
    texts = data.constant_data.answer_text.values.tolist()
    for chain, result in enumerate(chains):
        found = [None if code < 0 else texts[code] for code in data.posterior.answer.values[chain]]
        assert found == [one.answer for one in result.draws[5:]]
        for column, answer in enumerate(result.answers):
            table = data.posterior.answer_weights.values[chain, :, texts.index(answer.answer)]
            np.testing.assert_array_equal(table, result.answer_weights[5:, column])
            assert table.mean() == pytest.approx(answer.probability)
        np.testing.assert_array_equal(data.posterior.total_log_likelihood.values[chain], result.log_likelihoods[5:])
        totals = np.nansum(data.log_likelihood.y.values[chain], axis=-1)
        np.testing.assert_allclose(totals, result.log_likelihoods[5:], rtol=1e-6)
    indicator = data.posterior.answer_indicator.values[:, :, 0]
    assert rhat(indicator) < 1.1 and ess(indicator) > 30  # 165 draws of a chain that forgets in a few iterations
    assert rhat(data.posterior.total_log_likelihood.values) < 1.1
    with np.errstate(all="ignore"):
        theirs = arviz.rhat(data, var_names=["answer_indicator"])
    assert float(theirs.answer_indicator[0]) == pytest.approx(rhat(indicator))
    if method is ParallelTempering:
        assert data.sample_stats.replica.sizes["level"] == 4 == data.constant_data.power.size
    exact = sum(one.probability for one in enumerate_posterior(MODEL, "?").trajectories if one.text[-1:] == texts[0])
    # Four standard errors by ArviZ's own ESS: a false alarm in 16 000 seeds if they are right.
    spread = indicator.std() / math.sqrt(ess(indicator, method="mean"))
    assert abs(indicator.mean() - exact) < 4 * spread


def test_steps_that_were_not_taken_have_no_likelihood_and_files_keep_everything(tmp_path):
    data = exported(replicates())
    assert np.isnan(data.log_likelihood.y.values).any()
    again = arviz_export.load(arviz_export.save(data, tmp_path / "result.nc"))
    for group in data.groups():
        assert data[group].identical(again[group])


def test_constant_data_and_the_method_of_a_result():
    result = replicates(1)[0]
    data = result.to_arviz(weights="keep")
    assert data.constant_data.problem.item() == "?" and data.constant_data.method.values.tolist() == ["particle filter"]
    assert json.loads(data.constant_data.configuration.values[0])["num_particles"] == 20
    assert (result.to_arviz().sample_stats.particle_of_draw.values == exported([result]).sample_stats.particle_of_draw).all()


def test_what_cannot_be_exported_together():
    results = replicates(2)
    other = replicates(1, num_particles=7)
    with pytest.raises(ValueError, match=r"expected weights to be one of resample, keep, got 'equal'"):
        arrays(results, weights="equal")
    with pytest.raises(ValueError, match="at least one result"):
        to_arviz([])
    with pytest.raises(TypeError, match="put it in a list"):
        to_arviz(results[0])
    with pytest.raises(ValueError, match=r"as many trajectories in every result, got \[20, 20, 7\]"):
        exported([*results, *other], weights="keep")
    assert exported([*results, *other]).posterior.sizes["draw"] == 20
    elsewhere = ParticleFilter(MODEL, num_particles=20, answer_format=FORMAT).run("!", seed=0)
    with pytest.raises(ValueError, match="of one problem, got 2"):
        exported([*results, elsewhere])
    gibbs = [
        ParticleGibbs(MODEL, num_particles=3, num_iterations=number, answer_format=FORMAT).run("?", seed=0)
        for number in (2, 3)
    ]
    with pytest.raises(TypeError, match="of one kind, got ParticleFilterResult, ParticleGibbsResult"):
        exported([*results, gibbs[0]])
    with pytest.raises(ValueError, match=r"one length and burn-in, got \[\(2, 0\), \(3, 0\)\]"):
        exported(gibbs)
