"""Tells from a checkpoint's configuration which family it belongs to, and loads it."""

from __future__ import annotations

import os
from typing import Any

import torch

from ppl_scaling.backends.loading import read_config
from ppl_scaling.backends.reward_models.base import TransformersRewardModel
from ppl_scaling.backends.reward_models.judge import JudgeRewardModel
from ppl_scaling.backends.reward_models.math_shepherd import MathShepherdRewardModel
from ppl_scaling.backends.reward_models.qwen_math import QwenMathRewardModel
from ppl_scaling.backends.reward_models.rlhflow import RLHFlowRewardModel
from ppl_scaling.backends.reward_models.sequence_classification import SequenceClassificationRewardModel
from ppl_scaling.backends.reward_models.skywork import SkyworkRewardModel
from ppl_scaling.backends.reward_models.token_classification import TokenClassificationRewardModel
from ppl_scaling.errors import BackendError

__all__ = ["FAMILIES", "load_reward_model"]

FAMILIES: dict[str, type[TransformersRewardModel]] = {
    one.family: one
    for one in (
        TokenClassificationRewardModel,
        QwenMathRewardModel,
        MathShepherdRewardModel,
        RLHFlowRewardModel,
        SkyworkRewardModel,
        SequenceClassificationRewardModel,
        JudgeRewardModel,
    )
}
"""The families by name."""


def load_reward_model(
    name_or_path: str | os.PathLike[str],
    *,
    family: str | type[TransformersRewardModel] | None = None,
    aggregation: str | None = None,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    **options: Any,
) -> TransformersRewardModel:
    """Load a reward model of any family.

    What was chosen is in the ``repr`` of the result, and logged by the logger ``ppl_scaling``.

    Parameters
    ----------
    name_or_path : str or path
        A local folder, a GGUF file or a model of the hub.
    family : str or type, optional
        A name among ``FAMILIES`` or a class of your own. Default: what the configuration tells, and never a guess; a judge
        and most other causal language models have to be asked for.
    aggregation : {"last", "min", "prod", "mean", "whole-prefix"}, optional
        Default: the family's, ``"last"`` for scores of steps and ``"whole-prefix"`` for classifiers of texts and judges.
    device : str or torch.device, optional
        Such as ``"cuda:1"``; default: the first GPU when torch sees one, else the CPU.
    dtype : str or torch.dtype, optional
        Such as ``"bfloat16"``; default: the checkpoint's own. Scores are computed from float32 logits in any case.
    **options
        Settings of the family (such as ``prompt`` of a judge), and ``device_map``, ``gguf_file``, ``revision`` and
        ``trust_remote_code`` as ``TransformersLanguageModel.from_pretrained`` takes them.

    Returns
    -------
    TransformersRewardModel

    Raises
    ------
    TypeError
        If ``family`` is neither a name nor a class of reward models, or an option is unknown.
    ValueError
        If the family, the aggregation, the device or the dtype is unknown.
    BackendError
        If the configuration does not tell the family, or nothing can be loaded from there.
    ConstantScoreError
        If the model gives the same score to everything.
    """
    if family is None:
        chosen = _recognise(os.fspath(name_or_path), options.get("gguf_file"), options.get("revision"))
    elif isinstance(family, str):
        if family not in FAMILIES:
            raise ValueError(f"expected a family among {', '.join(FAMILIES)}, got {family!r}")
        chosen = FAMILIES[family]
    elif isinstance(family, type) and issubclass(family, TransformersRewardModel):
        chosen = family
    else:
        raise TypeError(f"expected the name of a family or a subclass of TransformersRewardModel, got {family!r}")
    return chosen.from_pretrained(name_or_path, device=device, dtype=dtype, aggregation=aggregation, **options)


def _recognise(name: str, gguf_file: str | None = None, revision: str | None = None) -> type[TransformersRewardModel]:
    config = read_config(name, gguf_file=gguf_file, revision=revision)
    known_as = f"{name} {config.get('_name_or_path') or ''}"
    fitting = [one for one in FAMILIES.values() if one.recognises(config, known_as)]
    if len(fitting) != 1:
        architectures = ", ".join(config.get("architectures") or ()) or "none"
        found = " and ".join(one.family for one in fitting) or "none"
        raise BackendError(
            f"expected a checkpoint that one family of reward models recognises, got {name!r} (architectures: "
            f"{architectures}), recognised by {found}. Name its family: {', '.join(FAMILIES)}"
        )
    return fitting[0]
