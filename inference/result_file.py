"""Results as files: one JSON file each, from which exactly the same result is read again.

Floats are exact, with NaN and the infinities; arrays keep their dtype and shape, tuples and lists stay what they are.
Nothing is pickled and reading imports nothing: a file can only name dataclasses and errors of modules that are loaded
already. So import the module that defines your own kind of result before you read one.

The file names its format, its version and a check sum of its content. What a plain JSON value cannot say is an object with
the key ``$``.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import importlib
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ppl_scaling.drafts import draft_of
from ppl_scaling.errors import PPLScalingError
from ppl_scaling.inference.results import Result

__all__ = ["FORMAT", "VERSION", "load_result", "save_result"]

FORMAT = "ppl-scaling result"
VERSION = 1

_KIND = "$"


def save_result(result: Result, path: str | os.PathLike[str]) -> Path:
    """Write a result; see :meth:`ppl_scaling.inference.results.Result.save`."""
    if not isinstance(result, Result):
        raise TypeError(f"expected a Result to save, got {type(result).__name__}")
    content = _encode(result, type(result).__name__)
    record = {"format": FORMAT, "version": VERSION, "sha256": _check_sum(content), "result": content}
    with draft_of(path, "a result") as draft, draft.open("w", encoding="ascii") as file:
        json.dump(record, file, allow_nan=False)
        file.write("\n")
    return Path(path)


def load_result(path: str | os.PathLike[str]) -> Any:
    """Read a result, the same in all its fields as the one that was saved.

    Parameters
    ----------
    path : str or path

    Returns
    -------
    Result
        Of the class that was saved.

    Raises
    ------
    ValueError
        If there is no such file, it holds no result, its version is not known here, it was damaged or changed, or it holds
        a class that is not there.
    """
    try:
        record = json.loads(Path(path).read_bytes())
    except OSError as error:
        raise ValueError(f"expected a file with a result, cannot read {path}: {error.strerror or error}") from None
    except ValueError as error:
        raise ValueError(f"expected a file with a whole result, {path} is no JSON or was cut: {error}") from None
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise ValueError(f"expected a file with a result, {path} does not say that it is a {FORMAT!r}")
    if record.get("version") != VERSION:
        raise ValueError(
            f"expected a result of version {VERSION}, {path} has version {record.get('version')!r}: "
            "read it with the version of ppl-scaling that wrote it"
        )
    content = record.get("result")
    if record.get("sha256") != _check_sum(content):
        raise ValueError(f"expected the result that was saved, the content of {path} was damaged or changed")
    try:
        result = _decode(content)
    except (LookupError, TypeError, AttributeError) as error:
        raise ValueError(f"expected a result of this version of the library, {path} does not fit: {error}") from None
    if not isinstance(result, Result):
        raise ValueError(f"expected a file with a result, {path} has a {type(result).__name__}")
    return result


def _check_sum(content: Any) -> str:
    return hashlib.sha256(json.dumps(content).encode("ascii")).hexdigest()


def _encode(value: Any, where: str) -> Any:
    """Turn a value into what JSON can say; ``where`` it stands goes into the error if that can't be done."""
    # Exact types: a subclass would come back as its base.
    if value is None or type(value) in (bool, int, str):
        return value
    if type(value) is float:
        return value if np.isfinite(value) else {_KIND: "float", "value": repr(value)}
    if type(value) is tuple:
        return [_encode(one, f"{where}[{place}]") for place, one in enumerate(value)]
    if type(value) is list:
        return {_KIND: "list", "items": [_encode(one, f"{where}[{place}]") for place, one in enumerate(value)]}
    if isinstance(value, np.ndarray | np.generic):
        return _encode_array(value, where)
    if isinstance(value, Mapping):
        items = [[_encode(key, f"a key of {where}"), _encode(one, f"{where}[{key!r}]")] for key, one in value.items()]
        if all(type(key) is str and key != _KIND for key in value):
            return {str(key): one for key, one in items}
        return {_KIND: "mapping", "items": items}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {
            one.name: _encode(getattr(value, one.name), f"{where}.{one.name}")
            for one in dataclasses.fields(value)
            if one.init
        }
        return {_KIND: "dataclass", "type": _name(type(value)), "fields": fields}
    if hasattr(value, "saved_arguments"):
        return {_KIND: "made", "type": _name(type(value)), "fields": _encode(value.saved_arguments(), where)}
    if isinstance(value, PPLScalingError):
        return {
            _KIND: "error",
            "type": _name(type(value)),
            "args": _encode(value.args, f"{where}.args"),
            "fields": _encode(vars(value), where),
        }
    raise TypeError(
        f"expected {where} to be made of numbers, texts, arrays, tuples, lists, mappings and dataclasses, "
        f"so that it can be saved, got a {type(value).__name__}"
    )


def _encode_array(array: NDArray[Any] | np.generic, where: str) -> dict[str, Any]:
    dtype = array.dtype
    if dtype.kind not in "biufU" or (dtype.kind == "f" and dtype.itemsize > 8):
        raise TypeError(f"expected {where} to be an array of bool, int, float or text, so that it can be saved, got {dtype}")
    flat = array.reshape(-1).tolist()
    if dtype.kind == "f":
        flat = [one if np.isfinite(one) else repr(one) for one in flat]
    kind = "array" if isinstance(array, np.ndarray) else "scalar"
    return {_KIND: kind, "dtype": dtype.str, "shape": list(array.shape), "values": flat}


def _decode(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_decode(one) for one in value)
    if not isinstance(value, dict):
        return value
    kind = value.get(_KIND)
    if kind is None:
        return {key: _decode(one) for key, one in value.items()}
    if kind == "float":
        return float(value["value"])
    if kind == "list":
        return [_decode(one) for one in value["items"]]
    if kind == "mapping":
        return {_decode(key): _decode(one) for key, one in value["items"]}
    if kind in ("array", "scalar"):
        dtype = np.dtype(value["dtype"])
        flat = [float(one) for one in value["values"]] if dtype.kind == "f" else value["values"]
        array = np.array(flat, dtype=dtype).reshape(value["shape"])
        return array if kind == "array" else array[()]
    if kind == "dataclass":
        made = _class(value["type"])
        return made(**{name: _decode(one) for name, one in value["fields"].items()})
    if kind == "made":
        return _class(value["type"])(**_decode(value["fields"]))
    if kind == "error":
        error = _class(value["type"])
        again = error.__new__(error)
        again.args = _decode(value["args"])
        vars(again).update(_decode(value["fields"]))
        return again
    raise LookupError(f"nothing is known of a value of the kind {kind!r}")


def _name(kind: type) -> str:
    return f"{kind.__module__}:{kind.__qualname__}"


def _class(name: str) -> Any:
    """Find a dataclass, an error or a class with ``saved_arguments`` by its module and name; only our own is imported."""
    module, _, qualified = name.partition(":")
    found: Any = sys.modules.get(module)
    if found is None and module.startswith("ppl_scaling."):
        with contextlib.suppress(ModuleNotFoundError):
            found = importlib.import_module(module)
    if found is None:
        raise LookupError(f"{qualified} is of the module {module}, which is not loaded; import it first")
    for part in qualified.split("."):
        found = getattr(found, part)
    fits = isinstance(found, type) and (
        dataclasses.is_dataclass(found) or issubclass(found, PPLScalingError) or hasattr(found, "saved_arguments")
    )
    if fits:
        return found
    raise LookupError(f"{name} is neither a dataclass nor an error nor another part of a result")
