"""Running out of memory: smaller micro-batches, then main memory, then a clear error; results never change."""

import gc

import pytest
import torch
from transformers import LlamaForCausalLM

from ppl_scaling.backends import TransformersLanguageModel, cache_layers
from ppl_scaling.backends.cache_layers import CacheLayers
from ppl_scaling.errors import MemoryExhaustedError
from ppl_scaling.inference import BeamSearch, ParticleFilter, ParticleGibbs
from ppl_scaling.models import LanguageModelStateSpace
from tests.conftest import tiny_config


class Cramped(LlamaForCausalLM):
    """A model on a device whose memory holds ``most`` rows at a time; ``sizes`` are those that it was given."""

    most = 1000
    error = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    def forward(self, input_ids, **kwargs):
        self.sizes.append(len(input_ids))
        if len(input_ids) > self.most:
            raise self.error
        return super().forward(input_ids, **kwargs)


@pytest.fixture
def make(byte_tokenizer):
    def build(most=1000, micro_batch=None):
        torch.manual_seed(0)
        model = Cramped(tiny_config())
        model.sizes, model.most = [], 1000
        lm = TransformersLanguageModel(model, byte_tokenizer, boundary=5, micro_batch=micro_batch)
        model.most, model.sizes = most, []
        return lm

    return build


def texts(lm, reward=None, num_particles=8):
    model = LanguageModelStateSpace(lm, reward, max_steps=4, max_step_tokens=5)
    result = ParticleFilter(model, num_particles=num_particles, ess_threshold=1.0).run("abc", seed=3)
    return [one.text for one in result.trajectories], result.log_evidence


def test_micro_batches_change_nothing_but_the_sizes(make, tiny_prm):
    whole, parts = make(), make(micro_batch=3)
    expected, log_evidence = texts(whole, tiny_prm)
    found, again = texts(parts, tiny_prm)
    assert found == expected and again == pytest.approx(log_evidence, abs=1e-5)
    assert max(whole.model.sizes) == 8 and max(parts.model.sizes) == 3
    assert sum(parts.model.sizes) == sum(whole.model.sizes), "no row passes twice"


@pytest.mark.parametrize(
    "error",
    [torch.OutOfMemoryError("CUDA out of memory."), RuntimeError("DefaultCPUAllocator: not enough memory: you tried to")],
    ids=["gpu", "cpu"],
)
def test_out_of_memory_halves_the_micro_batch_and_the_run_goes_on(make, error):
    expected, _ = texts(make())
    cramped = make(most=3)
    cramped.model.error = error
    assert texts(cramped)[0] == expected
    assert cramped.micro_batch.num_rows == 2
    assert [size for size in cramped.model.sizes if size > 3] == [8, 4], "what was learnt is kept, also for the next run"
    texts(cramped)
    assert len([size for size in cramped.model.sizes if size > 3]) == 2


def test_no_room_for_a_single_row_is_an_error_that_says_what_to_do(make):
    with pytest.raises(MemoryExhaustedError, match=r"single row of .* tokens\. Use a smaller dtype"):
        texts(make(most=0))


def test_other_errors_of_the_model_are_not_mistaken_for_it(make):
    lm = make(most=0)
    lm.model.error = RuntimeError("shapes do not fit")
    with pytest.raises(RuntimeError, match="shapes do not fit"):
        texts(lm)


@pytest.mark.parametrize("method", ["gather", "grow", "overwrite"])
def test_a_cache_that_does_not_fit_goes_on_in_main_memory(make, monkeypatch, method):
    expected, _ = texts(make())
    moves = []
    original = getattr(CacheLayers, method)
    guard = CacheLayers._guard

    def full_once(self, attempt):
        if moves and moves[-1] == "next":
            moves[-1] = "failed"

            def attempt_on_a_full_device(attempt=attempt):
                if not self.in_main_memory:
                    raise torch.OutOfMemoryError("CUDA out of memory.")
                attempt()

            return guard(self, attempt_on_a_full_device)
        return guard(self, attempt)

    def noted(self, *args):
        if not moves and self.num_bytes:
            moves.append("next")
        return original(self, *args)

    monkeypatch.setattr(CacheLayers, "_guard", full_once)
    monkeypatch.setattr(CacheLayers, method, noted)
    assert texts(make())[0] == expected
    assert moves == ["failed"]


def test_prompts_of_different_lengths_in_micro_batches(make):
    whole, parts = make(), make(micro_batch=2)
    problems = ["a", "a longer one", "mid", "a"]
    found = []
    for lm in (whole, parts):
        model = LanguageModelStateSpace(lm, None, max_steps=3, max_step_tokens=5)
        results = ParticleFilter(model, num_particles=3).run_batch(problems, seed=1)
        found.append([[one.text for one in result.trajectories] for result in results])
    assert found[0] == found[1]


def test_a_micro_batch_below_one_is_refused(make):
    with pytest.raises(ValueError, match="at least one row, got 0"):
        make(micro_batch=0)


@pytest.mark.parametrize("slab_bytes", [1, 20_000])
def test_the_size_of_slabs_changes_nothing(make, monkeypatch, slab_bytes):
    expected, log_evidence = texts(make())
    monkeypatch.setattr(cache_layers, "_SLAB_BYTES", slab_bytes)
    found, again = texts(make())
    assert found == expected and again == log_evidence


@pytest.mark.parametrize("kind", [ParticleFilter, BeamSearch, ParticleGibbs])
def test_a_run_leaves_no_circles_that_hold_memory(make, tiny_prm, kind):
    """What a run has used is free when it ends, not when Python next looks for circular references."""
    method = kind(LanguageModelStateSpace(make(), tiny_prm, max_steps=3, max_step_tokens=4), num_particles=4)
    method.run("abc", seed=0)  # what is made once and kept
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        method.run("abc", seed=0)
        gc.collect()
        held = [one for one in gc.garbage if isinstance(one, torch.Tensor)]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
    assert not held
