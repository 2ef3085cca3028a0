"""What the options of the command line amount to: one that is given wins over the preset, and that over the default."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ppl_scaling.models import Likelihood

__all__ = ["calibrated", "digest", "language_model_settings", "state_space_settings", "unescaped"]

_DEFAULTS = {"temperature": 1.0, "top_p": None, "max_steps": 20, "max_step_tokens": 64, "max_tokens": None}
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\"}


def language_model_settings(
    preset: str | None, *, system_prompt: str | None, step_delimiter: str | None, stop_at_boxed: bool | None
) -> dict[str, Any]:
    """Keyword arguments of ``TransformersLanguageModel``; None stands for an option that was not given.

    Raises
    ------
    ValueError
        If there is no such preset, or the delimiter is empty.
    """
    from ppl_scaling.backends.presets import preset_named
    from ppl_scaling.backends.stop_patterns import Boxed
    from ppl_scaling.backends.stopping import Delimiter

    settings = {} if preset is None else preset_named(preset).for_language_model()
    if system_prompt is not None:
        settings["system_prompt"] = system_prompt
    if step_delimiter is not None:
        settings["boundary"] = Delimiter(unescaped(step_delimiter))
    if stop_at_boxed is not None:
        settings["stop"] = Boxed() if stop_at_boxed else None
    return settings


def state_space_settings(preset: str | None, **given: Any) -> dict[str, Any]:
    """Keyword arguments of ``LanguageModelStateSpace``; None stands for an option that was not given.

    Raises
    ------
    ValueError
        If there is no such preset.
    """
    from ppl_scaling.backends.presets import preset_named

    settings = _DEFAULTS | ({} if preset is None else preset_named(preset).for_state_space())
    return settings | {name: value for name, value in given.items() if value is not None}


def calibrated(likelihood: Likelihood, path: str | None, uncertainty: str) -> Likelihood:
    """Calibrate the scores of a likelihood by a file; without one it stays as it is.

    Raises
    ------
    ValueError
        If the file is no calibration, or there is no such uncertainty.
    """
    from ppl_scaling.models import CalibratedLikelihood, CalibrationPosterior

    if path is None:
        return likelihood
    return CalibratedLikelihood(likelihood, CalibrationPosterior.load(path), uncertainty)


def digest(path: str) -> str:
    """SHA-256 of a file, for the record of what a result depends on.

    Raises
    ------
    ValueError
        If it can't be read.
    """
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror or error}") from None


def unescaped(text: str) -> str:
    r"""Read ``\n``, ``\t``, ``\r`` and ``\\`` as in a Python string, for shells where a line feed is hard to type."""
    return re.sub(r"\\([ntr\\])", lambda match: _ESCAPES[match[1]], text)
