"""Where the time goes: exclusive seconds of named parts, measured by wrapping what objects already have."""

import functools
import time
from contextlib import contextmanager

import torch


class Stopwatch:
    """Adds up the seconds of each part; time inside an inner part is not counted for the outer one."""

    def __init__(self):
        self.seconds = {}
        self._stack = []

    def wrap(self, owner, method, part):
        """Count calls of ``owner.method`` as ``part``; transformers reads signatures, so they are kept."""
        original = getattr(owner, method)

        @functools.wraps(original)
        def timed(*args, **kwargs):
            started = time.perf_counter()
            self._stack.append(0.0)
            try:
                return original(*args, **kwargs)
            finally:
                took = time.perf_counter() - started
                self.seconds[part] = self.seconds.get(part, 0.0) + took - self._stack.pop()
                if self._stack:
                    self._stack[-1] += took

        setattr(owner, method, timed)

    @contextmanager
    def models(self, model, classifier):
        """Count the forward passes of a language model and of a classifier."""
        for owner, part in ((model, "LM forward"), (classifier, "PRM forward")):
            self.wrap(owner, "forward", part)
            self.wrap(owner.base_model, "forward", part)
        self.wrap(model.get_output_embeddings(), "forward", "LM forward")
        try:
            yield
        finally:
            for owner in (model, model.base_model, model.get_output_embeddings(), classifier, classifier.base_model):
                del owner.forward

    @contextmanager
    def sessions(self, language_model, reward_model):
        """Count what the sessions of our two models do beside the forward passes."""

        def opening(model, parts):
            original = model.start

            def start(*args, **kwargs):
                session = original(*args, **kwargs)
                for method, part in parts.items():
                    self.wrap(session, method, part)
                return session

            model.start = start
            self.wrap(model, "start", "prompt")

        opening(language_model, LANGUAGE_PARTS)
        opening(reward_model, REWARD_PARTS)
        try:
            yield
        finally:
            del language_model.start, reward_model.start


# What a method does beside the forward pass inside it. Caches grow where tokens are appended.
LANGUAGE_PARTS = {
    "select": "resampling of the caches",
    "sample": "sampling, growth of the cache",
    "log_prob": "sampling, growth of the cache",
    "accept": "ends of the steps",
    "decode": "texts",
}
REWARD_PARTS = {
    "select": "resampling of the caches",
    "fits": "texts",
    "score": "growth of the PRM's cache",
}


def timed(work, device):
    """Seconds that ``work()`` takes, and what it returns."""
    _synchronize(device)
    started = time.perf_counter()
    outcome = work()
    _synchronize(device)
    return time.perf_counter() - started, outcome


def alternate(sides, *, repeats, budget):
    """Measure the sides in turn; all seconds of each.

    There are ``repeats`` rounds, but none begins later than ``budget`` seconds after the first, and short measurements get
    more of them, up to five times as many, until they have lasted five seconds together.

    ``sides`` maps a name to a function of the round that returns seconds.
    """
    seconds = {name: [] for name in sides}
    started = time.perf_counter()
    for round_ in range(5 * repeats):
        for name, measure in sides.items():
            seconds[name].append(measure(round_))
        elapsed = time.perf_counter() - started
        if elapsed > budget or (round_ + 1 >= repeats and elapsed > 5):
            break
    return seconds


def _synchronize(device):
    if device.type == "cuda":
        torch.cuda.synchronize(device)
