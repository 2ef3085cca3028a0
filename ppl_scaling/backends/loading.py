"""Loading a checkpoint with a clear account of what went wrong if it can't be."""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoTokenizer, PreTrainedConfig

from ppl_scaling.backends.hub import find_on_hub
from ppl_scaling.errors import BackendError

__all__ = ["load_checkpoint", "read_config"]

_DEVICE_MAPS = ("auto", "balanced", "balanced_low_0", "sequential")


def load_checkpoint(
    auto_class: Any,
    name_or_path: str | os.PathLike[str],
    *,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    device_map: str | Mapping[str, int | str] | None = None,
    gguf_file: str | None = None,
    trust_remote_code: bool = False,
    revision: str | None = None,
) -> tuple[Any, Any]:
    """Load a model and its tokenizer from a local folder, a GGUF file or the hub.

    Parameters
    ----------
    auto_class : type
        A transformers auto class.
    name_or_path : str or path
        A folder, a file that ends in ``.gguf``, or a name of the hub.
    device : str or torch.device, optional
        Default: a GPU when torch sees one, else the CPU.
    dtype : str or torch.dtype, optional
        Such as ``"bfloat16"``; default: the checkpoint's own. Weights of a GGUF file are dequantized, to float32 by default.
    device_map : str or dict, optional
        Spreads a model that no single GPU can hold, in place of ``device``: ``"auto"`` or a map from modules to devices, as
        accelerate takes it. Needs the package accelerate.
    gguf_file : str, optional
        A GGUF file in the folder or the model of the hub. Needs the packages gguf and accelerate.
    trust_remote_code : bool, default False
        Whether Python code that comes with the checkpoint may run.
    revision : str, optional
        Branch, tag or commit of a model of the hub.

    Returns
    -------
    model, tokenizer

    Raises
    ------
    ValueError
        If the device, the dtype or the device map is unknown, or two arguments exclude each other.
    BackendError
        If the checkpoint is missing, gated, broken, lacks weights that ``auto_class`` needs or needs code of its own, a
        package that its format needs is not installed, or the device map leaves the input embeddings on disk.
    """
    name, gguf_file = _split_gguf(os.fspath(name_or_path), gguf_file)
    if device_map is not None:
        _check_device_map(device_map, device)
    target = _device(device) if device_map is None else None
    precision = "auto" if dtype is None else _dtype(dtype)
    arguments: dict[str, Any] = {"trust_remote_code": trust_remote_code}
    if gguf_file is not None:
        _require("a GGUF file", "gguf", "accelerate")
        arguments["gguf_file"] = gguf_file
    if revision is not None:
        arguments["revision"] = revision
    arguments |= _place(name, gguf_file, revision)
    shown = name if gguf_file is None else os.path.join(name, gguf_file)
    try:
        tokenizer = AutoTokenizer.from_pretrained(name, **arguments)
        if gguf_file is not None and hasattr(transformers, "GgufConfig"):  # newer versions may keep the weights packed
            arguments["quantization_config"] = transformers.GgufConfig(dequantize=True)
        model, info = _load_model(auto_class, name, dtype=precision, device_map=device_map, **arguments)
    except Exception as error:  # transformers raises nearly every type for a broken checkpoint
        if "trust_remote_code" in str(error) and not trust_remote_code:
            raise BackendError(
                f"the checkpoint {shown!r} needs Python code of its own; read that code, and if you trust it, load the "
                "checkpoint with trust_remote_code=True"
            ) from error
        raise BackendError(
            f"cannot load {shown!r} as {auto_class.__name__}: {type(error).__name__}: {_one_line(error)}"
        ) from error
    missing = sorted(info["missing_keys"]) + sorted(str(keys) for keys in info.get("mismatched_keys", ()))
    if missing:
        raise BackendError(
            f"the checkpoint {shown!r} has no weights for {', '.join(missing[:3])}"
            f"{' and others' if len(missing) > 3 else ''}, so as {auto_class.__name__} it would answer at random"
        )
    if target is not None:
        model = model.to(target)
    elif model.device.type == "meta":
        raise BackendError("expected a device_map that keeps the input embeddings on a device, got one with them on disk")
    return model.eval(), tokenizer


def read_config(
    name_or_path: str | os.PathLike[str], *, gguf_file: str | None = None, revision: str | None = None
) -> dict[str, Any]:
    """Read what a checkpoint's ``config.json`` says; no code of its own is run.

    Raises
    ------
    BackendError
        If there is no such checkpoint, or its configuration is broken.
    """
    name, gguf_file = _split_gguf(os.fspath(name_or_path), gguf_file)
    arguments = {"gguf_file": gguf_file, "revision": revision} | _place(name, gguf_file, revision)
    try:
        config: dict[str, Any] = PreTrainedConfig.get_config_dict(name, **arguments)[0]
    except Exception as error:  # as above
        raise BackendError(
            f"cannot read the configuration of {name!r}: {type(error).__name__}: {_one_line(error)}"
        ) from error
    return config


def _place(name: str, gguf_file: str | None, revision: str | None) -> dict[str, Any]:
    """Arguments that keep the loaders from the network where it has nothing to give."""
    if _is_folder(name, gguf_file):
        return {}
    return {"local_files_only": not find_on_hub(name, gguf_file or "config.json", revision)}


def _load_model(auto_class: Any, name: str, **arguments: Any) -> tuple[Any, dict[str, Any]]:
    """Load with PyTorch's attention kernel; architectures that have none of their own for it take the plain one."""
    try:
        return auto_class.from_pretrained(name, attn_implementation="sdpa", output_loading_info=True, **arguments)
    except ValueError as error:
        if "scaled_dot_product_attention" not in str(error):
            raise
    return auto_class.from_pretrained(name, attn_implementation="eager", output_loading_info=True, **arguments)


def _split_gguf(name: str, gguf_file: str | None) -> tuple[str, str | None]:
    """Folder or hub name, and the GGUF file in it if there is one."""
    if not name.endswith(".gguf") or Path(name).is_dir():
        return name, gguf_file
    if gguf_file is not None:
        raise ValueError(f"expected either the path of a GGUF file or gguf_file, got {name!r} and gguf_file={gguf_file!r}")
    if not Path(name).is_file():
        raise BackendError(f"expected a GGUF file, got {name!r}, which does not exist")
    return os.path.dirname(name) or ".", os.path.basename(name)


def _check_device_map(device_map: Any, device: Any) -> None:
    if device is not None:
        raise ValueError(f"expected device or device_map, got both: {device!r} and {device_map!r}")
    if not isinstance(device_map, Mapping) and device_map not in _DEVICE_MAPS:
        raise ValueError(
            f"expected a device_map among {', '.join(_DEVICE_MAPS)} or a dict from modules to devices, got {device_map!r}; "
            "a single device goes to device"
        )
    _require("a device_map", "accelerate")


def _require(what: str, *packages: str) -> None:
    for package in packages:
        try:
            importlib.import_module(package)
        except ImportError:
            raise BackendError(f"{what} needs the package {package}: pip install {' '.join(packages)}") from None


def _device(device: str | torch.device | None) -> torch.device:
    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        target = torch.device(device)
    except RuntimeError:
        raise ValueError(f"expected a device such as 'cpu' or 'cuda:0', got {device!r}") from None
    if target.type == "cuda" and (target.index or 0) >= torch.cuda.device_count():
        seen = torch.cuda.device_count()
        raise ValueError(f"expected a device that this machine has, got {str(device)!r} where torch sees {seen} GPUs")
    return target


def _dtype(dtype: str | torch.dtype) -> torch.dtype:
    precision = getattr(torch, dtype, None) if isinstance(dtype, str) else dtype
    if not isinstance(precision, torch.dtype) or not precision.is_floating_point:
        raise ValueError(f"expected a dtype such as 'float32', 'bfloat16' or 'float16', got {dtype!r}")
    return precision


def _is_folder(name: str, gguf_file: str | None) -> bool:
    """Tell the folder of a checkpoint from a name of the hub, and a folder that lacks its files from both."""
    path = Path(name)
    if not path.exists():
        if name.startswith((".", "/", "~")) or name.count("/") > 1:
            raise BackendError(f"expected the folder of a checkpoint, got {name!r}, which does not exist")
        return False
    if not path.is_dir():
        raise BackendError(f"expected the folder of a checkpoint or a file that ends in .gguf, got the file {name!r}")
    needed = gguf_file or "config.json"
    if not (path / needed).exists():
        found = sorted(file.name for file in path.glob("*.gguf"))
        hint = f"; for its GGUF file give {os.path.join(name, found[0])!r}" if found and gguf_file is None else ""
        raise BackendError(f"expected the folder of a checkpoint, got {name!r}, which has no {needed}{hint}")
    return True


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= 300 else text[:300] + "..."
