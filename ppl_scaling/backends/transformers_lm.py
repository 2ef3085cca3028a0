"""Causal language models of transformers as the transition of a state-space model.

This is the one file that imports transformers' causal language models. What is loaded here serves any number of sessions
(:mod:`.language_session`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from ppl_scaling.backends.cache_check import check_cached_forward
from ppl_scaling.backends.kv_cache import MicroBatch, context_length
from ppl_scaling.backends.language_session import TransformersSession
from ppl_scaling.backends.loading import load_checkpoint
from ppl_scaling.backends.prompts import check_prompts, render_prompt
from ppl_scaling.backends.stop_patterns import StopPattern, as_stop
from ppl_scaling.backends.stopping import Delimiter, StepBoundary, Vocabulary, as_boundary
from ppl_scaling.errors import BackendError

__all__ = ["TransformersLanguageModel"]


class TransformersLanguageModel:
    r"""A causal language model and its tokenizer.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        A causal language model, on the device and in the dtype it is to run in.
    tokenizer : transformers.PreTrainedTokenizerBase
    boundary : StepBoundary, str, int or callable, default ``Delimiter("\n")``
        Where a reasoning step ends; as :func:`~ppl_scaling.backends.stopping.as_boundary` takes it.
    stop : StopPattern, str or callable, optional
        Which texts are complete answers, although the model would go on. It is asked at the end of every step.
    system_prompt : str, optional
        Goes in front of the problem in the chat template.
    micro_batch : int, optional
        Largest number of particles that pass through the model at once; default: all. When memory runs out it is halved,
        and the run goes on.

    Raises
    ------
    BackendError
        If the architecture is not supported, or nothing tells which token ends a text.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        boundary: StepBoundary | str | int | Callable[[str], bool] | None = None,
        stop: StopPattern | str | Callable[[str], bool] | None = None,
        system_prompt: str | None = None,
        micro_batch: int | None = None,
    ) -> None:
        self.model = model.eval()
        self.tokenizer = tokenizer
        self.boundary = Delimiter() if boundary is None else as_boundary(boundary)
        self.stop = as_stop(stop)
        self.system_prompt = system_prompt
        self.micro_batch = MicroBatch(micro_batch)
        self.context_length = context_length(model.config)
        check_cached_forward(model)
        self.end_tokens = end_tokens(model, tokenizer)
        self._vocabulary: Vocabulary | None = None

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str | os.PathLike[str],
        *,
        device: str | torch.device | None = None,
        dtype: str | torch.dtype | None = None,
        device_map: str | Mapping[str, int | str] | None = None,
        gguf_file: str | None = None,
        trust_remote_code: bool = False,
        revision: str | None = None,
        **kwargs: Any,
    ) -> TransformersLanguageModel:
        """Load a local folder, a GGUF file or a model of the hub.

        Parameters
        ----------
        name_or_path : str or path
        device : str or torch.device, optional
            Default: a GPU when torch sees one, else the CPU.
        dtype : str or torch.dtype, optional
            Such as ``"bfloat16"``; default: the checkpoint's own.
        device_map : str or dict, optional
            Spreads the model over several devices, in place of ``device``.
        gguf_file : str, optional
            A GGUF file in the folder or the model of the hub; a path that ends in ``.gguf`` may be given as it is.
        trust_remote_code : bool, default False
            Whether Python code that comes with the checkpoint may run.
        revision : str, optional
            Branch, tag or commit of a model of the hub.
        **kwargs
            Passed on to the constructor.

        Raises
        ------
        BackendError
            If nothing can be loaded from there; the message says what was looked for and what went wrong.
        """
        model, tokenizer = load_checkpoint(
            AutoModelForCausalLM,
            name_or_path,
            device=device,
            dtype=dtype,
            device_map=device_map,
            gguf_file=gguf_file,
            trust_remote_code=trust_remote_code,
            revision=revision,
        )
        return cls(model, tokenizer, **kwargs)

    @property
    def vocabulary(self) -> Vocabulary:
        """Text of every token, read from the tokenizer once."""
        if self._vocabulary is None:
            size = self.model.config.get_text_config().vocab_size
            self._vocabulary = Vocabulary.from_tokenizer(self.tokenizer, size, self.model.device)
        return self._vocabulary

    def start(
        self, prompts: Sequence[str], num_particles: int, *, max_step_tokens: int, max_tokens: int | None
    ) -> TransformersSession:
        """Open a session of ``num_particles`` rows for each prompt.

        Raises
        ------
        ValueError
            If a prompt is empty, or leaves no room for an answer in the model's context.
        """
        check_prompts(prompts)
        encoded = {prompt: render_prompt(self.tokenizer, prompt, self.system_prompt) for prompt in prompts}
        for tokens in encoded.values():
            if len(tokens) >= self.context_length:
                raise ValueError(
                    f"expected a prompt shorter than the model's context of {self.context_length} tokens, "
                    f"got one of {len(tokens)} tokens"
                )
        return TransformersSession(self, prompts, encoded, num_particles, max_step_tokens, max_tokens)


def end_tokens(model: Any, tokenizer: Any) -> frozenset[int]:
    """Tokens that end a text, by the generation configuration or else the tokenizer.

    Raises
    ------
    BackendError
        If neither names one.
    """
    configured = getattr(model.generation_config, "eos_token_id", None)
    if configured is None:
        configured = tokenizer.eos_token_id
    if configured is None:
        raise BackendError("expected the model or its tokenizer to name an end-of-text token, got none")
    return frozenset([configured] if isinstance(configured, int) else configured)
