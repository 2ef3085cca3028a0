"""Write the metrics file and the model card from what the recipe has measured."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ppl_scaling.tasks.arithmetic import generate_problems

_STAGES = {
    "tokenizer": "tokenizer",
    "language_model": "language model",
    "generator": "choice of the generating checkpoint",
    "warm_up": "warm-up of the reward model, the rollouts beside it",
    "rollouts": "the rest of the rollouts",
    "reward_model": "reward model",
    "export": "export",
    "evaluation": "evaluation",
}


def percent(share: float) -> str:
    """Write a share as per cent with one digit, the form of all shares in the card."""
    return f"{100 * share:.1f} %"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _methods(metrics: Mapping[str, Any]) -> str:
    names = {
        "pass_at_1": "one sample (pass@1)",
        "majority": "majority vote over {n} samples",
        "best_score": "best of {n} by the score of the whole solution",
        "weighted_vote": "vote of {n} weighted by the score of the whole solution",
        "any": "right answer among {n} samples",
    }
    rows = [
        [
            label.format(n=metrics["test"]["num_samples"]),
            percent(metrics["validation"][name]),
            percent(metrics["test"][name]),
        ]
        for name, label in names.items()
    ]
    return _table(["accuracy, default difficulty", "validation", "test"], rows)


def _judgement(metrics: Mapping[str, Any]) -> str:
    names = {
        "prefix_auc": "AUC, right against wrong prefixes",
        "final_auc": "AUC, right against wrong answers (whole solutions)",
        "calibration_error": "expected calibration error, all prefixes",
        "final_calibration_error": "expected calibration error, whole solutions",
    }
    rows = [[label, f"{metrics['validation'][name]:.3f}", f"{metrics['test'][name]:.3f}"] for name, label in names.items()]
    return _table(["reward model, default difficulty", "validation", "test"], rows)


def _reliability(table: Sequence[Mapping[str, float]]) -> str:
    rows = [
        [
            f"{row['from']:.1f} to {row['from'] + 0.1:.1f}",
            str(row["count"]),
            f"{row['mean_score']:.3f}",
            f"{row['success_rate']:.3f}",
        ]
        for row in table
    ]
    return _table(["score", "prefixes", "mean score", "end in the right answer"], rows)


def render_card(metrics: Mapping[str, Any]) -> str:
    """Give the text of the model card."""
    (example,) = generate_problems(1, seed=7)
    names = ("training", "rollouts", "noticing", "reward")
    training, rollouts, noticing, reward = (metrics["settings"][name] for name in names)
    by_length = metrics["pass_at_1_by_num_steps"]
    minutes = {name: seconds / 60 for name, seconds in metrics["seconds"].items()}
    solution = "\n".join(example.steps)
    difficulty = f"{metrics['num_steps']} steps, numbers up to {metrics['max_number']}"
    return f"""# The embedded models

A small causal language model and a process reward model, so that everything in this library runs on a fresh machine.
They know one thing: word problems like those of `ppl_scaling.tasks.arithmetic`. They err often, on purpose: that is
what inference-time scaling is for. Every figure below was measured by the recipe in this folder and is in
`metrics.json`.

    OMP_NUM_THREADS=1 python -m ppl_scaling.models.pretrained.recipe

## Task

The default difficulty is {difficulty}. A problem and its known solution:

> {example.problem}

```text
{solution}
```

## Models

| | language model (`language_model/`) | process reward model (`reward_model/`) |
| --- | --- | --- |
| class | `LlamaForCausalLM` | `LlamaForTokenClassification` |
| parameters | {metrics["language_model_parameters"]:,} | {metrics["reward_model_parameters"]:,} |
| input | chat template: a problem, optionally a system message | the same prompt, then each step and a line feed |
| output | steps, one a line, the answer in `\\boxed{{}}` | labels `incorrect`, `correct` at each line feed |

Both share a byte-level BPE tokenizer of {metrics["vocabulary_size"]} tokens, lossless on any text. A token holds at
most one digit, and a line feed is always a token of its own. The context is 1024 tokens; training sequences were
shorter than 400.

## Data and training

* **Data.** Generated problems of the `train` split with {training["min_steps"]} to {training["max_steps"]} steps. The
  splits are disjoint by construction: the split of a problem is a hash of its computations.
* **Language model.** Updates of {training["tokens_per_batch"]} tokens, loss on the solution only, Muon for the matrices
  and AdamW for the rest: {training["constant_updates"]} at learning rate {training["learning_rate"]}, then
  {training["falling_updates"]} from {training["second_learning_rate"]} down to {training["last_learning_rate"]}. The
  published model is the checkpoint after {metrics["generator_update"]} updates, chosen for its pass rate on validation
  problems; training went on from there to give the reward model a stronger body.
* **Labels.** {metrics["labels"]["num_labels"]:,} labels on {metrics["labels"]["num_solutions"]:,} solutions sampled
  from the published model on `train` problems. The label of a prefix is the share of its
  {rollouts["num_rollouts"]} rollouts that reach the right answer; a whole solution is labelled 1 or 0.
* **Warm-up of the reward model.** The body of the last checkpoint gets three layers above it, which start from weights
  that compare every digit with what the body expected in its place (`verifier.py`). In {noticing["num_updates"]:,} updates
  they learn to notice tokens of known solutions that were replaced by samples of the published model, and at the end of
  each step whether anything was replaced so far. No rollout is needed for that.
* **Reward model.** Passes over the labels: {reward["num_epochs"]}. Cross entropy with these soft labels at the line feed
  after each step, learning rate {reward["learning_rate"]} down to zero; the body stays as it is.

{_table(["stage", "minutes"], [[_STAGES[name], f"{value:.1f}"] for name, value in minutes.items()])}

In all {sum(minutes.values()):.0f} minutes on a CPU, one thread a process. The rollouts took
{metrics["rollout_seconds"] / 60:.1f} minutes (processes beside the main one: {metrics["num_processes"]}).

## Accuracy

{metrics["test"]["num_problems"]} held-out problems, {metrics["test"]["num_samples"]} samples each, temperature 1.

{_methods(metrics)}

Pass@1 on test problems by number of steps:

{_table(["steps", *by_length], [["pass@1", *(percent(rate) for rate in by_length.values())]])}

## Judgement of the reward model

A prefix is *right* when each of its lines holds the computation of the known solution, in its order, and, for a whole
solution, the answer is right. Its score estimates the probability that the language model goes on to the right answer,
so calibration compares the scores of all prefixes of the sampled solutions with how these solutions ended. It is a value
of the prefix: `config.json` says so (`scores_prefixes`), and recommends the power 8 of the likelihood (`likelihood_beta`),
which `tests/benchmarks/choose_settings.py` found on validation problems. So `TwistLikelihood(beta=8)` is the default here.

{_judgement(metrics)}

Reliability on test problems:

{_reliability(metrics["test"]["reliability"])}

## Limits

Text, numbers and operations unlike the generated ones are beyond both models. The language model was not trained to
answer anything else, and the reward model has only seen solutions of this language model.
"""


def write_card(metrics: Mapping[str, Any], output: Path) -> None:
    """Write ``metrics.json`` and the model card ``README.md``."""
    (output / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
    (output / "README.md").write_text(render_card(metrics), encoding="utf-8")
