"""Causal language models of transformers as the transition of a state-space model.

This is the one file that imports transformers' causal language models. What is loaded here serves any number of sessions
(:mod:`.language_session`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from ppl_scaling.backends.cache_check import check_cached_forward
from ppl_scaling.backends.fingerprint import fingerprint
from ppl_scaling.backends.kv_cache import MicroBatch, context_length
from ppl_scaling.backends.language_session import TransformersSession
from ppl_scaling.backends.loading import load_checkpoint
from ppl_scaling.backends.prompts import check_prompts, render_prompt
from ppl_scaling.backends.stop_patterns import StopPattern, as_stop
from ppl_scaling.backends.stopping import Delimiter, StepBoundary, as_boundary
from ppl_scaling.backends.vocabulary import Vocabulary
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
        Where a reasoning step ends: a boundary, the text of a delimiter, a number of tokens, or a function of the step's
        text.
    stop : StopPattern, str or callable, optional
        Which texts are complete answers, although the model would go on: a stop pattern, a text that such an answer
        contains, or a function of the answer's text. It is asked at the end of every step.
    system_prompt : str, optional
        Goes in front of the problem in the chat template, or stands before the problem where there is no template.
    micro_batch : int, optional
        Largest number of rows, of all problems together, that pass through the model at once; default: all. When memory
        runs out it is halved, and the run goes on.

    Attributes
    ----------
    context_length : int
        Longest text in tokens, prompt included.
    end_tokens : frozenset of int
        Tokens that end a text.
    micro_batch : MicroBatch
        ``micro_batch.num_rows`` is how many rows pass at once, None for all; what a run has halved stays so.

    Raises
    ------
    TypeError
        If ``boundary`` or ``stop`` is none of what is listed above.
    ValueError
        If a delimiter or stop text is empty, or a number is below 1.
    BackendError
        If the architecture is not supported, or nothing tells which token ends a text.

    Examples
    --------
    >>> from ppl_scaling.models.pretrained import LANGUAGE_MODEL_PATH
    >>> TransformersLanguageModel.from_pretrained(LANGUAGE_MODEL_PATH, device="cpu", stop=r"\boxed{")
    TransformersLanguageModel(LlamaForCausalLM, cpu, float32, boundary=Delimiter('\n'), stop=StopText('\\boxed{'))
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
            Such as ``"cuda:1"``; default: the first GPU when torch sees one, else the CPU.
        dtype : str or torch.dtype, optional
            Such as ``"bfloat16"``; default: the checkpoint's own.
        device_map : str or dict, optional
            Spreads the model over several devices, in place of ``device``: ``"auto"``, or a map from modules to devices.
            Needs the package accelerate.
        gguf_file : str, optional
            A GGUF file in the folder or the model of the hub; a path that ends in ``.gguf`` may be given as it is. Needs
            the packages gguf and accelerate.
        trust_remote_code : bool, default False
            Whether Python code that comes with the checkpoint may run.
        revision : str, optional
            Branch, tag or commit of a model of the hub.
        **kwargs
            Passed on to the constructor.

        Raises
        ------
        TypeError, ValueError
            If the device, the dtype or the device map is unknown, two arguments exclude each other, or the constructor
            raises it.
        BackendError
            If nothing can be loaded from there; the message says what was looked for and what went wrong. Or if the
            constructor raises it.
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

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """Text of every token, read from the tokenizer once."""
        size = self.model.config.get_text_config().vocab_size
        return Vocabulary.from_tokenizer(self.tokenizer, size, self.model.device)

    def start(
        self, prompts: Sequence[str], num_particles: int, *, max_step_tokens: int, max_tokens: int | None
    ) -> TransformersSession:
        """Open a session of ``num_particles`` rows for each prompt.

        Parameters
        ----------
        prompts : sequence of str
            Problems, without template and system prompt.
        num_particles : int
            Rows of each.
        max_step_tokens : int
            Longest step in tokens.
        max_tokens : int or None
            Longest answer in tokens; None for what the context holds.

        Raises
        ------
        TypeError
            If ``prompts`` is one string, or one of them is not a string.
        ValueError
            If there are none, one is empty, or one leaves no room for an answer in the model's context.
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

    @cached_property
    def fingerprint(self) -> str:
        """Class, weights, prompt format, ends and step boundary of the model, for the record of a result."""
        prompt = render_prompt(self.tokenizer, "?", self.system_prompt)
        return fingerprint(self.model, prompt, sorted(self.end_tokens), self.boundary, self.stop)

    def __repr__(self) -> str:
        model, stop = self.model, "" if self.stop is None else f", stop={self.stop}"
        name = getattr(model, "name_or_path", "")
        what = type(model).__name__ if not name or os.path.isdir(name) else repr(name)
        dtype = str(model.dtype).removeprefix("torch.")
        return f"{type(self).__name__}({what}, {model.device}, {dtype}, boundary={self.boundary}{stop})"


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
