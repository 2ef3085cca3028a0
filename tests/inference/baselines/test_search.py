"""Tree searches against their exact laws, where those can be listed, and against their rules written out at length."""

import functools
import itertools
import math
from collections import Counter, defaultdict
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from ppl_scaling.backends.prompts import render_prompt
from ppl_scaling.inference.baselines import DVTS, BeamSearch
from ppl_scaling.inference.baselines.search import _SelectingFilter
from ppl_scaling.inference.method import drive
from ppl_scaling.models import LanguageModelStateSpace
from ppl_scaling.token_law import TokenLaw
from tests.fake_indexing import FakeIndexing
from tests.inference.baselines import laws
from tests.statistics import assert_mean
from tests.worlds import LIKELIHOODS, WORLDS, LastLetter, early_ends, make, score_of, step_scores, truncation

SEARCHES = [BeamSearch, DVTS]


def tree_law(model, width):
    """Law of the (answer, score, step) that one tree of some width ends with: the best that has finished in it."""
    law = TokenLaw(torch.ones(1, dtype=torch.float64))
    limits = {"law": law, "max_step_tokens": model.max_step_tokens, "max_tokens": model.max_tokens}

    @functools.cache
    def children(text, num_tokens, depth):
        steps = model.language_model.steps("?", text, num_tokens, **limits)
        return [
            (text + step, num_tokens + length, finished, not finished and (cut or depth == model.max_steps), log_prob)
            for step, length, log_prob, finished, cut in steps
        ]

    @functools.cache
    def grow(text, num_tokens, depth, best):
        found = defaultdict(float)
        for tried in itertools.product(children(text, num_tokens, depth), repeat=width):
            probability = math.exp(sum(one[4] for one in tried))
            best_now, scores = best, [score_of(model, one[0]) for one in tried]
            for (new, _, finished, cut, _), value in zip(tried, scores, strict=True):
                if finished or cut:
                    best_now = max(best_now, (LastLetter().extract(new) if finished else None, value, depth), key=standing)
            chosen = tried[max(range(width), key=lambda i: (not tried[i][3], scores[i], -i))]
            if chosen[2] or chosen[3]:
                found[best_now] += probability
            else:
                for outcome, further in grow(*chosen[:2], depth + 1, best_now).items():
                    found[outcome] += probability * further
        return dict(found)

    return grow("", 0, 1, (None, -1.0, 0))


def standing(outcome):
    return outcome[0] is not None, outcome[1]


def of_answers(law):
    answers = defaultdict(float)
    for (answer, *_), probability in law.items():
        answers[answer] += probability
    assert math.isclose(sum(answers.values()), 1)
    return answers


@pytest.mark.parametrize(
    ("world", "width"), [("early ends", 2), ("early ends", 3), ("truncation", 2), ("impossible branches", 3)]
)
@pytest.mark.parametrize("kind", SEARCHES, ids=lambda kind: kind.method)
def test_the_law_of_one_tree(world, kind, width):
    model = WORLDS[world](LIKELIHOODS["odds"])
    results = make(kind, model, num_particles=width, beam_width=width).run_batch(["?"] * 600, seed=1)
    laws.assert_answers(results, of_answers(tree_law(model, width)))


def test_subtrees_are_independent_and_alike():
    model = early_ends(LIKELIHOODS["bernoulli"])
    results = make(DVTS, model, num_particles=6, beam_width=2).run_batch(["?"] * 600, seed=2)
    pairs = [[(one.answer, round(one.score, 9)) for one in run.trajectories if one.weight > 0] for run in results]
    law = Counter()
    for (answer, score, _), probability in tree_law(model, 2).items():
        law[answer, round(score, 9)] += probability
    assert {len(voters) for voters in pairs} == {3}
    likely = sorted(law, key=law.get)[-3:]
    for one in likely:
        assert_mean([voters.count(one) / 3 for voters in pairs], law[one])
        for other in likely:
            together = [voters.count(one) * (voters.count(other) - (one == other)) / 6 for voters in pairs]
            assert_mean(together, law[one] * law[other])


def test_dvts_finds_the_best_of_its_subtrees():
    """With ties, of which this world has many: what ended first, and then the first subtree."""
    model = truncation(LIKELIHOODS["bernoulli"])
    expected = defaultdict(float)
    for pair in itertools.product(tree_law(model, 2).items(), repeat=2):
        by_step = sorted((outcome for outcome, _ in pair), key=lambda outcome: outcome[2])
        expected[laws.best(by_step)] += math.prod(probability for _, probability in pair)
    results = make(DVTS, model, num_particles=4, beam_width=2).run_batch(["?"] * 600, seed=3)
    laws.assert_answers(results, expected)


@pytest.mark.parametrize("kind", SEARCHES, ids=lambda kind: kind.method)
def test_the_vote_is_weighted_by_the_final_scores(kind):
    model = early_ends(LIKELIHOODS["bernoulli"])
    for result in make(kind, model, num_particles=12, beam_width=3, choice="mode").run_batch(["?"] * 30, seed=8):
        voters = [one for one in result.trajectories if one.weight > 0]
        assert len(voters) == len(result.trajectories) if kind is BeamSearch else len(voters) == 4
        total = sum(one.score for one in voters)
        for entry in result.answers:
            share = sum(one.score for one in voters if one.answer == entry.answer) / total
            assert entry.probability == pytest.approx(share)
        assert result.answer == result.answers[0].answer


@pytest.mark.parametrize("kind", SEARCHES, ids=lambda kind: kind.method)
@pytest.mark.parametrize("world", WORLDS.values(), ids=WORLDS)
def test_with_width_one_nothing_is_selected_and_it_is_best_of_n(world, kind):
    model = world(LIKELIHOODS["twist"])
    results = make(kind, model, num_particles=3, beam_width=1).run_batch(["?"] * 600, seed=4)
    law = laws.winners(model, laws.best, 3)
    scores = np.array([one.best_trajectory.score if one.answer is not None else -1.0 for one in results])
    pairs = laws.outcomes(model)
    for threshold in {score for _, score in pairs}:
        below = sum(p for (answer, score), p in pairs.items() if answer is None or score <= threshold) ** 3
        if 10 < below * len(results) < len(results) - 10:
            assert_mean(scores <= threshold + 1e-9, below)
    if law[None] * len(results) > 10:
        assert_mean([one.answer is None for one in results], law[None])


def recorded(kind, model, num_groups=60, seed=5, **settings):
    search = make(kind, model, **settings)
    smc = _SelectingFilter(search, num_groups)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        drive(smc, ["?"] * num_groups, model.max_steps)
    return search, smc


def groups_of(smc):
    """Scores, ends and chosen ancestors of every selection of every group."""
    for before, after in itertools.pairwise(smc.history[1:]):
        scores = before.sites[f"score_{before.t}"].view(len(before.groups), -1)
        for position, group in enumerate(after.groups):
            old = before.groups.index(group)
            yield (
                scores[old].tolist(),
                before.finished[old].tolist(),
                before.truncated[old].tolist(),
                after.ancestors[position].tolist(),
            )


@pytest.mark.parametrize("world", WORLDS.values(), ids=WORLDS)
def test_the_best_beams_go_on(world):
    _, smc = recorded(BeamSearch, world(LIKELIHOODS["twist"]), num_particles=12, beam_width=3)
    selections = list(groups_of(smc))
    assert len(selections) > 60
    for scores, finished, truncated, ancestors in selections:
        ranking = sorted(range(12), key=lambda i: (truncated[i], -scores[i], i))
        kept = ranking[:4]
        going = [i for i in kept if not finished[i] and not truncated[i]]
        copies = [ancestors.count(i) for i in kept]
        assert sum(copies) == 12 and ancestors == sorted(ancestors)
        if going:
            assert all(ancestors.count(i) == 1 for i in kept if i not in going)
            shares = [ancestors.count(i) for i in going]
            assert max(shares) - min(shares) <= 1 and shares == sorted(shares, reverse=True) and min(shares) >= 3
        else:
            assert copies == [3] * 4
    assert any(any(f) and not all(f) for _, f, _, _ in selections)


@pytest.mark.parametrize("world", WORLDS.values(), ids=WORLDS)
def test_subtrees_never_mix(world):
    _, smc = recorded(DVTS, world(LIKELIHOODS["twist"]), num_particles=12, beam_width=3)
    for scores, _, truncated, ancestors in groups_of(smc):
        for subtree in range(0, 12, 3):
            best = min(range(subtree, subtree + 3), key=lambda i: (truncated[i], -scores[i], i))
            assert ancestors[subtree : subtree + 3] == [best] * 3


def test_a_wide_beam_climbs_the_scores():
    """With so many candidates every next step is tried (a miss has probability below 1e-6), so the best text is reached:
    'a' (.6), 'aa' (.8), and its end, which scores as well and stands for all four places of the beam."""
    result = make(BeamSearch, early_ends(LIKELIHOODS["odds"]), num_particles=256, beam_width=64).run("?", seed=0)
    assert result.best_trajectory.text == "aa" and result.answer == "a"
    assert result.best_trajectory.scores == pytest.approx((0.6, 0.8, 0.8))


@pytest.mark.parametrize("kind", SEARCHES, ids=lambda kind: kind.method)
def test_every_candidate_that_ended_is_reported_once_with_its_own_history(kind):
    model = early_ends(LIKELIHOODS["twist"])
    for result in make(kind, model, num_particles=12, beam_width=3).run_batch(["?"] * 20, seed=6):
        for one in result.trajectories:
            assert one.finished != one.truncated
            assert one.scores == pytest.approx(step_scores(model, one))
            assert one.num_tokens == len(one.scores) == len(one.token_blocks)
        assert sum(one.weight for one in result.trajectories) == pytest.approx(1)
        assert sum(one.probability for one in result.answers) + result.no_answer_probability == pytest.approx(1)
        assert all(math.isnan(one.standard_error) for one in result.answers)
        assert not hasattr(result, "log_evidence")
        voters = [one for one in result.trajectories if one.answer is not None and one.weight > 0]
        best = max(voters, key=lambda one: one.score)  # the first of those that tie
        assert result.answer == best.answer


def test_a_subtree_votes_for_an_answer_if_it_has_one():
    model = early_ends(None)
    one = make(DVTS, model, num_particles=1).run("?", seed=0).trajectories[0]
    good, better = replace(one, answer="a", score=0.3), replace(one, answer="b", score=0.4)
    none = replace(one, answer=None, score=0.9)
    search = make(DVTS, model, num_particles=8, beam_width=4)
    assert search.electorate([none, good, better, none], [0, 1, 3, 5]) == [2, 3]
    assert search.electorate([better, better], [2, 0]) == [0]  # the first that ended


@pytest.mark.parametrize("kind", SEARCHES, ids=lambda kind: kind.method)
def test_tokens_are_forwarded_once(tiny_lm, tiny_prm, kind):
    """Each problem's tokens once, each generated token once but for the last one of a candidate that has ended."""
    model = LanguageModelStateSpace(tiny_lm, tiny_prm, max_steps=4, max_step_tokens=5)
    search = kind(model, num_particles=8, beam_width=2)
    for problem, result in zip(["abc", "hello"], search.run_batch(["abc", "hello"], seed=0), strict=True):
        prompt = len(render_prompt(tiny_lm.tokenizer, problem))
        assert result.lm_tokens_forwarded == prompt + result.generated_tokens - len(result.trajectories)
        assert result.generated_tokens <= 8 * 20 and result.prm_calls <= 8 * 4 and result.prm_tokens_forwarded > 0
        longest = max(len(one.token_blocks) for one in result.trajectories)
        assert result.prm_calls >= 8 and longest <= 4


@pytest.mark.parametrize("kind", SEARCHES, ids=lambda kind: kind.method)
def test_selection_stays_on_its_device(kind):
    search = make(kind, early_ends(None), num_particles=8, beam_width=2)
    with FakeTensorMode(), FakeIndexing():
        flags = torch.zeros(3, 8, dtype=torch.bool, device="cuda")
        ancestors = search.select(torch.zeros(3, 8, dtype=torch.float64, device="cuda"), flags, flags)
    assert ancestors.shape == (3, 8) and ancestors.device.type == "cuda" and ancestors.dtype == torch.long


def test_settings_of_the_searches():
    model = early_ends(None)
    assert [BeamSearch(model, num_particles=n).beam_width for n in (1, 2, 4, 64)] == [1, 2, 4, 4]
    configuration = DVTS(model, num_particles=8).configuration
    assert {"num_particles": 8, "beam_width": 4, "choice": "best_score", "likelihood": None}.items() <= configuration.items()
    with pytest.raises(ValueError, match="num_particles to be a multiple of beam_width, got 6 and 4"):
        DVTS(model, num_particles=6)
    with pytest.raises(ValueError, match="beam_width to be an integer of at least 1, got 0"):
        BeamSearch(model, beam_width=0)
    with pytest.raises(ValueError, match="num_particles to be an integer of at least 1, got True"):
        BeamSearch(model, num_particles=True)
    with pytest.raises(ValueError, match="which dvts selects by, got one without"):
        DVTS(LanguageModelStateSpace(None, None))
    with pytest.raises(ValueError, match="among mode, best_score, sample, got 'best'"):
        BeamSearch(model, choice="best")
