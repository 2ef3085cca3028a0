"""What the traces of a program and its guide say about the weights of the particles.

Knows Pyro's traces, and nothing of filters, groups or resampling.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from pyro.distributions.util import scale_and_mask
from pyro.poutine.util import prune_subsample_sites
from torch import Tensor

from ppl_scaling import host

__all__ = ["first_bad_site", "increments", "killing_site", "recorded"]


def increments(
    model_trace: Any, guide_trace: Any, num_particles: int, absorbed: Tensor | None = None
) -> list[tuple[str, Tensor]]:
    """Increments ``log p - log q`` of the log-weight, each of shape (K,) and with the name of the site that makes it.

    Parameters
    ----------
    model_trace : pyro.poutine.Trace
        Of the program, replayed on the guide's trace if there is one.
    guide_trace : pyro.poutine.Trace or None
    num_particles : int
        K.
    absorbed : Tensor, shape (K,), bool, optional
        Particles whose weights no longer change.

    Raises
    ------
    ValueError
        If the guide samples a site that the program lacks or observes.
    """
    model_trace = prune_subsample_sites(model_trace)
    proposed: dict[str, Any] = {}
    if guide_trace is not None:
        guide_trace = prune_subsample_sites(guide_trace)
        guide_trace.compute_log_prob()
        proposed = {name: site for name, site in guide_trace.nodes.items() if site["type"] == "sample"}
    model_sites = {name: site for name, site in model_trace.nodes.items() if site["type"] == "sample"}
    for name in proposed:
        if name not in model_sites:
            raise ValueError(f"expected the guide to sample sites of the model, got '{name}', which the model lacks")
        if model_sites[name]["is_observed"]:
            raise ValueError(f"expected the guide to sample latent sites, got '{name}', which the model observes")

    def needed(name: str, site: Any) -> bool:
        # A latent drawn from the model itself cancels out, unless its density is scaled: then it was drawn from p and
        # counts p ** scale. Where it is masked there is nothing to count.
        return bool(site["is_observed"] or name in proposed or not _is_one(site["scale"]))

    model_trace.compute_log_prob(site_filter=needed)
    found = []
    for name, site in model_sites.items():
        if not needed(name, site):
            continue
        log_weight = _per_particle(site["log_prob"], num_particles)
        if name in proposed:
            log_weight = log_weight - _per_particle(proposed[name]["log_prob"], num_particles)
        elif not site["is_observed"]:
            drawn_from = scale_and_mask(site["unscaled_log_prob"], mask=site["mask"])
            log_weight = log_weight - _per_particle(drawn_from, num_particles)
        found.append((name, log_weight if absorbed is None else log_weight.masked_fill(absorbed, 0.0)))
    return found


def _is_one(scale: Any) -> bool:
    return isinstance(scale, (int, float)) and scale == 1


def _per_particle(log_prob: Tensor, num_particles: int) -> Tensor:
    return log_prob.reshape(num_particles, -1).double().sum(-1)


def recorded(trace: Any, num_particles: int) -> dict[str, Tensor]:
    """Values of the latent and the deterministic sites of a trace, each of shape (K, ...).

    A value without dimensions is spread over all particles, as in the state.
    """
    return {
        name: site["value"] if site["value"].dim() else site["value"].expand(num_particles)
        for name, site in trace.nodes.items()
        if site["type"] == "sample" and (not site["is_observed"] or site["infer"].get("_deterministic"))
    }


def first_bad_site(changes: list[tuple[str, Tensor]], particle: int) -> tuple[str, float]:
    """Name and value of the first increment of ``particle`` that is NaN or plus infinity."""
    values = [(name, float(increment[particle])) for name, increment in changes]
    return next((name, value) for name, value in values if math.isnan(value) or value == math.inf)


def killing_site(before: Tensor, changes: list[tuple[str, Tensor]]) -> str:
    """Name of the site after which no particle has weight left, given their log-weights before all of them."""
    names = [name for name, _ in changes]
    totals = before + torch.stack([increment for _, increment in changes]).cumsum(0)
    return names[host.as_list((totals == -math.inf).all(-1)).index(True)]
