"""Against peers: the same models, particles, steps and tokens under its_hub and llamppl.

The peers live in an interpreter of their own (``--peers-python``) with the same torch and the same number of threads. One
worker serves the whole section, and its runs alternate with ours, so both see the same machine. What each peer is asked to
do, and how, is written at the top of ``_peer_its_hub.py`` and ``_peer_llamppl.py``.
"""

import json
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path

import torch
from _stopwatch import alternate, timed

PEERS = ("its_hub", "llamppl")


class Worker:
    """The other interpreter."""

    def __init__(self, python, folder, load, log, ends):
        script = Path(__file__).with_name("_peers_main.py")
        dtype = load.description["dtype"]
        command = [python, script, folder, "--dtype", dtype, "--threads", str(torch.get_num_threads())]
        self._log = log
        self._process = subprocess.Popen(
            [*map(str, command), "--device", str(load.device), *["--ends"] * ends],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
        self.about = self._reply()

    def ask(self, **request):
        """Send a request and wait for the reply."""
        print(json.dumps(request), file=self._process.stdin, flush=True)
        return self._reply()

    def stop(self):
        """Let the interpreter end."""
        self._process.stdin.close()
        self._process.wait()

    def _reply(self):
        line = self._process.stdout.readline()
        if not line:
            self._process.wait()
            self._log.seek(0)
            raise RuntimeError(f"the interpreter of the peers has ended:\n{self._log.read()[-2000:]}")
        return json.loads(line)


@contextmanager
def worker(python, load, *, ends=False):
    """A worker that has loaded the models of ``load``; with ``ends`` its texts may end, without they are endless."""
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile("w+") as log:
        load.save(folder)
        process = Worker(python, folder, load, log, ends)
        try:
            yield process
        finally:
            process.stop()


def compare(load, process, peer, num_particles, num_steps, step_tokens, *, repeats, budget):
    """One cell of the table: ours and the peer in turn."""
    problem = load.problems[0]
    filter_ = load.filter(num_particles, num_steps, step_tokens)
    work = {"problem": problem, "num_particles": num_particles, "step_tokens": step_tokens}
    forwarded = {}

    def ours(round_):
        seconds, result = timed(lambda: filter_.run(problem, seed=round_), load.device)
        load.check(result, num_particles, num_steps, step_tokens)
        forwarded["ours"] = {"lm": result.lm_tokens_forwarded, "prm": result.prm_tokens_forwarded}
        return seconds

    def theirs(round_):
        reply = process.ask(peer=peer, num_steps=num_steps, seed=round_, **work)
        expected = num_particles * num_steps * step_tokens
        if reply["generated_tokens"] != expected:
            raise RuntimeError(f"expected {peer} to generate {expected} tokens, got {reply['generated_tokens']}")
        forwarded[peer] = reply["forwarded_tokens"]
        return reply["seconds"]

    with load.endless():
        # A short run first, so that neither side pays for imports, tables of the vocabulary and first allocations.
        load.filter(num_particles, 1, step_tokens).run(problem, seed=0)
        process.ask(peer=peer, num_steps=2, seed=0, **{**work, "step_tokens": 2})
        seconds = alternate({"ours": ours, peer: theirs}, repeats=repeats, budget=budget)
    return {
        "peer": peer,
        "particles": num_particles,
        "steps": num_steps,
        "step_tokens": step_tokens,
        "seconds": seconds,
        "forwarded_tokens": forwarded,
        "ratio": min(seconds[peer]) / min(seconds["ours"]),
    }
