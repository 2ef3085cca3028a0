"""A short name for a model with its weights and settings, so that a record can say which ones it was made with."""

from __future__ import annotations

import hashlib
import re
from typing import Any

import torch

__all__ = ["fingerprint"]

_VALUES = 4  # of each parameter


def fingerprint(model: Any, *settings: Any) -> str:
    """Return the class of a model and eight digits that depend on its weights and on the ``repr`` of ``settings``.

    The first values of every parameter are read, rounded to bfloat16: so it does not matter where the model lies or whether
    it was loaded in 32 or 16 bits, and training that changes any layer shows. A function among the settings counts by its
    name alone: where it lies in memory changes from run to run.
    """
    told = hashlib.sha256(re.sub(" at 0x[0-9a-fA-F]+", "", repr(settings)).encode())
    for name, parameter in model.named_parameters():
        told.update(f"{name}{tuple(parameter.shape)}".encode())
        if not parameter.is_meta:
            values = parameter.detach().flatten()[:_VALUES].to("cpu", torch.bfloat16)
            told.update(values.view(torch.uint8).numpy().tobytes())
    return f"{type(model).__name__}-{told.hexdigest()[:8]}"
