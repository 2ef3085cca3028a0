"""A short name for the weights of a model, so that a record can say which ones it was made with."""

from __future__ import annotations

import hashlib
from typing import Any

import torch

__all__ = ["fingerprint"]

_VALUES = 4  # of each parameter


def fingerprint(model: Any) -> str:
    """Return the class of a model and eight digits that depend on its weights.

    The first values of every parameter are read, rounded to bfloat16: so it does not matter where the model lies or whether
    it was loaded in 32 or 16 bits, and training that changes any layer shows.
    """
    told = hashlib.sha256()
    for name, parameter in model.named_parameters():
        told.update(f"{name}{tuple(parameter.shape)}".encode())
        if not parameter.is_meta:
            values = parameter.detach().flatten()[:_VALUES].to("cpu", torch.bfloat16)
            told.update(values.view(torch.uint8).numpy().tobytes())
    return f"{type(model).__name__}-{told.hexdigest()[:8]}"
