"""Random numbers of a run: reproducible from a seed, and invisible to the caller.

Pyro and torch draw from global generators. A run borrows them: it saves their state, seeds them, and puts the state back
when it ends, however it ends.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pyro
import torch

from ppl_scaling.arguments import check_integer

__all__ = ["fresh_seed", "seeded"]


def fresh_seed() -> int:
    """Draw a seed from torch's global generator (which it advances).

    A caller who has seeded torch or Pyro gets the same seeds again, and a result can always name the seed it came from.
    """
    return int(torch.randint(2**31 - 1, ()).item())


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Run a block with all global generators seeded, then restore them.

    Parameters
    ----------
    seed : int
        From 0 to 2**32 - 1.

    Raises
    ------
    ValueError
        If ``seed`` is not such an integer.
    """
    seed = check_integer("seed", seed, 0)
    if seed >= 2**32:
        raise ValueError(f"expected seed to be between 0 and 2**32 - 1, got {seed}")
    # Pyro seeds numpy's legacy generator, so that is the one to put back.
    python_state, numpy_state = random.getstate(), np.random.get_state()  # noqa: NPY002
    on_gpu = torch.cuda.is_initialized()
    devices = list(range(torch.cuda.device_count())) if on_gpu else []
    try:
        with torch.random.fork_rng(devices=devices):
            pyro.set_rng_seed(seed)
            yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)  # noqa: NPY002
        if not on_gpu:
            # A GPU that is first used in the block, or later, would go on from the run's seed and not from the caller's.
            torch.cuda.manual_seed_all(torch.initial_seed())
