"""Drives the peers in an interpreter of their own; started by ``_peers.py``, which sends one request a line.

    python _peers_main.py FOLDER --dtype bfloat16 --threads 2 [--device cpu] [--ends]

FOLDER holds ``language_model`` and ``reward_model`` as written by ``save_pretrained``. A request is a JSON object with the
keys ``peer``, ``seed``, ``problem`` and ``num_particles``, and ``num_steps`` and ``step_tokens`` for steps of one length, or
with ``"task": "solve"`` (which needs ``--ends``) ``max_steps`` and ``max_step_tokens``. The reply is a JSON object too.
Nothing of ppl_scaling is imported here. The first reply, without a request, names the versions.
"""

import argparse
import importlib.metadata
import json
import os
import random
import sys
import time
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import torch
from _fixed_length import encode_prompt, pad, special_tokens, without_ends
from transformers import AutoModelForCausalLM, AutoModelForTokenClassification, AutoTokenizer


class Models:
    """The language model and the reward model of the run, with a count of the tokens they are given, padding included."""

    def __init__(self, folder, dtype, device):
        kind = {"dtype": dtype, "attn_implementation": "sdpa"}
        self.model = AutoModelForCausalLM.from_pretrained(folder / "language_model", **kind).to(device).eval()
        self.tokenizer = AutoTokenizer.from_pretrained(folder / "language_model")
        classifier = AutoModelForTokenClassification.from_pretrained(folder / "reward_model", **kind)
        self.classifier = classifier.to(device).eval()
        self.classifier_tokenizer = AutoTokenizer.from_pretrained(folder / "reward_model")
        self.tokens = {"lm": 0, "prm": 0}
        for name, model in (("lm", self.model), ("prm", self.classifier)):
            model.register_forward_pre_hook(self._counter(name), with_kwargs=True)

    @property
    def device(self):
        return self.model.device

    def score_logits(self, problem, texts):
        """Logits of the score of each text, read at the line break that ends it, in one batched pass; a list."""
        tokenizer = self.classifier_tokenizer
        prompt = encode_prompt(tokenizer, problem)
        rows = [prompt + tokenizer(text.strip() + "\n", add_special_tokens=False)["input_ids"] for text in texts]
        tokens, mask = (one.to(self.device) for one in pad(rows, 0))
        with torch.no_grad():
            logits = self.classifier(input_ids=tokens, attention_mask=mask).logits
        last = logits[torch.arange(len(rows)), mask.sum(1) - 1].float()
        return (last[:, 1] - last[:, 0] if last.shape[1] == 2 else last[:, 0]).tolist()

    def _counter(self, name):
        def count(module, args, kwargs):
            self.tokens[name] += (kwargs["input_ids"] if "input_ids" in kwargs else args[0]).numel()

        return count


def serve(models, requests, reply):
    """Answer the requests one after the other."""
    peers = {}
    for line in requests:
        request = json.loads(line)
        name = request.pop("peer")
        if name not in peers:
            peers[name] = _peer(name, models)
        seed, task = request.pop("seed"), request.pop("task", "run")
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002  llamppl draws from numpy's legacy generator
        torch.manual_seed(seed)
        models.tokens.update(lm=0, prm=0)
        _synchronize(models.device)
        started = time.perf_counter()
        found = getattr(peers[name], task)(**request)
        _synchronize(models.device)
        seconds = time.perf_counter() - started
        reply({"seconds": seconds, "forwarded_tokens": dict(models.tokens), **found})


def _peer(name, models):
    # Each import needs one of the two libraries only.
    if name == "its_hub":
        from _peer_its_hub import ItsHub

        return ItsHub(models)
    from _peer_llamppl import Llamppl

    return Llamppl(models)


def _synchronize(device):
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--dtype", required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--ends", action="store_true", help="let the language model end its texts")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    # Replies have the standard output to themselves; whatever a library prints goes to the log.
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def reply(message):
        print(json.dumps(message), file=replies, flush=True)

    models = Models(options.folder, getattr(torch, options.dtype), options.device)
    packages = ("its_hub", "llamppl", "genlm-backend", "transformers", "torch")
    versions = {}
    for package in packages:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = None
    ends = special_tokens(models.model, models.tokenizer)
    with nullcontext() if options.ends else without_ends(models.model, ends):
        reply({"versions": versions, "python": sys.version.split()[0]})
        serve(models, sys.stdin, reply)


if __name__ == "__main__":
    main()
