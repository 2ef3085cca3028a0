"""Growth with the length of the answer: seconds for each generated token, and peak memory.

Nothing is encoded twice, so the time of a token should not grow with the number of steps (attention over a longer context is
all that may). Memory above the weights should be that of the two key-value caches.
"""

import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from _stopwatch import alternate, timed


def seconds_per_token(load, num_particles, step_counts, step_tokens, *, repeats, budget):
    """Seconds for each generated token of runs of different lengths, and of each step of the longest."""
    problem = load.problems[0]
    step_times = []

    def measure(num_steps):
        filter_ = load.filter(num_particles, num_steps, step_tokens)

        def run(round_):
            marks = [time.perf_counter()]
            seconds, result = timed(
                lambda: filter_.run(problem, seed=round_, on_step=lambda _: marks.append(time.perf_counter())), load.device
            )
            load.check(result, num_particles, num_steps, step_tokens)
            if num_steps == max(step_counts):
                step_times.append([after - before for before, after in itertools.pairwise(marks)])
            return seconds

        return run

    with load.endless():
        seconds = alternate({str(steps): measure(steps) for steps in step_counts}, repeats=repeats, budget=budget)
    per_token = {steps: min(seconds[str(steps)]) / (num_particles * steps * step_tokens) for steps in sorted(step_counts)}
    # The first step holds the prompt and the opening of the sessions too.
    best_steps = [min(times) / (num_particles * step_tokens) for times in zip(*step_times, strict=True)]
    quarter = max(1, (len(best_steps) - 1) // 4)
    early, late = sum(best_steps[1 : 1 + quarter]) / quarter, sum(best_steps[-quarter:]) / quarter
    return {
        "particles": num_particles,
        "step_tokens": step_tokens,
        "seconds": seconds,
        "seconds_per_token": per_token,
        "longest_over_shortest": per_token[max(step_counts)] / per_token[min(step_counts)],
        "seconds_per_token_of_step": best_steps,
        "late_over_early_steps": late / early,
    }


def memory(load, num_particles, num_steps, step_tokens):
    """Peak memory above the weights over the computed size of the caches, each time in a fresh process.

    On the CPU it is measured twice: as the process is, and with an allocator (glibc's) that gives every block above 1 MiB
    back when it is freed. The second is what the program holds; the difference is free memory that the allocator keeps.
    """
    allocators = {"as it is": {}}
    if load.device.type == "cpu":
        allocators["freed memory given back"] = {"MALLOC_MMAP_THRESHOLD_": str(2**20)}
    reports = []
    with tempfile.TemporaryDirectory() as folder:
        load.save(folder)
        sizes = ["--particles", num_particles, "--steps", num_steps, "--step-tokens", step_tokens]
        place = ["--threads", torch.get_num_threads(), "--device", load.device, "--dtype", load.description["dtype"]]
        command = [sys.executable, Path(__file__).with_name("_memory_main.py"), folder, *sizes, *place]
        for name, variables in allocators.items():
            environment = {**os.environ, **variables}
            done = subprocess.run([str(one) for one in command], capture_output=True, text=True, env=environment)
            if done.returncode:
                raise RuntimeError(f"the process that measures memory has failed:\n{done.stderr[-2000:]}")
            reports.append({"allocator": name, **json.loads(done.stdout.splitlines()[-1])})
    return reports
