"""Aggregates against direct formulas on scores, and in a session across resampling."""

import math

import pytest
import torch

from ppl_scaling.backends import TokenClassificationRewardModel
from ppl_scaling.backends.reward_models import AGGREGATIONS
from ppl_scaling.backends.reward_models.aggregation import aggregate

DIRECT = {
    "last": lambda scores: scores[-1],
    "min": lambda scores: scores.min(0).values,
    "prod": lambda scores: scores.prod(0),
    "mean": lambda scores: scores.mean(0),
}


@pytest.mark.parametrize("name", DIRECT)
def test_aggregates_against_direct_formulas(name):
    logits = torch.randn(7, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 3
    running, rows = aggregate(name, 5, torch.device("cpu")), torch.arange(5)
    for t in range(1, 8):
        found = running.update(rows, logits[t - 1])
        torch.testing.assert_close(found.sigmoid(), DIRECT[name](logits[:t].sigmoid()).to(found.dtype))


@pytest.mark.parametrize("name", DIRECT)
def test_rows_are_gathered_and_left_alone(name):
    logits = torch.tensor([[0.3, -1.0, 2.0], [1.0, 0.2, -0.7]], dtype=torch.float64)
    running = aggregate(name, 3, torch.device("cpu"))
    running.update(torch.arange(3), logits[0])
    running.select(torch.tensor([2, 0, 0]))
    found = running.update(torch.tensor([2, 0]), logits[1, :2])
    expected = DIRECT[name](torch.stack([logits[0, [0, 2]], logits[1, :2]]).sigmoid())
    torch.testing.assert_close(found.sigmoid(), expected.to(found.dtype))
    again = running.update(torch.tensor([1]), torch.tensor([5.0], dtype=torch.float64))  # row 1 has had one score only
    expected = DIRECT[name](torch.tensor([[0.3], [5.0]], dtype=torch.float64).sigmoid())
    torch.testing.assert_close(again.sigmoid(), expected.to(found.dtype))


def test_nothing_is_lost_at_the_ends_of_the_scale():
    """Scores within 1e-20 of 0 and 1, where probabilities in float64 would be exactly 1."""
    for sign in (1, -1):
        logits = torch.tensor([46.0, 47.0]).double() * sign
        found = {name: aggregate(name, 1, torch.device("cpu")) for name in ("prod", "mean", "min")}
        for logit in logits:
            values = {name: float(one.update(torch.zeros(1, dtype=torch.long), logit[None])) for name, one in found.items()}
        small, less = math.exp(-46), math.exp(-47)
        if sign > 0:  # 1 - prod = the sum of the small ones
            assert values["prod"] == pytest.approx(-math.log(small + less), rel=1e-12)
            assert values["mean"] == pytest.approx(-math.log((small + less) / 2), rel=1e-12)
            assert values["min"] == 46
        else:
            assert values["prod"] == pytest.approx(-93, rel=1e-12)
            assert values["mean"] == pytest.approx(math.log((small + less) / 2), rel=1e-12)


def test_infinite_logits_stay_meaningful():
    rows = torch.zeros(1, dtype=torch.long)
    for name, logits, expected in [
        ("prod", (math.inf, 0.0), 0.0),
        ("prod", (-math.inf, 5.0), -math.inf),
        ("mean", (math.inf, -math.inf), 0.0),
        ("min", (math.inf, 1.0), 1.0),
    ]:
        running = aggregate(name, 1, torch.device("cpu"))
        values = [float(running.update(rows, torch.tensor([logit]))) for logit in logits]
        assert values[-1] == pytest.approx(expected)
    assert math.isnan(float(aggregate("min", 1, torch.device("cpu")).update(rows, torch.tensor([math.nan]))))


@pytest.mark.parametrize("name", DIRECT)
def test_a_session_aggregates_the_scores_of_each_rows_own_steps(tiny_prm, name):
    prm = TokenClassificationRewardModel(tiny_prm.model, tiny_prm.tokenizer, aggregation=name)
    assert prm.scores_prefixes == (name != "last")
    steps, plain = prm.start(["abc", "d"], 2), tiny_prm.start(["abc", "d"], 2)
    histories = torch.zeros(0, 4)
    for t, rows in enumerate(([0, 1, 2, 3], [1, 1, 3, 2], [0, 3], [1, 0, 1])):
        texts = [f"{t} + {row}" for row in range(len(rows))]
        steps.select(torch.tensor(rows))
        plain.select(torch.tensor(rows))
        histories = torch.cat([histories[:, rows], plain.score(texts)[None]])
        found = steps.score(texts)
        assert found.dtype == (torch.float32 if name == "last" else torch.float64)
        torch.testing.assert_close(found.sigmoid().float(), DIRECT[name](histories.sigmoid()), atol=1e-5, rtol=1e-5)


def test_an_unknown_aggregation_is_refused(tiny_prm):
    with pytest.raises(ValueError, match="expected an aggregation among last, min, prod, mean, whole-prefix, got 'max'"):
        TokenClassificationRewardModel(tiny_prm.model, tiny_prm.tokenizer, aggregation="max")
    assert set(AGGREGATIONS) == {*DIRECT, "whole-prefix"}
