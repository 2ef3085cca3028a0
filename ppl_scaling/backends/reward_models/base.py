"""What all families of reward models share: loading, sessions, and the probe that a model passes before it is used."""

from __future__ import annotations

import inspect
import logging
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property, lru_cache, partial
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor

from ppl_scaling import host
from ppl_scaling.backends.fingerprint import fingerprint
from ppl_scaling.backends.kv_cache import MicroBatch, context_length
from ppl_scaling.backends.loading import load_checkpoint
from ppl_scaling.backends.prompts import check_prompts
from ppl_scaling.backends.reward_models.aggregation import AGGREGATIONS
from ppl_scaling.backends.reward_models.session import TransformersRewardSession
from ppl_scaling.errors import BackendError, ConstantScoreError

__all__ = ["TransformersRewardModel"]

_PROBE_PROBLEM = "What is 2 + 3?"
_PROBE_STEPS = (("2 + 3 = 5", "So 5."), ("2 + 3 = 9", "No."), ("The moon is a cheese.", "12"), ("x", "y"))
# How far the same logit may lie apart when it is computed along two ways, relative to its size (at least 1).
_TOLERANCE = {torch.float32: 1e-2, torch.float16: 0.1, torch.bfloat16: 0.5}
_LOG = logging.getLogger("ppl_scaling")

Model = TypeVar("Model", bound="TransformersRewardModel")


class TransformersRewardModel(ABC):
    """A family of reward models: how a text is laid out, and how a score is read from hidden states.

    A subclass defines :meth:`layout`, :meth:`logit` and :attr:`auto_class`, and has everything else: sessions whose caches
    live across steps and resampling, aggregation, loading, and the probe.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        On the device and in the dtype it is to run in.
    tokenizer : transformers.PreTrainedTokenizerBase
    aggregation : {"last", "min", "prod", "mean", "whole-prefix"}, optional
        The score of a prefix: that of its last step, an aggregate of the scores of all its steps, or the score when all of
        it is read as one step. Default: ``default_aggregation`` of the family.

    Attributes
    ----------
    family : str
        Name of the family, for ``load_reward_model``.
    auto_class : type
        The class of transformers that loads the model.
    scores_prefixes : bool
        Whether a score speaks of all steps so far and not of the last one alone: by the family, by the aggregation, or
        because the checkpoint's ``config.json`` has ``"scores_prefixes": true``. A program without a likelihood of its own
        takes ``TwistLikelihood`` for the one and ``BernoulliLikelihood`` for the other.
    likelihood_beta : float
        The power that such a program gives its likelihood: ``"likelihood_beta"`` of ``config.json``, where whoever publishes
        a checkpoint recommends what suits the scores of its default aggregation; else 1.
    incremental : bool
        Whether a cache is kept across steps; without one every step reads its whole text again.
    backbone : transformers.PreTrainedModel
        The model without its head.
    context_length : int
        Longest text in tokens, prompt included. An answer that outgrows it counts as truncated.
    micro_batch : MicroBatch
        ``micro_batch.num_rows`` is how many rows pass at once, None for all; it shrinks when memory runs out, and may be
        set.
    encode : callable of (text, special_tokens=False) to tuple of int
        The tokenizer with a memory.

    Raises
    ------
    ValueError
        If the aggregation is unknown.
    BackendError
        If the architecture is not supported, or the score differs from that of the model's own forward pass.
    ConstantScoreError
        If the model gives the same score to everything (as a checkpoint loaded by code that does not fit it may do).
    """

    family: ClassVar[str] = "custom"
    auto_class: ClassVar[Any] = None
    default_aggregation: ClassVar[str] = "last"
    reads_prefixes: ClassVar[bool] = False
    """Whether the score of this family is one of the whole prefix, whatever the aggregation."""

    def __init__(self, model: Any, tokenizer: Any, *, aggregation: str | None = None) -> None:
        self.aggregation = self.default_aggregation if aggregation is None else aggregation
        if self.aggregation not in AGGREGATIONS:
            raise ValueError(f"expected an aggregation among {', '.join(AGGREGATIONS)}, got {aggregation!r}")
        config, own = model.config, self.aggregation == self.default_aggregation
        self.scores_prefixes = (
            self.reads_prefixes or self.aggregation != "last" or bool(getattr(config, "scores_prefixes", False))
        )
        self.likelihood_beta = float(getattr(config, "likelihood_beta", 1.0)) if own else 1.0
        self.model = model.eval()
        self.backbone = model.base_model
        self.tokenizer = tokenizer
        self.micro_batch = MicroBatch()
        # Not methods: a circle would keep the model's memory until Python looks for circles.
        self.encode = lru_cache(maxsize=8192)(partial(_encode, tokenizer))
        self.incremental = self.keeps_cache()
        self.context_length = context_length(model.config)
        self.prepare()
        self._check_scores()
        scored = "prefixes" if self.scores_prefixes else "steps"
        _LOG.info("%s: %r, scores of %s", getattr(model, "name_or_path", "") or type(model).__name__, self, scored)

    @classmethod
    def from_pretrained(
        cls: type[Model],
        name_or_path: str | os.PathLike[str],
        *,
        device: str | torch.device | None = None,
        dtype: str | torch.dtype | None = None,
        **options: Any,
    ) -> Model:
        """Load a local folder or a model of the hub.

        Parameters
        ----------
        name_or_path : str or path
            Also a GGUF file.
        device : str or torch.device, optional
            Such as ``"cuda:1"``; default: the first GPU when torch sees one, else the CPU.
        dtype : str or torch.dtype, optional
            Such as ``"bfloat16"``; default: the checkpoint's own.
        **options
            Those that the constructor knows go there; the others are ``device_map``, ``gguf_file``, ``revision`` and
            ``trust_remote_code``, as ``TransformersLanguageModel.from_pretrained`` takes them.

        Raises
        ------
        TypeError
            If an option is unknown.
        ValueError
            If the device or the dtype is unknown, or the constructor raises it.
        BackendError, ConstantScoreError
            If nothing can be loaded from there, or the constructor raises it.
        """
        if cls.auto_class is None:
            raise BackendError(f"expected {cls.__name__} to name the class that loads it as auto_class, got none")
        settings = {name: options.pop(name) for name in sorted(_keywords(cls) & set(options))}
        return cls(*load_checkpoint(cls.auto_class, name_or_path, device=device, dtype=dtype, **options), **settings)

    @classmethod
    def recognises(cls, config: Mapping[str, Any], name: str) -> bool:
        """Whether a checkpoint with this ``config.json`` and this name belongs to the family; a family may never say so."""
        return False

    @abstractmethod
    def layout(self, problem: str, steps: Sequence[str]) -> list[int]:
        """Tokens of a problem and its steps so far, up to the one where the score of the last step is read.

        Without steps: what all answers to the problem begin with, to be read once in advance.
        """

    @abstractmethod
    def logit(self, hidden: Tensor) -> Tensor:
        """Float32 logits of the scores, shape (n,), from the float32 hidden states, shape (n, D), at the layouts' ends."""

    def prepare(self) -> None:  # noqa: B027 - nothing, unless a family says otherwise
        """Check model and tokenizer and set up what the layout needs; called before the first layout."""

    def keeps_cache(self) -> bool:
        """Whether a cache can be kept: only if no token changes what was computed for those before it."""
        return is_causal(self.backbone)

    def plain_logit(self, tokens: Tensor, mask: Tensor, ends: Tensor) -> Tensor:
        """Logits of the scores, shape (n,), from the backbone without a cache.

        Parameters
        ----------
        tokens, mask : Tensor, shape (n, q)
            Padded layouts, and 1 where they are real.
        ends : Tensor, shape (n,)
            Positions of their last tokens.
        """
        hidden = self.backbone(input_ids=tokens, attention_mask=mask, use_cache=False)[0]
        return self.logit(hidden[torch.arange(len(ends), device=hidden.device), ends.to(hidden.device)].float())

    def own_logit(self, tokens: Tensor) -> Tensor:
        """Logit, shape (1,), of one layout, shape (1, q), from the model's own forward pass, for the probe."""
        return self.plain_logit(tokens, torch.ones_like(tokens), torch.tensor([tokens.shape[1] - 1], device=tokens.device))

    def start(self, prompts: Sequence[str], num_particles: int) -> TransformersRewardSession:
        """Open a session of ``num_particles`` rows for each prompt.

        Raises
        ------
        TypeError
            If ``prompts`` is one string, or one of them is not a string.
        ValueError
            If there are none, or one is empty or longer than the model's context.
        """
        check_prompts(prompts)
        return TransformersRewardSession(self, prompts, num_particles, self.aggregation)

    @cached_property
    def fingerprint(self) -> str:
        """Class, weights, layout and settings of the model, for the record of a result."""
        settings = {name: getattr(self, name, None) for name in sorted(_keywords(type(self)))}
        return fingerprint(self.model, self.layout(_PROBE_PROBLEM, _PROBE_STEPS[0]), settings)

    def __repr__(self) -> str:
        how = "incremental" if self.incremental else "re-encoding"
        return f"{type(self).__name__}(family={self.family!r}, aggregation={self.aggregation!r}, {how})"

    def _check_scores(self) -> None:
        """Score a few steps: the scores must differ, and equal those of one plain pass over the whole."""
        session = TransformersRewardSession(self, [_PROBE_PROBLEM], len(_PROBE_STEPS), "last")
        first = session.score([steps[0] for steps in _PROBE_STEPS])
        second = session.score([steps[1] for steps in _PROBE_STEPS])
        if host.is_true((first.isnan() | second.isnan()).any()):
            raise BackendError(
                f"{type(self.model).__name__} in {self.model.dtype} gives scores that are not numbers; expected numbers for "
                "the steps of a probe. If it was loaded in float16, try bfloat16 or float32."
            )
        if host.is_true((first - first[0]).abs().max() <= 1e-6):
            score = float(torch.sigmoid(first[0]))
            raise ConstantScoreError(
                f"the reward model gives the score {score:.5f} to every step of a probe; expected scores that differ. "
                "Check that the checkpoint belongs to this architecture and to this version of transformers."
            )
        tokens = torch.tensor([self.layout(_PROBE_PROBLEM, _PROBE_STEPS[0])], device=self.model.device)
        with torch.no_grad():
            own = float(self.own_logit(tokens))
        got = float(second[0])
        if abs(got - own) > _TOLERANCE.get(self.model.dtype, 0.5) * max(1.0, abs(own)):
            raise BackendError(
                f"{type(self).__name__} reads the logit {got:.4f} where {type(self.model).__name__}'s own forward pass has "
                f"{own:.4f}: this family does not support the architecture"
            )


def _encode(tokenizer: Any, text: str, special_tokens: bool = False) -> tuple[int, ...]:
    """Tokens of a text; as ``encode`` it remembers the texts of late, so that a step is tokenised once."""
    return tuple(tokenizer(text, add_special_tokens=special_tokens)["input_ids"])


def is_causal(backbone: Any) -> bool:
    """Whether tokens leave alone what the model computes for those before them; tried out."""
    tokens = torch.arange(16).repeat(2, 1)
    tokens[1, 8:] = tokens[1, 8:].flip(0)
    tokens = tokens.to(backbone.device)
    with torch.no_grad():
        hidden = backbone(input_ids=tokens, attention_mask=torch.ones_like(tokens), use_cache=False)[0].float()
    difference = (hidden[0, :8] - hidden[1, :8]).abs().max()
    return host.is_true(difference <= 0.02 * hidden.abs().max())  # rounding differs from row to row


def _keywords(cls: type) -> set[str]:
    """Names of the keyword-only parameters of a class and those that it inherits."""
    constructors = [vars(one)["__init__"] for one in cls.__mro__ if "__init__" in vars(one)]
    parameters = [parameter for one in constructors for parameter in inspect.signature(one).parameters.values()]
    return {parameter.name for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY}
