"""One pool of completions for several methods: the same as if each had drawn the pool itself, and drawn once."""

import pytest

from ppl_scaling.backends.finite import FiniteLanguageModel, FunctionRewardModel
from ppl_scaling.inference.baselines import BestOfN, MajorityVote, WeightedBestOfN
from ppl_scaling.inference.evaluation import Evaluation
from ppl_scaling.inference.shared_completions import CompletionPool, PooledMethod
from ppl_scaling.models import LanguageModelStateSpace
from tests.inference.evaluations import PROBLEMS, grade
from tests.worlds import LastLetter


@pytest.fixture
def model():
    language = FiniteLanguageModel({"": {"a": 0.5, "b": 0.3, "$": 0.2}})
    return LanguageModelStateSpace(language, FunctionRewardModel(lambda prompt, text: 0.2 + 0.1 * len(text)), max_steps=4)


class Counted(BestOfN):
    runs = 0

    def _infer(self, *arguments):
        type(self).runs += 1
        return super()._infer(*arguments)


def test_methods_share_what_is_drawn(model, tmp_path):
    Counted.runs = 0
    pool = CompletionPool(Counted(model, num_completions=8, answer_format=LastLetter()))
    methods = {
        (cls, size): PooledMethod(pool, cls(model, num_completions=size, answer_format=LastLetter()))
        for cls in (MajorityVote, BestOfN, WeightedBestOfN)
        for size in (2, 8)
    }
    evaluations = [
        Evaluation(PROBLEMS, tmp_path / f"{number}.jsonl", settings={}, batch_size=4) for number in range(len(methods))
    ]
    for _ in zip(*(e.advance(m, grade) for e, m in zip(evaluations, methods.values(), strict=True)), strict=True):
        pool.forget()
    assert Counted.runs == 3
    seed = evaluations[0].records[0].batch_seed
    drawn = BestOfN(model, num_completions=8, answer_format=LastLetter()).run_batch(
        [one.problem for one in PROBLEMS[:4]], seed=seed
    )
    for (cls, size), evaluation in zip(methods, evaluations, strict=True):
        weighing = cls(model, num_completions=size, answer_format=LastLetter())
        for record, result in zip(evaluation.records[:4], drawn, strict=True):
            expected = weighing.select(result, size)
            assert record.answer == expected.answer and record.generated_tokens == expected.generated_tokens
            assert record.num_trajectories == size and (record.prm_calls > 0) == cls.scored
        evaluation.close()
    assert methods[MajorityVote, 2].configuration["num_completions"] == 2
    assert methods[MajorityVote, 2].run("?", seed=1).method == "majority vote"


def test_seconds_are_the_share_of_the_tokens(model):
    pool = CompletionPool(BestOfN(model, num_completions=8, answer_format=LastLetter()))
    batch = [one.problem for one in PROBLEMS[:4]]
    drawn = pool.draw(batch, 5, None)
    seconds, everything = drawn[0].seconds, sum(one.generated_tokens for one in drawn)
    assert seconds > 0
    for size in (1, 3, 8):
        found = PooledMethod(pool, MajorityVote(model, num_completions=size)).run_batch(batch, seed=5)
        used = sum(one.generated_tokens for one in found)
        assert {one.seconds for one in found} == {seconds * (used / everything)} and (used < everything) == (size < 8)


def test_seconds_of_the_records_add_up_to_those_of_their_batch(model, tmp_path):
    method = PooledMethod(CompletionPool(BestOfN(model, num_completions=8)), MajorityVote(model, num_completions=8))
    with Evaluation(PROBLEMS[:4], tmp_path / "results.jsonl", settings={}, batch_size=4) as evaluation:
        records = evaluation.run(method, grade)
    found = method.run_batch([one.problem for one in PROBLEMS[:4]], seed=records[0].batch_seed)  # the pool has them still
    assert sum(one.seconds for one in records) == pytest.approx(found[0].seconds)


def test_a_batch_that_fails_fails_for_all_and_is_not_drawn_again(model):
    Counted.runs = 0
    pool = CompletionPool(Counted(model, num_completions=2))
    for _ in range(2):
        with pytest.raises(ValueError, match="with some text"):
            PooledMethod(pool, MajorityVote(model, num_completions=2)).run_batch(["a", " "], seed=1)
    assert Counted.runs == 1


def test_without_a_seed_every_batch_is_drawn_anew(model):
    Counted.runs = 0
    method = PooledMethod(CompletionPool(Counted(model, num_completions=2)), MajorityVote(model, num_completions=2))
    assert method.run("?").seed != method.run("?").seed and Counted.runs == 2


def test_pools_that_will_not_do(model):
    with pytest.raises(ValueError, match="a pool of at least 4 completions, got 2"):
        PooledMethod(CompletionPool(BestOfN(model, num_completions=2)), BestOfN(model, num_completions=4))
    with pytest.raises(ValueError, match="a pool with scores, which best of n selects by, got majority vote"):
        PooledMethod(CompletionPool(MajorityVote(model, num_completions=2)), BestOfN(model, num_completions=2))
