"""The one file that imports ArviZ and xarray: from plain arrays to their data structures, to a file and back.

ArviZ has changed its data structure: ``InferenceData`` up to 0.2x, xarray's ``DataTree`` from 1.0 on. What this file makes
is of the kind that the installed ArviZ reads, and a file written under one is read under the other. It imports nothing else
of the library and no torch, so it is tested under both (CONTRIBUTING says how), and every part of the library may use it.
ArviZ takes a second to import, so that waits until something is asked of it.

ArviZ gives all draws the same weight. Who has weighted draws resamples them first, or takes the weights into account.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ppl_scaling.drafts import draft_of

__all__ = ["Variables", "arviz", "build", "from_draws", "is_new", "load", "save"]

Variables = Mapping[str, tuple[Sequence[str], ArrayLike]]
"""Dimensions and values of each variable of a group."""


def build(
    groups: Mapping[str, Variables],
    coords: Mapping[str, ArrayLike] | None = None,
    attrs: Mapping[str, str | int | float] | None = None,
) -> Any:
    """Put arrays together for ArviZ.

    Parameters
    ----------
    groups : mapping of str to (mapping of str to (dimensions, array))
        Such as ``{"posterior": {"mu": (("chain", "draw"), values)}}``. Empty groups are left out.
    coords : mapping of str to array, optional
        Labels of the dimensions; default: the numbers from 0.
    attrs : mapping of str to (str or number), optional
        Of the whole.

    Returns
    -------
    arviz.InferenceData or xarray.DataTree
        The first before ArviZ 1.0, the other from then on.

    Raises
    ------
    ValueError
        If dimensions and shapes disagree.
    """
    import xarray as xr

    labels = {name: np.asarray(values) for name, values in (coords or {}).items()}
    datasets: dict[str, Any] = {}
    sizes: dict[str, tuple[int, str]] = {name: (len(values), "its coordinate") for name, values in labels.items()}
    for group, variables in groups.items():
        data = {}
        for name, (dims, values) in variables.items():
            array = np.asarray(values)
            where = f"{group}.{name}"
            if array.ndim != len(dims):
                raise ValueError(f"expected {where} to have the dimensions {tuple(dims)}, got the shape {array.shape}")
            for dim, size in zip(dims, array.shape, strict=True):
                known, source = sizes.setdefault(dim, (size, where))
                if size != known:
                    raise ValueError(f"expected {where} to have length {known} along {dim!r} as {source} has, got {size}")
            data[name] = (tuple(dims), _storable(array))
        used = {dim: sizes[dim][0] for dims, _ in data.values() for dim in dims}
        if data:
            own = {dim: _storable(labels[dim]) if dim in labels else np.arange(size) for dim, size in used.items()}
            datasets[group] = xr.Dataset(data, coords=own, attrs={"creation_library": "ppl-scaling"})
    return _container(datasets, dict(attrs or {}))


def from_draws(
    draws: Mapping[str, ArrayLike],
    *,
    log_likelihood: Mapping[str, ArrayLike] | None = None,
    sample_stats: Mapping[str, ArrayLike] | None = None,
    observed_data: Mapping[str, ArrayLike] | None = None,
    constant_data: Mapping[str, ArrayLike] | None = None,
    attrs: Mapping[str, str | int | float] | None = None,
) -> Any:
    """Put the draws of a fit together for ArviZ, as a score model's or OptScale's.

    Parameters
    ----------
    draws : mapping of str to array, shape (chain, draw, ...)
        All with the same weight.
    log_likelihood : mapping of str to array, shape (chain, draw, observation), optional
        By the name of the observed variable.
    sample_stats : mapping of str to array, shape (chain, draw, ...), optional
    observed_data : mapping of str to array, shape (observation, ...), optional
    constant_data : mapping of str to array, optional
        Of any shape; numbers and texts.
    attrs : mapping of str to (str or number), optional

    Returns
    -------
    arviz.InferenceData or xarray.DataTree

    Raises
    ------
    ValueError
        If the numbers of chains, draws or observations disagree.
    """
    groups = {
        "posterior": _named(draws, ("chain", "draw")),
        "sample_stats": _named(sample_stats or {}, ("chain", "draw")),
        "log_likelihood": _named(log_likelihood or {}, ("chain", "draw", "observation")),
        "observed_data": _named(observed_data or {}, ("observation",)),
        "constant_data": _named(constant_data or {}, ()),
    }
    return build(groups, attrs=attrs)


def _named(variables: Mapping[str, ArrayLike], dims: tuple[str, ...]) -> Variables:
    """Name the dimensions of variables: those that all share, and the variable's own."""
    named = {}
    for name, values in variables.items():
        array = np.asarray(values)
        own = tuple(f"{name}_dim_{place}" for place in range(array.ndim - len(dims)))
        named[name] = (*dims, *own), array
    return named


def save(data: Any, path: str | os.PathLike[str]) -> Path:
    """Write an ``InferenceData`` or a ``DataTree`` as one NetCDF file (HDF5); a file that is there is replaced.

    Parameters
    ----------
    data : arviz.InferenceData or xarray.DataTree
    path : str or path

    Raises
    ------
    ValueError
        If the file can't be written.
    """
    import xarray as xr

    tree = data
    if not isinstance(data, xr.DataTree):
        tree = xr.DataTree.from_dict({"/": xr.Dataset(attrs=data.attrs), **{name: data[name] for name in data.groups()}})
    with draft_of(path, "draws") as draft:
        tree.to_netcdf(draft, engine="h5netcdf")
    return Path(path)


def load(path: str | os.PathLike[str]) -> Any:
    """Read what :func:`save` has written, whole: no file stays open.

    Raises
    ------
    ValueError
        If there is no such file, or it is no NetCDF file.
    """
    import xarray as xr

    try:
        with xr.open_datatree(path, engine="h5netcdf") as tree:
            datasets = {name: _loaded(node.to_dataset().load()) for name, node in tree.children.items()}
            attrs = dict(tree.attrs)
    except (OSError, ValueError) as error:
        raise ValueError(f"expected a NetCDF file with the groups of ArviZ, cannot read {path}: {error}") from None
    return _container(datasets, attrs)


@functools.cache
def arviz() -> ModuleType:
    """Import ArviZ."""
    import arviz

    return arviz


def is_new() -> bool:
    """Whether ArviZ works on xarray's ``DataTree``."""
    return int(arviz().__version__.split(".")[0]) >= 1


def _container(datasets: dict[str, Any], attrs: dict[str, Any]) -> Any:
    import xarray as xr

    if is_new():
        return xr.DataTree.from_dict({"/": xr.Dataset(attrs=attrs), **datasets})
    return arviz().InferenceData(attrs=attrs, **datasets)


def _loaded(dataset: Any) -> Any:
    """Give texts the type that :func:`build` gives them; some versions of xarray read them as objects."""
    texts = {name: one.astype(str) for name, one in dataset.variables.items() if one.dtype.kind == "O"}
    return dataset.assign(texts) if texts else dataset


def _storable(array: NDArray[Any]) -> NDArray[Any]:
    """Texts as Python strings that UTF-8 and HDF5 can hold: no surrogates, and a picture of NUL in place of NUL."""
    if array.dtype.kind not in "UO":
        return array
    if not array.size:
        return array.astype(str)
    texts = [str(one).replace("\0", "\u2400").encode("utf-8", "replace").decode() for one in array.ravel().tolist()]
    return np.array(texts, dtype=str).reshape(array.shape)
