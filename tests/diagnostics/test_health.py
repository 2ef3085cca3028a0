"""Verdicts: every threshold fires where it should and not otherwise, for every kind of result."""

import math
from dataclasses import replace

import numpy as np
import pytest

from ppl_scaling.diagnostics import HealthReport, chan_lai_standard_error, diagnose, pareto_k
from ppl_scaling.diagnostics.checks import judge
from ppl_scaling.errors import AllWeightsZeroError
from ppl_scaling.inference import (
    AnnealedSMC,
    Answer,
    BestOfN,
    Islands,
    MajorityVote,
    ParallelTempering,
    ParticleFilter,
    ParticleGibbs,
    ResampleMoveFilter,
    multinomial,
)
from tests.diagnostics.made import made_result
from tests.worlds import LIKELIHOODS, LastLetter, early_ends

EVEN = np.ones((3, 64)) + 0.3 * np.random.default_rng(0).random((3, 64))


def statuses(report):
    return {one.name: one.status for one in report.checks}


def test_a_healthy_run_is_ok_throughout():
    report = diagnose(made_result(EVEN))
    assert report.status == "ok" and set(statuses(report).values()) == {"ok"}, str(report)
    assert all(one.advice == "" and one.reason and one.threshold for one in report.checks)
    assert len(report.traces) == 1 and report.traces[0].num_steps == 3


def test_the_sentence_that_a_user_reads():
    weights = EVEN[:, :16].copy()
    weights[1] = [0.9, *[0.1 / 15] * 15]
    check = diagnose(made_result(weights))["ess"]
    assert check.status == "bad" and check.value == pytest.approx(1 / (0.81 + 0.01 / 15))
    assert check.message == "ESS fell to 1.2 of 16 at step 2: raise num_particles, lower beta, or calibrate the PRM"
    assert check.threshold == "warn below 4, bad below 2"


@pytest.mark.parametrize(
    ("equal", "ess", "max_weight", "weight_entropy"),
    [
        (64, "ok", "ok", "ok"),
        (11, "ok", "ok", "ok"),
        (9, "warn", "ok", "ok"),
        (3, "warn", "ok", "warn"),
        (2, "warn", "ok", "bad"),  # exactly two: the ESS is not below, and neither weight above, what is bad
        (1, "bad", "bad", "bad"),
    ],
)
def test_thresholds_on_weights(equal, ess, max_weight, weight_entropy):
    """``equal`` of 64 particles share the weight: the ESS is their number, the entropy log(equal) / log(64)."""
    row = np.zeros(64)
    row[:equal] = 1.0
    found = statuses(diagnose(made_result(np.stack([EVEN[0], row, EVEN[2]]))))
    assert (found["ess"], found["max_weight"], found["weight_entropy"]) == (ess, max_weight, weight_entropy)


@pytest.mark.parametrize(("share", "status"), [(0.49, "ok"), (0.51, "warn"), (0.89, "warn"), (0.91, "bad")])
def test_the_greatest_weight(share, status):
    row = np.array([share, *[(1 - share) / 63] * 63])
    assert statuses(diagnose(made_result(np.stack([EVEN[0], row, EVEN[2]]))))["max_weight"] == status


def test_lost_ancestors_roots_and_paths():
    size = 64
    identity = np.arange(size)
    for kept, of_ancestors, of_roots, of_paths in (
        (32, "ok", "ok", "ok"),
        (4, "warn", "warn", "ok"),
        (1, "bad", "bad", "bad"),
    ):
        rows = [identity, identity, identity % kept]
        found = statuses(diagnose(made_result(EVEN, rows, [False, False, True])))
        assert (found["unique_ancestors"], found["unique_roots"], found["path_degeneracy"]) == (
            of_ancestors,
            of_roots,
            of_paths,
        )
    report = diagnose(made_result(np.ones((4, size)), [identity, 0 * identity, identity, identity], [0, 1, 0, 0]))
    assert report["path_degeneracy"].value == 0.25 and report["path_degeneracy"].status == "ok"
    assert "same first 1 of 4 steps" in report["path_degeneracy"].found


@pytest.mark.parametrize(("error", "status"), [(0.1, "ok"), (0.6, "warn"), (1.3, "bad"), (math.nan, "unknown")])
def test_error_of_the_evidence(error, status):
    check = diagnose(made_result(EVEN, error=error))["evidence_error"]
    assert check.status == status and ("descend from one" in check.found) == math.isnan(error)


def test_whose_estimate_the_error_is():
    twice = made_result(EVEN, error=0.2, resampled=[False, True, False])
    assert "± 0.2 by Lee and Whiteley, ±" in diagnose(twice)["evidence_error"].found
    taken = replace(twice, log_evidence_standard_error=chan_lai_standard_error(twice))
    assert "by Chan and Lai; Lee and Whiteley's estimate is negative" in diagnose(taken)["evidence_error"].found


def test_rounding_noise_counts_as_nothing():
    same = made_result(np.ones((3, 64)), error=1.1e-16, resampled=[False, True, False])
    check = diagnose(same)["evidence_error"]
    assert check.value == 0 and check.found.endswith("± 0 by Lee and Whiteley, ± 0 by Chan and Lai")
    noisy = diagnose(made_result(EVEN, answers=[Answer("a", 1.0, 1.1e-16)]))["answer_margin"]
    assert noisy.value == math.inf and noisy.found.endswith("± 0")
    tied = diagnose(made_result(EVEN, answers=[Answer("a", 0.5 + 1e-16, 1e-17), Answer("b", 0.5 - 1e-16, 1e-17)]))
    assert tied["answer_margin"].value == 0 and tied["answer_margin"].status == "warn"


def test_answers():
    near = [Answer("a", 0.52, 0.05), Answer("b", 0.48, 0.05)]
    assert statuses(diagnose(made_result(EVEN, answers=near)))["answer_margin"] == "warn"
    assert diagnose(made_result(EVEN))["answer_margin"].value == pytest.approx(0.8 / 0.04)
    sole = diagnose(made_result(EVEN, answers=[Answer("a", 1.0, 0.0)]))["answer_margin"]
    assert sole.status == "ok" and sole.value == math.inf and sole.to_dict()["value"] is None
    unknown = diagnose(made_result(EVEN, answers=[Answer("a", 1.0, math.nan)]))["answer_margin"]
    assert unknown.status == "unknown" and "unknown error" in unknown.found
    silent = diagnose(made_result(EVEN, answers=[], no_answer_probability=1.0))
    assert silent["answer_margin"].status == "bad" == silent["no_answer"].status
    assert "max_steps" in silent["no_answer"].advice


def tailed(shape):
    """Four hundred weights of a Pareto law of this shape, at its quantiles."""
    return ((np.arange(400) + 0.5) / 400) ** -shape


@pytest.mark.parametrize(("shape", "status"), [(0.4, "ok"), (0.7, "warn"), (0.9, "bad"), (1.2, "bad")])
def test_pareto_k(shape, status):
    """Warned of above 1 - 1 / log10(400) = 0.62; the number of particles that would do is told where there is one."""
    check = diagnose(made_result(tailed(shape)[None]))["pareto_k"]
    assert check.status == status and check.value == pytest.approx(pareto_k(np.log(tailed(shape))))
    needed = f", as if {10 ** (1 / (1 - check.value)):.0f} particles were needed" if shape == 0.9 else ""
    assert check.found == f"Pareto k of the final weights is {check.value:.2f}{needed}"


def test_where_there_is_no_tail():
    few = diagnose(made_result(EVEN[:, :16]))["pareto_k"]
    assert few.status == "unknown" and "do not tell" in few.found and "needs 21 particles" in few.advice
    same = diagnose(made_result(np.ones((1, 64))))["pareto_k"]
    assert same.status == "ok" and same.found == "all final weights are the same"


def test_one_particle_is_no_posterior():
    report = diagnose(made_result([[1.0]], error=math.nan))
    assert report.status == "bad" and report["weight_entropy"].status == "unknown"


def test_replicates_that_agree_and_that_do_not():
    """Log-evidences of spread 0.1, as their error bars say, and of spread 1."""
    rng = np.random.default_rng(2)
    for spread, agreement in ((0.1, "ok"), (1.0, "bad")):
        results = [made_result(EVEN, log_evidence=one) for one in spread * rng.normal(size=8)]
        report = diagnose(results)
        assert report["evidence_agreement"].status == agreement
        assert report["ess"].status == "ok" and len(report.traces) == 8
    assert "trust the spread" in report["evidence_agreement"].advice
    ruled = diagnose([made_result(EVEN, log_evidence=one) for one in (0.0, -9.0, -9.5)])
    assert ruled["effective_replicates"].status == "bad" and "1.0 of 3 replicates" in ruled["effective_replicates"].found


def test_the_gravest_check_within_replicates_says_where_it_was_found():
    sick = made_result(np.stack([[0.97, *[0.03 / 63] * 63]] * 3))
    report = diagnose([made_result(EVEN), sick, made_result(EVEN)])
    assert report["ess"].status == "bad" and report["ess"].found.startswith("replicate 2: ESS fell to 1.1")
    sound = diagnose([made_result(EVEN), made_result(EVEN**2)])["ess"]
    assert sound.status == "ok" and sound.found.startswith("replicate 2: ")


def test_islands_of_a_finite_world():
    model = early_ends(LIKELIHOODS["bernoulli"])
    settings = {"ess_threshold": 1.0, "resampling": multinomial, "answer_format": LastLetter()}
    smc = ParticleFilter(model, num_particles=256, **settings)  # with fewer the error bars themselves are noisy
    result = Islands(smc, num_replicates=6).run("?", seed=1)
    found = statuses(diagnose(result))
    assert found["evidence_agreement"] == "ok" == found["failed_replicates"] == found["effective_replicates"], found
    failed = replace(result, replicates=(*result.replicates[:5], AllWeightsZeroError(1, 0, "y_1")))
    assert diagnose(failed)["failed_replicates"].status == "warn"
    exchanged = diagnose(Islands(smc, num_replicates=4, exchange=True).run("?", seed=1))
    assert "evidence_agreement" not in statuses(exchanged) and "from 4 islands" in exchanged["evidence_error"].found


def test_markov_chains():
    model = early_ends(LIKELIHOODS["bernoulli"])
    gibbs = ParticleGibbs(model, num_particles=8, num_iterations=6, answer_format=LastLetter())
    run = gibbs.run("?", seed=0)
    report = diagnose(run)
    assert set(statuses(report)) == {"answer_margin", "no_answer", "chain_ess", "update_rate"}
    assert report["update_rate"].status == "ok" and report["chain_ess"].value < 50

    rng = np.random.default_rng(3)

    def chain(mean, length=100):
        """The same run with other weights of its answers."""
        weights = mean + 0.05 * rng.normal(size=(length, len(run.answers)))
        return replace(run, answer_weights=weights, num_iterations=length, burn_in=0)

    together, apart = diagnose([chain(0.4), chain(0.4)]), diagnose([chain(0.4), chain(0.6)])
    assert together["chain_ess"].status == "ok" and "2 chains of 100 iterations are worth" in together["chain_ess"].found
    assert together["rhat"].value < 1.05 and apart["rhat"].status == "bad"
    stuck = replace(run, update_rate=np.array([0.0, *run.update_rate[1:]]))
    assert diagnose([run, stuck])["update_rate"].found.startswith("chain 2: step 1 changed in 0%")
    assert diagnose(replace(run, update_rate=run.update_rate * math.nan))["update_rate"].status == "unknown"


def test_a_ladder_of_powers():
    model = early_ends(LIKELIHOODS["bernoulli"])
    ladder = ParallelTempering(model, num_particles=4, num_iterations=4, powers=(1.0, 0.5), answer_format=LastLetter())
    run = ladder.run("?", seed=0)
    assert {"swap_rate", "round_trips"} <= set(statuses(diagnose(run)))
    worn = diagnose(replace(run, swap_probabilities=np.array([0.004]), round_trips=0))
    assert worn["swap_rate"].status == "bad" and "levels 1 and 2" in worn["swap_rate"].found
    assert worn["round_trips"].status == "warn"
    assert diagnose(replace(run, swap_probabilities=np.array([0.3]), round_trips=2))["swap_rate"].status == "ok"


def test_other_kinds_of_result():
    model = early_ends(LIKELIHOODS["twist"])
    annealed = diagnose(AnnealedSMC(model, num_particles=8, answer_format=LastLetter()).run("?", seed=0))
    assert "at rung" in annealed["ess"].found and "move_acceptance" in statuses(annealed)
    moved = diagnose(
        ResampleMoveFilter(model, num_particles=8, ess_threshold=1.0, answer_format=LastLetter()).run("?", seed=0)
    )
    assert "move_acceptance" in statuses(moved) and "path_degeneracy" not in statuses(moved)
    votes = diagnose(MajorityVote(model, num_completions=8, answer_format=LastLetter()).run("?", seed=0))
    assert (
        set(statuses(votes)) == {"answer_margin", "no_answer"} and votes["answer_margin"].advice == "draw more completions"
    )
    chosen = diagnose(BestOfN(model, num_completions=8, answer_format=LastLetter()).run("?", seed=0))
    assert chosen["answer_margin"].status == "unknown" and "ParticleFilter" in chosen["answer_margin"].advice


def test_a_report_reads_well():
    check = judge("ess", 1.3, warn=4, bad=2, worse="below", reason="because", found="ESS fell to 1.3", advice="raise it")
    fine = judge("roots", 9.0, warn=5, worse="below", reason="because", found="nine roots", advice="raise it")
    report = HealthReport("one run", (fine, check))
    assert repr(report) == "HealthReport(one run: bad; bad: ess)"
    assert str(report).splitlines() == [
        "one run: bad",
        "  bad      ess       1.3  ESS fell to 1.3: raise it",
        "  ok       roots       9  nine roots",
    ]
    assert report["roots"] is fine and report.to_dict()["checks"][1]["status"] == "bad"
    with pytest.raises(KeyError, match="roots, ess"):
        report["tree"]


def test_mistakes():
    with pytest.raises(ValueError, match="at least one"):
        diagnose([])
    with pytest.raises(TypeError, match="got int"):
        diagnose(3)
    with pytest.raises(TypeError, match="mixture"):
        diagnose([made_result(EVEN), "x"])
    with pytest.raises(ValueError, match="2 problems"):
        diagnose([made_result(EVEN), made_result(EVEN, problem="!")])
    votes = MajorityVote(early_ends(LIKELIHOODS["twist"]), num_completions=2, answer_format=LastLetter())
    with pytest.raises(TypeError, match="all particle filters"):
        diagnose([made_result(EVEN), votes.run("?", seed=0)])
