"""Loading a checkpoint with a clear account of what went wrong if it can't be."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer

from ppl_scaling.errors import BackendError

__all__ = ["load_checkpoint"]


def load_checkpoint(
    auto_class: Any, name_or_path: str | os.PathLike[str], *, device: str | None, dtype: str | None
) -> tuple[Any, Any]:
    """Load a model and its tokenizer from a local folder or the hub.

    Parameters
    ----------
    auto_class : type
        A transformers auto class.
    name_or_path : str or path
    device : str, optional
        Default: a GPU when torch sees one, else the CPU.
    dtype : str, optional
        Default: the checkpoint's own.

    Returns
    -------
    model, tokenizer

    Raises
    ------
    ValueError
        If the device or the dtype is unknown to torch.
    BackendError
        If the checkpoint is missing, broken, or lacks weights that ``auto_class`` needs.
    """
    target = _device(device)
    precision = "auto" if dtype is None else _dtype(dtype)
    name = os.fspath(name_or_path)
    _check_folder(name)
    try:
        tokenizer = AutoTokenizer.from_pretrained(name)
        model, info = auto_class.from_pretrained(name, dtype=precision, attn_implementation="sdpa", output_loading_info=True)
    except Exception as error:  # transformers raises nearly every type for a broken checkpoint
        raise BackendError(
            f"cannot load {name!r} as {auto_class.__name__}: {type(error).__name__}: {_one_line(error)}"
        ) from error
    missing = sorted(info["missing_keys"]) + sorted(str(keys) for keys in info.get("mismatched_keys", ()))
    if missing:
        raise BackendError(
            f"the checkpoint {name!r} has no weights for {', '.join(missing[:3])}"
            f"{' and others' if len(missing) > 3 else ''}, so as {auto_class.__name__} it would answer at random"
        )
    return model.to(target).eval(), tokenizer


def _device(device: str | None) -> torch.device:
    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        target = torch.device(device)
    except RuntimeError:
        raise ValueError(f"expected a device such as 'cpu' or 'cuda:0', got {device!r}") from None
    if target.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"expected a device that this machine has, got {device!r} where torch sees no GPU")
    return target


def _dtype(dtype: str) -> torch.dtype:
    precision = getattr(torch, dtype, None)
    if not isinstance(precision, torch.dtype) or not precision.is_floating_point:
        raise ValueError(f"expected a dtype such as 'float32', 'bfloat16' or 'float16', got {dtype!r}")
    return precision


def _check_folder(name: str) -> None:
    """Tell a folder that lacks its files from a name of the hub."""
    path = Path(name)
    if not path.exists():
        if name.startswith((".", "/", "~")) or name.count("/") > 1:
            raise BackendError(f"expected the folder of a checkpoint, got {name!r}, which does not exist")
        return
    if not path.is_dir():
        raise BackendError(f"expected the folder of a checkpoint, got the file {name!r}")
    if not (path / "config.json").exists():
        raise BackendError(f"expected the folder of a checkpoint, got {name!r}, which has no config.json")


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= 300 else text[:300] + "..."
