"""Laws of the next token: draws against probabilities, truncation against transformers' own, ties and extremes."""

import math

import pytest
import torch
from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from ppl_scaling.token_law import TokenLaw, draw_categorical
from tests.statistics import assert_frequencies


@pytest.mark.parametrize("size", [1, 3, 256, 1000, 2048, 2049, 2304, 5000])
def test_draws_follow_the_probabilities(size):
    generator = torch.Generator().manual_seed(size)
    probabilities = torch.rand(size, generator=generator) ** 4
    probabilities[torch.rand(size, generator=generator) < 0.3] = 0
    probabilities[size // 2] = 1.0
    probabilities /= probabilities.sum()
    with torch.random.fork_rng():
        torch.manual_seed(size)
        draws = draw_categorical(probabilities.expand(40_000, -1))
    assert_frequencies(torch.bincount(draws, minlength=size), probabilities)


@pytest.mark.parametrize("size", [700, 3000])
@pytest.mark.parametrize("uniform", [0.0, 1 - 2**-53])
def test_the_ends_of_the_unit_interval_draw_what_is_possible(monkeypatch, uniform, size):
    """Zero is no reason to draw the first index, nor nearly one the last, if these are impossible."""
    probabilities = torch.zeros(2, size)
    probabilities[0, 300], probabilities[0, 301] = 0.5, 0.5
    probabilities[1, 40:690] = torch.rand(650) + 0.1
    monkeypatch.setattr(torch, "rand", lambda *shape, **options: torch.full(shape, uniform, **options))
    low = uniform == 0
    assert draw_categorical(probabilities).tolist() == ([300, 40] if low else [301, 689])


def test_log_probabilities_are_those_of_the_law():
    torch.manual_seed(0)
    logits = torch.randn(5, 300) * 3
    law = TokenLaw(torch.tensor([0.5, 1.0, 2.0, 1.0, 1.3]))
    tokens, drawn = law.draw(logits)
    expected = torch.log_softmax(logits.double() / law.temperature[:, None], -1).gather(1, tokens[:, None])[:, 0]
    torch.testing.assert_close(drawn, expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(law.log_prob(logits, tokens), expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(law.log_probs(logits).double().gather(1, tokens[:, None])[:, 0], expected, rtol=0, atol=1e-5)


def test_an_improbable_token_has_a_finite_log_probability():
    logits = torch.tensor([[0.0, -200.0]])
    assert float(TokenLaw(torch.ones(1)).log_prob(logits, torch.tensor([1]))) == pytest.approx(-200.0)


@pytest.mark.parametrize("size", [50, 3000])
@pytest.mark.parametrize(("top_k", "top_p"), [(7, None), (None, 0.6), (20, 0.9), (None, 0.9999), (10_000, 1.0)])
def test_truncation_is_that_of_transformers(size, top_k, top_p):
    torch.manual_seed(1)
    logits = torch.randn(6, size, dtype=torch.float64) * 2  # float32 decides otherwise within its rounding
    law = TokenLaw(torch.full((6,), 0.7), top_k, top_p)
    warped = TemperatureLogitsWarper(0.7)(None, logits)
    if top_k is not None:
        warped = TopKLogitsWarper(top_k)(None, warped)
    if top_p is not None:
        warped = TopPLogitsWarper(top_p)(None, warped)
    torch.testing.assert_close(law.log_probs(logits), torch.log_softmax(warped, -1), rtol=0, atol=1e-5)
    tokens, log_probs = law.draw(logits)
    torch.testing.assert_close(log_probs, law.log_prob(logits, tokens), rtol=0, atol=1e-5)
    assert log_probs.isfinite().all()


def test_ties_with_the_last_token_kept_are_kept():
    logits = torch.tensor([[2.0, 1.0, 1.0, 0.0]])
    ones = torch.ones(1)
    assert TokenLaw(ones, top_k=2).log_probs(logits).isfinite().tolist() == [[True, True, True, False]]
    assert TokenLaw(ones, top_p=0.7).log_probs(logits).isfinite().tolist() == [[True, True, True, False]]
    assert TokenLaw(ones, top_p=1e-9).log_probs(logits).isfinite().tolist() == [[True, False, False, False]]
    outside = TokenLaw(ones, top_k=1).log_prob(logits, torch.tensor([3]))
    assert float(outside) == -math.inf


def test_laws_of_rows_and_their_equality():
    law = TokenLaw(torch.tensor([1.0, 2.0, 1.0]), top_k=3)
    assert law.rows(torch.tensor([2, 1])).agrees_with(TokenLaw(torch.tensor([1.0, 2.0]), top_k=3))
    assert not law.agrees_with(TokenLaw(law.temperature)) and not law.agrees_with(law.rows(torch.tensor([0])))
    assert not law.is_untempered and law.rows(torch.tensor([0, 2])).is_untempered


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"top_k": 0}, "top_k to be an integer of at least 1, got 0"),
        ({"top_k": 2.5}, "top_k to be an integer of at least 1, got 2.5"),
        ({"top_p": 0.0}, r"top_p to be in \(0, 1\], got 0.0"),
        ({"top_p": float("nan")}, r"top_p to be in \(0, 1\], got nan"),
    ],
)
def test_bad_truncation_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        TokenLaw(torch.ones(1), **settings)
