"""Speed and memory of the particle filter, side by side with its floor and its peers in one run.

    python tests/benchmarks/speed.py                                    # the embedded models, on all of torch's threads
    python tests/benchmarks/speed.py --models embedded smollm2 --smollm2 SmolLM2-135M-Instruct.Q4_1.gguf \\
        --peers-python PEERS/bin/python --output speed.json             # everything
    python tests/benchmarks/speed.py --sections floor growth --quick    # small sizes, to see that it runs

Sections: `floor` (model.generate and one reward-model pass for the same rows and tokens), `peers` (its_hub and llamppl on
the same models, needs --peers-python), `growth` (time of a token and peak memory by length), `groups` (many problems in
one run). What each compares, and how, is written at the top of its file (_floor.py and so on). All ratios are of times
measured in turn in this run, the least of the repeats on either side.

The interpreter of the peers is a virtual environment with its_hub==1.2.0, llamppl==0.2.3, and torch and transformers in the
versions used here.
"""

import argparse
import importlib.metadata
import json
import os
import platform
import warnings
from pathlib import Path

import _floor
import _groups
import _growth
import _peers
import _tables
import _workloads
import torch
import transformers

SECTIONS = ("floor", "peers", "growth", "groups")
FULL = {
    "step_tokens": 16,
    "floor_particles": (4, 16, 64),
    "floor_steps": (2, 8, 20),
    "natural_particles": (16,),
    "natural_problems": 4,
    "peer_particles": 16,
    "peer_steps": (8, 20),
    "growth_particles": 16,
    "growth_steps": (2, 5, 8, 12, 16, 20),
    "memory": (64, 20),
    "group_problems": 16,
    "group_particles": 8,
    "group_steps": 5,
}
QUICK = {
    **FULL,
    "step_tokens": 4,
    "floor_particles": (4,),
    "floor_steps": (2, 4),
    "natural_particles": (4,),
    "natural_problems": 1,
    "peer_particles": 4,
    "peer_steps": (2, 4),
    "growth_particles": 4,
    "growth_steps": (2, 4, 6),
    "memory": (16, 4),
    "group_problems": 4,
    "group_particles": 2,
    "group_steps": 2,
}


def floor(load, sizes, options, repeat):
    """Against generate and one reward-model pass."""
    tokens = sizes["step_tokens"]
    _floor.fixed(load, 2, 2, tokens, repeats=1, budget=0)  # so that nobody pays for the first call of anything
    cells = [
        _floor.fixed(load, particles, steps, tokens, **repeat)
        for particles in sizes["floor_particles"]
        for steps in sizes["floor_steps"]
    ]
    natural = []
    if load.name == "embedded":  # the one that was trained for the problems
        natural = [
            _floor.natural(load, particles, sizes["natural_problems"], **repeat) for particles in sizes["natural_particles"]
        ]
    _tables.floor(cells, natural)
    return {"fixed": cells, "natural": natural}


def peers(load, sizes, options, repeat):
    """Against its_hub and llamppl."""
    if options.peers_python is None:
        return skipped("no peers: pass --peers-python with an interpreter that has its_hub and llamppl")
    cells = []
    with _peers.worker(options.peers_python, load) as worker:
        about = worker.about
        for peer in options.peers:
            for steps in sizes["peer_steps"]:
                sizes_of_run = sizes["peer_particles"], steps, sizes["step_tokens"]
                cells.append(_peers.compare(load, worker, peer, *sizes_of_run, **repeat))
    _tables.peers(cells)
    return {"about": about, "cells": cells}


def growth(load, sizes, options, repeat):
    """Time of a token and memory, by length."""
    tokens = sizes["step_tokens"]
    times = _growth.seconds_per_token(load, sizes["growth_particles"], sizes["growth_steps"], tokens, **repeat)
    memory = _growth.memory(load, *sizes["memory"], tokens)
    _tables.growth(times, memory)
    return {"times": times, "memory": memory}


def groups(load, sizes, options, repeat):
    """Many problems in one run."""
    amount = sizes["group_problems"], sizes["group_particles"]
    cells = [_groups.fixed(load, *amount, sizes["group_steps"], sizes["step_tokens"], **repeat)]
    if load.name == "embedded":
        cells.append(_groups.natural(load, *amount, **repeat))
    _tables.groups(cells)
    return cells


def skipped(reason):
    """Say why a part was left out, on the screen and in the file."""
    _tables.console.print(f"skipped: {reason}", style="yellow")
    return {"skipped": reason}


def machine():
    """Where the figures come from."""
    cpu = [line.split(":", 1)[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    flags = [line for line in _lines("/proc/cpuinfo") if line.startswith("flags")]
    return {
        "cpu": cpu[0] if cpu else platform.processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "bfloat16": sorted({"avx512_bf16", "amx_bf16"} & set(flags[0].split())) if flags else [],
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "torch_threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "ppl-scaling": importlib.metadata.version("ppl-scaling"),
    }


def _lines(path):
    try:
        with open(path) as file:
            return file.read().splitlines()
    except OSError:
        return []


def arguments():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=("embedded", "smollm2"), default=["embedded"])
    parser.add_argument("--sections", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument("--smollm2", metavar="FILE", help=f"GGUF file; default: ${_workloads.SMOLLM2_VARIABLE}")
    parser.add_argument("--dtype", help="of the models; default: float32 for embedded, bfloat16 for smollm2")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, help="of torch; default: torch's own choice")
    parser.add_argument("--peers-python", metavar="PYTHON", help="interpreter that has the peers")
    parser.add_argument("--peers", nargs="+", choices=_peers.PEERS, default=list(_peers.PEERS))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=60.0, help="a measurement that has taken longer is not repeated")
    parser.add_argument("--quick", action="store_true", help="sizes that only show that it runs")
    parser.add_argument("--output", metavar="FILE", help="where to write the figures as JSON")
    return parser.parse_args()


def main():
    options = arguments()
    warnings.filterwarnings("ignore", category=FutureWarning)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    if options.threads:
        torch.set_num_threads(options.threads)
    sizes = QUICK if options.quick else FULL
    report = {"machine": machine(), "settings": {**vars(options), "sizes": sizes}, "models": {}}
    _tables.console.print(report["machine"])
    repeat = {"repeats": options.repeats, "budget": options.seconds}
    for name in options.models:
        _tables.console.rule(name)
        reason = _workloads.find_smollm2(options.smollm2)[1] if name == "smollm2" else None
        if reason:
            report["models"][name] = skipped(reason)
            continue
        load = _workloads.load(name, smollm2=options.smollm2, dtype=options.dtype, device=options.device)
        _tables.console.print(load.description)
        report["models"][name] = {"description": load.description}
        for section in options.sections:
            report["models"][name][section] = globals()[section](load, sizes, options, repeat)
            if options.output:  # after each section, so that nothing is lost
                path = Path(options.output)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
