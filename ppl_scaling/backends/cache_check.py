"""Whether a model can be served by the cache: it must answer as it does without one."""

from __future__ import annotations

from typing import Any

import torch

from ppl_scaling import host
from ppl_scaling.backends.kv_cache import CachedForward
from ppl_scaling.errors import BackendError, MemoryExhaustedError

__all__ = ["check_cached_forward"]


def check_cached_forward(model: Any) -> None:
    """Compare two ragged rows, cached and moved, with plain forward passes; architectures differ in what they make of it.

    Raises
    ------
    BackendError
        If the model does not take our cache and masks, or answers differently with them or with NaN.
    """
    first, second = torch.arange(1, 5, device=model.device), torch.arange(2, 4, device=model.device)
    cached = CachedForward(model, 2)
    lengths = torch.tensor([4, 2], device=model.device)
    try:
        cached.forward(torch.stack([first, torch.cat([second, second])]), lengths)
        cached.select(torch.tensor([1, 0], device=model.device))
        rows = cached.first(2)
        found = cached.forward(first[rows][:, None], torch.ones_like(lengths))[:, -1].float()
        with torch.no_grad():
            plain = [
                model(input_ids=torch.cat(parts)[None])[0][0, -1] for parts in ((second, first[:1]), (first, first[1:2]))
            ]
    except MemoryExhaustedError:
        raise
    except Exception as error:  # whatever an architecture raises when it is handed a cache that it does not know
        name = type(model).__name__
        raise BackendError(f"expected a decoder that works with a cache of keys and values, got {name}: {error}") from error
    expected = torch.stack(plain).float()[rows]
    if host.is_true(found.isnan().any()):
        raise BackendError(
            f"{type(model).__name__} in {model.dtype} gives logits that are not numbers; expected numbers for a few tokens. "
            "If it was loaded in float16, try bfloat16 or float32."
        )
    if host.is_true((found - expected).norm() > 0.05 * expected.norm()):
        raise BackendError(
            f"{type(model).__name__} is not supported: with a cache whose rows have different lengths it answers differently"
        )
