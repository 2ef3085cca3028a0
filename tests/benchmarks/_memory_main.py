"""Peak memory of one run in a process of its own; started by ``_growth.py``.

On a GPU the peak is that of torch's allocator. On the CPU it is the peak of the resident set (``VmHWM``), which Linux lets a
process reset, so loading the weights does not count. Either is taken above what is held after a short run, which has
touched all weights and tables.
"""

import argparse
import json
import resource
import sys
from pathlib import Path

import torch
from _workloads import load

CLEAR, STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")


def cache_bytes(model, num_rows, columns):
    """Size of keys and values of ``num_rows`` rows and ``columns`` columns, by arithmetic."""
    config = model.config
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return int(num_rows * config.num_hidden_layers * 2 * heads * size * columns * model.dtype.itemsize)


def resident(field):
    """``VmRSS`` or ``VmHWM`` of this process in bytes."""
    lines = dict(line.split(":", 1) for line in STATUS.read_text().splitlines())
    return int(lines[field].split()[0]) * 1024


def measure(device, work):
    """Bytes held before ``work()``, bytes at its peak, how that was measured, and what it returned."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        outcome = work()
        return before, torch.cuda.max_memory_allocated(device), "torch.cuda.max_memory_allocated", outcome
    try:
        CLEAR.write_text("5")
    except OSError:  # not Linux, or not allowed: the peak so far, which loading may have set
        before = peak_of_life()
        outcome = work()
        return before, peak_of_life(), "ru_maxrss above ru_maxrss, a lower bound", outcome
    before = resident("VmRSS")
    outcome = work()
    return before, resident("VmHWM"), "VmHWM above VmRSS", outcome


def peak_of_life():
    """``ru_maxrss`` in bytes; macOS counts in bytes already."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder")
    parser.add_argument("--dtype")
    parser.add_argument("--device", default="cpu")
    for name in ("particles", "steps", "step-tokens", "threads"):
        parser.add_argument(f"--{name}", type=int, required=True)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    models = load(options.folder, dtype=options.dtype, device=options.device)
    sizes = options.particles, options.steps, options.step_tokens
    with models.endless():
        models.filter(2, 2, options.step_tokens).run(models.problems[0], seed=0)
        before, peak, how, result = measure(models.device, lambda: models.filter(*sizes).run(models.problems[0], seed=0))
    models.check(result, *sizes)
    # Each row's share of what was forwarded is its length; the prompt was forwarded once for all.
    columns = {"lm": models.prompt_tokens + options.steps * options.step_tokens}
    prompt = len(models.classifier_tokenizer(models.problems[0])["input_ids"])
    columns["prm"] = prompt + (result.prm_tokens_forwarded - prompt) / options.particles
    caches = {
        "lm": cache_bytes(models.model, options.particles, columns["lm"]),
        "prm": cache_bytes(models.classifier, options.particles, columns["prm"]),
    }
    report = {
        "particles": options.particles,
        "steps": options.steps,
        "step_tokens": options.step_tokens,
        "columns": columns,
        "cache_bytes": caches,
        "before_bytes": before,
        "peak_bytes": peak,
        "measured_by": how,
        "ratio": (peak - before) / sum(caches.values()),
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
