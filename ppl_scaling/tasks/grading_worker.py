"""The process that compares answers for :mod:`ppl_scaling.tasks.grading`, and that may be killed at any moment.

It reads pairs of answers from standard input, one JSON list a line, and writes ``true`` or ``false`` for each.
"""

from __future__ import annotations

import json
import os
import signal
import sys

from ppl_scaling.tasks.answers import verified

__all__ = ["main"]

_MEMORY = 4 * 2**30  # bytes of address space; a tower of powers would take all that there is


def main() -> None:
    """Answer until standard input ends."""
    # What the libraries print must not come between the answers.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    _limit_memory()
    verified("x", "y", None)  # imports what takes long, before the clock runs
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        first, second, seconds = json.loads(line)
        _die_after(seconds)
        same = verified(first, second, None)
        _die_after(0)
        print(json.dumps(same), file=answers, flush=True)


def _die_after(seconds: float) -> None:
    """Let the kernel end the process, whatever it is at; 0 calls that off. Else it would outlive a parent that is killed."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, seconds)


def _limit_memory() -> None:
    try:
        import resource
    except ImportError:  # not on this operating system
        return
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY if most < 0 else min(_MEMORY, most), most))


if __name__ == "__main__":
    main()
