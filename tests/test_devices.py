"""GPU without a GPU: everything on tensors that say they are on ``cuda`` but have no values.

Under ``FakeTensorMode`` any operation on tensors of two devices raises, as on a real GPU. Where a tensor's *value* decides
what Python does next, the code asks ``ppl_scaling.host``; those five functions are replaced here by stand-ins that answer
from shapes alone, by the name of the function that asks.
"""

import sys

import pyro
import pytest
import torch
from pyro import distributions as dist
from torch._subclasses.fake_tensor import FakeTensorMode
from transformers import LlamaForCausalLM, LlamaForTokenClassification

from ppl_scaling import host
from ppl_scaling.backends import (
    AnyOf,
    Delimiter,
    Sentence,
    TokenClassificationRewardModel,
    TokenCount,
    TransformersLanguageModel,
    TransformersRewardModel,
    When,
)
from ppl_scaling.backends.vocabulary import Vocabulary
from ppl_scaling.inference import RESAMPLING_SCHEMES, SMCFilter
from ppl_scaling.inference.archipelago import IslandFilter
from ppl_scaling.inference.auxiliary import AuxiliaryFilter
from ppl_scaling.inference.conditional_smc import ConditionalSMCFilter, Reference
from ppl_scaling.inference.entropic import TEMPERATURE_SCHEDULES, EntropicFilter
from ppl_scaling.log_weights import ess, log_mean_exp, normalize
from ppl_scaling.models import LanguageModelStateSpace, SamplingProposal
from tests.backends.reward_models.families import FAMILIES
from tests.conftest import tiny_config
from tests.fake_indexing import FakeIndexing
from tests.worlds import LIKELIHOODS


def asker():
    return sys._getframe(2).f_code.co_name


class StandIn:
    """Answers of a host that has no values to look at: steps of three tokens, everything resampled and moved."""

    def __init__(self):
        self.tokens_drawn = 0

    def is_true(self, condition):
        askers = {"_resample", "choose_ancestors", "_is_current", "log_prob", "agrees_with", "is_untempered", "is_causal"}
        return asker() in askers

    def count(self, mask):
        return len(mask)

    def largest(self, numbers):
        return 5

    def positions(self, mask):
        return torch.arange(len(mask), device=mask.device)

    def as_list(self, tensor):
        if tensor.dim() > 1:
            return [[65] * tensor.shape[1] for _ in range(len(tensor))]
        if tensor.dtype == torch.bool:
            return self.flags(len(tensor), asker())
        if asker() == "select":  # the first row is copied over the last
            num_rows = getattr(sys._getframe(1).f_locals["self"], "num_rows", len(tensor))
            return [row % num_rows for row in range(len(tensor) - 1)] + [0]
        return list(range(len(tensor)))

    def flags(self, size, name):
        if name != "_run":
            return [True] * size
        self.tokens_drawn += 1
        return [self.tokens_drawn % 4 == 0] * (size - 1) + [self.tokens_drawn % 4 in (0, 3)]


@pytest.fixture
def cuda(monkeypatch):
    """A CUDA device that any machine has, with values answered by the stand-in."""
    stand_in = StandIn()
    for name in ("is_true", "count", "largest", "positions", "as_list"):
        monkeypatch.setattr(host, name, getattr(stand_in, name))
    monkeypatch.setattr(TransformersRewardModel, "_check_scores", lambda self: None)
    with pyro.validation_enabled(False), FakeTensorMode(), FakeIndexing():
        yield torch.device("cuda", 0)


def moved(model, device, dtype=torch.bfloat16):
    """Move a model piece by piece; ``Module.to`` swaps parameters in place, which fake tensors do not take."""
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            module._parameters[name] = torch.nn.Parameter(parameter.detach().to(device, dtype))
        for name, buffer in module.named_buffers(recurse=False):
            module._buffers[name] = buffer.to(device)
    return model


def language_program(device, tokenizer, likelihood=None, *, reward_device=None, **settings):
    """A state space of two tiny transformers, the reward model with ``settings``."""
    language = moved(LlamaForCausalLM(tiny_config()), device)
    reward = moved(LlamaForTokenClassification(tiny_config(num_labels=2)), reward_device or device)
    reward_model = TokenClassificationRewardModel(reward, tokenizer, **settings)
    return LanguageModelStateSpace(
        TransformersLanguageModel(language, tokenizer), reward_model, likelihood, max_step_tokens=5
    )


def test_the_mode_does_notice_a_mix_of_devices(cuda):
    with pytest.raises(Exception, match="device"):
        torch.ones(2, device=cuda) + torch.ones(2)


@pytest.mark.parametrize("scheme", RESAMPLING_SCHEMES.values(), ids=RESAMPLING_SCHEMES)
def test_weights_and_resampling(cuda, scheme):
    log_weights = torch.zeros(3, 8, dtype=torch.float64, device=cuda)
    for summary in (ess(log_weights), log_mean_exp(log_weights)):
        assert summary.device == cuda and summary.dtype == torch.float64
    ancestors = scheme(normalize(log_weights))
    assert ancestors.device == cuda and ancestors.shape == (3, 8)


@pytest.mark.parametrize("boundary", [Delimiter("\n\n"), TokenCount(2), Sentence(), When(bool), AnyOf("\n", 2)], ids=repr)
def test_step_boundaries(cuda, boundary):
    tracker = boundary.track(Vocabulary(["a", "\n", " b."], cuda), 4)
    rows = torch.arange(3, device=cuda)
    for _ in range(2):
        closes = tracker.closes(rows, rows.clone())
        assert closes.device == cuda and closes.dtype == torch.bool and closes.shape == (3,)


def test_a_linear_gaussian_model(cuda):
    class Model:
        def init(self, state):
            state["z"] = pyro.sample("z_0", dist.Normal(torch.zeros((), device=cuda), 1.0))

        def step(self, state, t):
            state["z"] = pyro.sample(f"z_{t}", dist.Normal(state["z"], 1.0))
            pyro.sample(f"y_{t}", dist.Normal(state["z"], 1.0), obs=torch.ones((), device=cuda))

    smc = SMCFilter(Model(), None, 5, num_groups=2)
    smc.init()
    smc.step(1)
    smc.step(2)
    assert smc.log_evidence.device == cuda and smc.log_weights.dtype == torch.float64
    assert smc.history[-1].ancestors.device == cuda


def test_the_two_models_may_live_on_different_devices(cuda, byte_tokenizer):
    other = torch.device("cuda", 1)
    model = language_program(cuda, byte_tokenizer, reward_device=other, aggregation="min")
    smc = SMCFilter(model, None, 6)
    smc.init(["abc"])
    for t in range(1, 4):
        smc.step(t)
    session = smc.state.sessions["particles"]
    assert session.language.device == smc.log_weights.device == cuda and session.reward.device == other


PROGRAMS = {name: (likelihood, False) for name, likelihood in LIKELIHOODS.items()}
PROGRAMS["twist, temperature proposal"] = LIKELIHOODS["twist"], True


@pytest.mark.parametrize(("likelihood", "guided"), PROGRAMS.values(), ids=PROGRAMS)
def test_a_language_model_with_cache_scores_and_resampling(cuda, byte_tokenizer, likelihood, guided):
    model = language_program(cuda, byte_tokenizer, likelihood)
    smc = SMCFilter(model, SamplingProposal(model, temperature=0.7) if guided else None, 6, num_groups=2)
    smc.init(["abc", "defgh"])
    for t in range(1, 4):
        smc.step(t)
    smc.retire(torch.zeros(2, dtype=torch.bool, device=cuda))
    assert smc.log_weights.device == cuda and smc.log_weights.dtype == torch.float64
    assert smc.state["score_logit"].device == cuda
    session = smc.state.sessions["particles"]
    assert session.language.tokens_forwarded.device == session.reward.tokens_forwarded.device == cuda


def conditional(ancestor_sampling):
    def make(model):
        references = [Reference([[65, 65, 65]] * 3), Reference([[65, 65, 65]] * 3)]
        return ConditionalSMCFilter(model, references, None, 6, ancestor_sampling=ancestor_sampling, powers=[0.5, 1.0])

    return make


def entropic(model):
    schedule = TEMPERATURE_SCHEDULES["ess"]
    settings = {"max_steps": 40, "schedule": schedule, "early_phase": 0.5, "corrected": True}
    return EntropicFilter(model, None, 6, num_groups=2, **settings)


FILTERS = {
    "entropic": entropic,
    "auxiliary": lambda model: AuxiliaryFilter(model, None, 6, num_groups=2, num_lookahead=1, defensive_share=0.1),
    "islands with exchange": lambda model: IslandFilter(model, None, 6, num_groups=2, num_islands=3, exchange_threshold=0.5),
    "conditional": conditional(ancestor_sampling=False),
    "conditional with ancestor sampling": conditional(ancestor_sampling=True),
}


@pytest.mark.parametrize("make", FILTERS.values(), ids=FILTERS)
def test_the_filters_of_other_methods(cuda, byte_tokenizer, make):
    smc = make(language_program(cuda, byte_tokenizer))
    smc.init(["abc", "defgh"])
    for t in range(1, 4):
        smc.step(t)
    assert smc.log_weights.device == smc.log_evidence.device == smc.history[-1].ancestors.device == cuda
    assert smc.log_weights.dtype == torch.float64 and smc.log_weights.shape == (2, 6)


@pytest.mark.parametrize("incremental", [True, False], ids=["incremental", "re-encoding"])
@pytest.mark.parametrize("family", FAMILIES)
def test_reward_models(cuda, monkeypatch, family, incremental):
    monkeypatch.setattr(TransformersRewardModel, "keeps_cache", lambda self: incremental)
    monkeypatch.setattr(torch.nn.Module, "float", lambda self: moved(self, cuda, torch.float32))
    make, model, tokenizer, _ = FAMILIES[family]
    session = make(moved(model(), cuda), tokenizer(), aggregation="prod").start(["abc", "What is 12?"], 2)
    for _ in range(3):
        session.select(torch.arange(4, device=cuda))
        logits = session.score(["1 + 2", "3", "So 3.", "12"])
        assert logits.device == session.tokens_forwarded.device == cuda
        assert logits.dtype == torch.float64 and logits.shape == (4,)
