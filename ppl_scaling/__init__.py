"""Inference-time scaling of language models as probabilistic inference in Pyro.

LLM generation is a state-space model whose emission is a process reward model; every method is inference in that model.

- :mod:`ppl_scaling.models`: the probabilistic programs;
- :mod:`ppl_scaling.inference`: the algorithms and their results;
- :mod:`ppl_scaling.backends`: finite tables and transformers checkpoints;
- :mod:`ppl_scaling.tasks`: problems and answers.

The package itself imports nothing heavy. Import from the parts:

>>> from ppl_scaling.models import LanguageModelStateSpace
>>> from ppl_scaling.inference import ParticleFilter
"""

from importlib.metadata import version

__all__ = ["__version__"]

__version__ = version("ppl-scaling")
