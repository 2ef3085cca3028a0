"""The embedded language model and process reward model, and the recipe that trains them.

Both are plain transformers checkpoints. They solve and judge the word problems of ``ppl_scaling.tasks.arithmetic``.
"""

from __future__ import annotations

from pathlib import Path

__all__ = ["LANGUAGE_MODEL_PATH", "REWARD_MODEL_PATH"]

LANGUAGE_MODEL_PATH = Path(__file__).resolve().parent / "language_model"
"""Folder of the embedded causal language model, for ``AutoModelForCausalLM.from_pretrained``."""

REWARD_MODEL_PATH = Path(__file__).resolve().parent / "reward_model"
"""Folder of the embedded process reward model, for ``AutoModelForTokenClassification.from_pretrained``."""
