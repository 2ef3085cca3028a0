"""The posterior over answers, the final choice, and what a result holds."""

import dataclasses
import json
import math
import random

import numpy as np
import pyro
import pytest
import torch

from ppl_scaling.backends.finite import FiniteLanguageModel, FunctionRewardModel
from ppl_scaling.errors import AllWeightsZeroError, NoAnswerError, ScoreError
from ppl_scaling.inference import (
    AnnealedSMC,
    Genealogy,
    ParallelTempering,
    ParticleFilter,
    ParticleFilterResult,
    ParticleGibbs,
    ResampleMoveFilter,
)
from ppl_scaling.inference.answers import answer_posterior, choose_answer, group_answers
from ppl_scaling.models import BernoulliLikelihood, LanguageModelStateSpace, OddsLikelihood, TwistLikelihood
from ppl_scaling.tasks import MathAnswers
from tests.statistics import assert_mean
from tests.worlds import LIKELIHOODS, LastLetter, answering, early_ends, step_scores, truncation


def test_answers_are_grouped_by_meaning_and_none_by_nothing():
    answers = ["1/2", None, "0.5", "2", None, r"\frac{1}{2}", "2.0"]
    assert group_answers(answers, MathAnswers()) == [0, None, 0, 1, None, 0, 1]


def test_posterior_over_answers():
    """Of equal ones the first that is found is first; each as its weightiest particle writes it."""
    weights = np.array([0.1, 0.2, 0.3, 0.4, 0.0])
    genealogy = Genealogy(np.arange(5)[None], np.zeros(1, dtype=bool), 5)
    posterior = answer_posterior(["0.5", None, "1/2", "3", "9"], weights, genealogy, MathAnswers())
    assert [(one.answer, pytest.approx(one.probability)) for one in posterior] == [("1/2", 0.4), ("3", 0.4)]


def run(seed=0, **settings):
    settings = {"num_particles": 20, "answer_format": LastLetter(), "ess_threshold": 0.8} | settings
    return ParticleFilter(early_ends(LIKELIHOODS["bernoulli"]), **settings).run("?", seed=seed)


def test_every_field_is_consistent():
    result = run(seed=3)
    size, steps = 20, result.num_steps
    assert result.ess.shape == result.resampled.shape == (steps,) and result.ancestors.shape == (steps, size)
    assert result.weights.sum() == pytest.approx(1) and len(result.trajectories) == size
    assert sum(one.probability for one in result.answers) + result.no_answer_probability == pytest.approx(1)
    assert (result.finished ^ result.truncated).all()
    for weight, score, trajectory in zip(result.weights, result.scores, result.trajectories, strict=True):
        assert trajectory.weight == weight and trajectory.score == score == trajectory.scores[-1]
        assert trajectory.text.startswith("".join(trajectory.steps)) and trajectory.num_tokens == len(trajectory.scores)
        assert (trajectory.answer is None) == (trajectory.truncated or not trajectory.text)
    assert result.generated_tokens == result.lm_tokens_forwarded
    assert result.answer == result.answers[0].answer and result.answer in repr(result)
    with pytest.raises(dataclasses.FrozenInstanceError):
        result.answer = "c"


def test_scores_of_a_trajectory_are_those_of_its_own_prefixes():
    model = early_ends(LIKELIHOODS["bernoulli"])
    smc = ParticleFilter(model, num_particles=50, ess_threshold=1.0, answer_format=LastLetter())
    for trajectory in smc.run("?", seed=1).trajectories:
        assert trajectory.scores == pytest.approx(step_scores(model, trajectory))


def test_the_dictionary_is_json():
    result = run()
    parsed = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    required = "problem method answer answers log_evidence ess num_particles num_steps finished truncated"
    required += " generated_tokens lm_tokens_forwarded prm_tokens_forwarded seconds seed trajectories"
    assert set(required.split()) <= set(parsed)
    assert set(parsed["answers"][0]) == {"answer", "probability", "standard_error"}
    assert {"steps", "score", "log_weight", "answer"} <= set(parsed["trajectories"][0])


def test_final_choices():
    result = run(seed=2)
    assert result.choose("mode") == max(result.answers, key=lambda one: one.probability).answer
    answering = [one for one in result.trajectories if one.answer is not None]
    assert result.choose("best_score") == max(answering, key=lambda one: (one.score, one.weight)).answer
    drawn = [result.choose("sample", seed=seed) for seed in range(3000)]
    mass = sum(one.probability for one in result.answers)
    for one in result.answers:
        assert_mean([answer == one.answer for answer in drawn], one.probability / mass)
    with pytest.raises(ValueError, match="among mode, best_score, sample, got 'best'"):
        result.choose("best")
    with pytest.raises(ValueError, match="among mode, best_score, sample, got 'vote'"):
        run(choice="vote")
    assert run(seed=2, choice="best_score").answer == result.choose("best_score")


def test_the_best_score_is_that_of_a_possible_particle_and_of_equal_ones_of_the_weightiest():
    found = [("a", 0.0, 0.9), ("b", 0.2, 0.5), ("c", 0.3, 0.5), ("d", 0.4, 0.1), (None, 0.1, 0.8)]
    trajectories = [dataclasses.replace(answering(answer, weight), score=score) for answer, weight, score in found]
    assert choose_answer(trajectories, [], "best_score", seed=0) == "c"
    with pytest.raises(NoAnswerError, match="none of 2 particles has an answer: 2 finished, 0 truncated"):
        choose_answer([trajectories[0], trajectories[-1]], [], "best_score", seed=0)


def test_no_answer_at_all_is_told_and_nothing_is_lost():
    class Nothing(LastLetter):
        def extract(self, text):
            return None

    result = run(answer_format=Nothing())
    assert result.answer is None and result.answers == () and result.no_answer_probability == pytest.approx(1)
    with pytest.raises(NoAnswerError, match=r"none of 20 particles has an answer: [0-9]+ finished, [0-9]+ truncated"):
        result.choose()


def test_same_seed_same_result_and_the_callers_generators_are_untouched():
    pyro.set_rng_seed(7)
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002 - Pyro seeds it
    first, second, other = run(seed=5), run(seed=5), run(seed=6)
    assert torch.equal(torch.get_rng_state(), before[0]) and random.getstate() == before[2]
    assert (np.random.get_state()[1] == before[1]).all()  # noqa: NPY002
    assert first.log_evidence == second.log_evidence and np.array_equal(first.ancestors, second.ancestors)
    assert [one.text for one in first.trajectories] == [one.text for one in second.trajectories]
    assert first.log_evidence != other.log_evidence


def test_a_run_that_fails_leaves_the_generators_untouched_too():
    before = torch.get_rng_state()
    with pytest.raises(AllWeightsZeroError):
        impossible().run("?", seed=1)
    assert torch.equal(torch.get_rng_state(), before)


def test_without_a_seed_the_callers_generator_decides_and_the_result_names_it():
    torch.manual_seed(1)
    first = run(seed=None)
    torch.manual_seed(1)
    assert run(seed=None).seed == first.seed
    assert run(seed=None).seed != first.seed
    assert run(seed=first.seed).log_evidence == first.log_evidence


@pytest.mark.parametrize("seed", [-1, 2**32, 1.5, True, "1"])
def test_bad_seeds(seed):
    with pytest.raises(ValueError, match="expected seed to be"):
        run(seed=seed)


def test_a_gpu_that_starts_later_has_the_callers_seed(monkeypatch):
    """Torch keeps the seed for a GPU that is not in use yet; a run must not leave its own there."""
    kept = []
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: False)
    monkeypatch.setattr(torch.cuda, "manual_seed_all", kept.append)
    torch.manual_seed(77)
    run(seed=5)
    assert 5 in kept and kept[-1] == 77


def impossible(**settings):
    language = FiniteLanguageModel({"": {"a": 0.9, "$": 0.1}})
    reward = FunctionRewardModel(lambda prompt, text: 0.0 if prompt == "?" else 0.5)
    return ParticleFilter(LanguageModelStateSpace(language, reward), num_particles=5, **settings)


def test_a_problem_whose_weights_are_all_zero_fails_alone():
    with pytest.raises(AllWeightsZeroError, match="all particles of group 0 have weight zero after site 'y_1' of step 1"):
        impossible().run("?", seed=0)
    outcomes = impossible(answer_format=LastLetter()).run_batch(["!", "?", "!"], seed=0)
    assert isinstance(outcomes[1], AllWeightsZeroError) and outcomes[1].group == 1
    assert all(isinstance(outcomes[i], ParticleFilterResult) for i in (0, 2))
    assert all(isinstance(one, AllWeightsZeroError) for one in impossible().run_batch(["?", "?"], seed=0))


@pytest.mark.parametrize("method", [ParticleFilter, AnnealedSMC, ResampleMoveFilter, ParticleGibbs])
def test_so_does_one_that_is_impossible_from_the_beginning(method):
    class Picky(LanguageModelStateSpace):
        def init(self, state, prompts):
            super().init(state, prompts)
            doomed = torch.tensor([prompt == "?" for prompt in prompts]).repeat_interleave(state.group_size)
            pyro.factor("picky", torch.where(doomed, -math.inf, 0.0))

    base = early_ends(LIKELIHOODS["twist"])
    model = Picky(base.language_model, base.reward_model, base.likelihood, max_steps=4)
    picky = method(model, num_particles=4, answer_format=LastLetter())
    for problems in (["!", "?"], ["?", "?"]):
        outcomes = picky.run_batch(problems, seed=0)
        for problem, outcome in zip(problems, outcomes, strict=True):
            assert isinstance(outcome, AllWeightsZeroError) == (problem == "?")
        assert outcomes[1].step == 0 and outcomes[1].site == "picky"


def test_a_program_may_leave_out_the_sites_of_its_scores():
    class Quiet(LanguageModelStateSpace):
        def step(self, state, t):
            with pyro.poutine.block(hide=[f"score_{t}", f"log_likelihood_{t}"]):
                super().step(state, t)

    base = early_ends(LIKELIHOODS["twist"])
    model = Quiet(base.language_model, base.reward_model, base.likelihood, max_steps=4)
    result = ParticleFilter(model, num_particles=5, answer_format=LastLetter()).run("?", seed=0)
    assert np.isnan(result.scores).all() and not any(one.scores for one in result.trajectories)
    with pytest.raises(TypeError, match=r"that keeps its log-likelihood .* got Quiet without"):
        ParallelTempering(model, num_particles=3, answer_format=LastLetter()).run("?", seed=0)


def test_groups_may_die_when_all_others_have_ended():
    language = FiniteLanguageModel({"": {"a": 0.5, "b": 0.5, "$": 0.0}, "!": {"$": 1.0}, "?": {"a": 1.0}})
    reward = FunctionRewardModel(lambda prompt, text: 0.0 if len(text) >= 3 else 0.5)
    outcomes = ParticleFilter(LanguageModelStateSpace(language, reward), num_particles=4).run_batch(["!", "?"], seed=0)
    assert outcomes[0].finished.all() and outcomes[0].num_steps == 1
    assert isinstance(outcomes[1], AllWeightsZeroError) and outcomes[1].step == 3


@pytest.mark.filterwarnings("ignore:Encountered")  # Pyro says so as well, when it validates
def test_a_score_that_is_no_number_is_named_with_step_and_particle():
    language = FiniteLanguageModel({"": {"a": 1.0, "$": 0.0}})
    reward = FunctionRewardModel(lambda prompt, text: math.nan if len(text) == 2 else 0.5)
    with pytest.raises(ScoreError, match="score of particle 0 at step 2 is nan"):
        ParticleFilter(LanguageModelStateSpace(language, reward), num_particles=3).run("?", seed=0)
    certain = LanguageModelStateSpace(language, FunctionRewardModel(lambda prompt, text: 1.0), OddsLikelihood())
    with pytest.raises(ScoreError, match="site 'y_1' of particle 0 at step 1 is inf"):
        ParticleFilter(certain, num_particles=3).run("?", seed=0)


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: run(num_particles=0), ValueError, "num_particles to be an integer of at least 1, got 0"),
        (lambda: run(ess_threshold=2.0), ValueError, "ess_threshold to be in"),
        (lambda: ParticleFilter(early_ends(None)).run("  "), ValueError, "prompt with some text, got '  '"),
        (lambda: ParticleFilter(early_ends(None)).run(7), TypeError, "prompt to be a string, got int"),
        (lambda: ParticleFilter(early_ends(None)).run_batch("?"), TypeError, "sequence of problems, got one string"),
        (
            lambda: LanguageModelStateSpace(None, None, max_steps=0),
            ValueError,
            "max_steps to be an integer of at least 1, got 0",
        ),
        (lambda: LanguageModelStateSpace(None, None, temperature=0.0), ValueError, "temperature above 0, got 0"),
        (lambda: OddsLikelihood(temperature=-1.0), ValueError, "temperature to be a finite number > 0, got -1.0"),
        (lambda: OddsLikelihood(beta=-1.0), ValueError, "beta to be a finite number >= 0, got -1.0"),
        (lambda: OddsLikelihood(beta=math.nan), ValueError, "beta to be a finite number >= 0, got nan"),
    ],
)
def test_bad_input(call, kind, message):
    with pytest.raises(kind, match=message):
        call()


def test_no_problems_no_results():
    assert ParticleFilter(early_ends(None)).run_batch([]) == []


def test_progress_is_reported_at_every_step():
    seen = []
    smc = ParticleFilter(truncation(LIKELIHOODS["odds"]), num_particles=9, answer_format=LastLetter())
    result = smc.run("?", seed=0, on_step=seen.append)
    assert [one.t for one in seen] == list(range(1, result.num_steps + 1))
    assert seen[-1].num_active == 0 and [one.ess[0] for one in seen] == pytest.approx(list(result.ess))


def test_beta_zero_ignores_the_reward_model():
    for likelihood in (BernoulliLikelihood(beta=0), TwistLikelihood(beta=0), OddsLikelihood(beta=0)):
        smc = ParticleFilter(early_ends(likelihood), num_particles=9, answer_format=LastLetter())
        assert smc.run("?", seed=0).log_evidence == pytest.approx(0, abs=1e-12)
