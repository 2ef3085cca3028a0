"""Train the embedded models from nothing: ``python -m ppl_scaling.models.pretrained.recipe``.

The stages are: tokenizer, language model, choice of the checkpoint that generates, rollouts beside the warm-up of the
reward model, reward model, evaluation, model card. Each leaves its result in the work folder and is skipped when it is
already there, so that an interrupted run goes on where it stopped.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from transformers import (
    AutoTokenizer,
    GenerationConfig,
    LlamaForCausalLM,
    LlamaForTokenClassification,
    PreTrainedTokenizerFast,
)

from ppl_scaling.models.pretrained.card import write_card
from ppl_scaling.models.pretrained.evaluation import compare_methods, pass_at_1, pass_by_length
from ppl_scaling.models.pretrained.noticing import NoticingSettings
from ppl_scaling.models.pretrained.reward_training import (
    RewardTrainingSettings,
    train_reward_model,
    warm_up_reward_model,
)
from ppl_scaling.models.pretrained.rollouts import RolloutSettings, label_shards, read_shards
from ppl_scaling.models.pretrained.sampling import MAX_NEW_TOKENS
from ppl_scaling.models.pretrained.tokenizer import ProblemEncoder, corpus, train_tokenizer
from ppl_scaling.models.pretrained.training import TrainingSettings, checkpoint_folder, train_language_model
from ppl_scaling.tasks.arithmetic import DEFAULT_MAX_NUMBER, DEFAULT_NUM_STEPS, generate_problems

TARGET_PASS_RATE = 0.33
LIKELIHOOD_BETA = 8.0


@dataclass(frozen=True)
class RecipeSettings:
    """Settings of all stages.

    Attributes
    ----------
    training : TrainingSettings
        The language model.
    rollouts : RolloutSettings
        Samples and their labels.
    noticing : NoticingSettings
        Warm-up of the reward model.
    reward : RewardTrainingSettings
        The reward model.
    num_evaluation_problems, num_samples : int
        Problems and samples of each in the evaluation.
    """

    training: TrainingSettings = field(default_factory=TrainingSettings)
    rollouts: RolloutSettings = field(default_factory=RolloutSettings)
    noticing: NoticingSettings = field(default_factory=NoticingSettings)
    reward: RewardTrainingSettings = field(default_factory=RewardTrainingSettings)
    num_evaluation_problems: int = 200
    num_samples: int = 16


class Recipe:
    """One run of the recipe: its folders, its settings and what it has measured so far."""

    def __init__(self, output: Path, work: Path, settings: RecipeSettings, num_processes: int) -> None:
        self.output, self.work, self.settings, self.num_processes = output, work, settings, num_processes
        self.started = time.perf_counter()
        self.work.mkdir(parents=True, exist_ok=True)
        self.record_path = self.work / "record.json"
        self.record: dict[str, Any] = json.loads(self.record_path.read_text()) if self.record_path.exists() else {}

    def log(self, message: str) -> None:
        """Print a line of progress."""
        print(f"[{time.perf_counter() - self.started:6.0f} s] {message}", flush=True)

    def stage(self, name: str, run: Callable[[], Any]) -> Any:
        """Run a stage unless its result is recorded, and record result and seconds."""
        if name not in self.record:
            self.log(f"stage {name}")
            started = time.perf_counter()
            result = run()
            self.record[name] = {"result": result, "seconds": round(time.perf_counter() - started, 1)}
            self.record_path.write_text(json.dumps(self.record, indent=1))
        return self.record[name]["result"]

    @property
    def tokenizer(self) -> PreTrainedTokenizerFast:
        """The trained tokenizer."""
        tokenizer: PreTrainedTokenizerFast = AutoTokenizer.from_pretrained(self.work / "tokenizer")
        return tokenizer

    def checkpoint(self, update: int) -> Path:
        """Give the folder of a checkpoint of the language model."""
        return checkpoint_folder(self.work / "language_model", update)

    def train_tokenizer(self) -> int:
        """Train the tokenizer and give the size of its vocabulary."""
        tokenizer = train_tokenizer(corpus())
        tokenizer.save_pretrained(self.work / "tokenizer")
        return len(tokenizer)

    def train_language_model(self) -> float:
        """Train the language model with checkpoints and give the seconds it took."""
        return train_language_model(self.tokenizer, self.settings.training, self.work / "language_model", self.log)

    def choose_generator(self) -> dict[str, Any]:
        """Choose the checkpoint whose pass rate on validation problems is closest to the target."""
        encoder = ProblemEncoder(self.tokenizer)
        problems = generate_problems(200, split="validation", seed=1)
        training = self.settings.training
        rates: dict[int, float] = {}
        for update in range(training.checkpoint_every, training.num_updates + 1, training.checkpoint_every):
            model = LlamaForCausalLM.from_pretrained(self.checkpoint(update), attn_implementation="sdpa").eval()
            rates[update] = pass_at_1(model, encoder, problems, copies=2)
            self.log(f"checkpoint {update}: pass@1 {rates[update]:.3f}")
            if rates[update] > 1.4 * TARGET_PASS_RATE:
                break
        chosen = min(rates, key=lambda update: abs(rates[update] - TARGET_PASS_RATE))
        return {"update": chosen, "pass_at_1": rates}

    def label(self) -> dict[str, float]:
        """Sample solutions of training problems, label their prefixes, and give the seconds it took."""
        started = time.perf_counter()
        generator = self.checkpoint(self.record["generator"]["result"]["update"])
        folder, settings = self.work / "labels", self.settings.rollouts
        label_shards(generator, self.work / "tokenizer", folder, settings, self.num_processes, self.log)
        return {"seconds": round(time.perf_counter() - started, 1)}

    def warm_up_reward_model(self) -> None:
        """Let a model on the body of the last checkpoint learn to notice the slips of the generating one."""
        warm_up_reward_model(
            ProblemEncoder(self.tokenizer),
            self.checkpoint(self.record["generator"]["result"]["update"]),
            self.checkpoint(self.settings.training.num_updates),
            self.settings.reward,
            self.settings.noticing,
            self.work / "warm_reward_model",
            self.log,
        )

    def train_reward_model(self) -> dict[str, int]:
        """Train the warmed-up reward model on the labels."""
        solutions = read_shards(self.work / "labels", self.settings.rollouts)
        train_reward_model(
            ProblemEncoder(self.tokenizer),
            self.work / "warm_reward_model",
            solutions,
            self.settings.reward,
            self.work / "reward_model",
            self.log,
        )
        num_labels = sum(label is not None for solution in solutions for label in solution.labels)
        return {"num_solutions": len(solutions), "num_labels": num_labels}

    def export(self) -> None:
        """Write both models with their tokenizer to the output folder."""
        tokenizer = self.tokenizer
        language_model = LlamaForCausalLM.from_pretrained(self.checkpoint(self.record["generator"]["result"]["update"]))
        language_model.generation_config = GenerationConfig(
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            do_sample=True,
            max_new_tokens=MAX_NEW_TOKENS,
        )
        language_model.save_pretrained(self.output / "language_model")
        reward_model = LlamaForTokenClassification.from_pretrained(self.work / "reward_model")
        # Its labels make it a value function of prefixes; tests/benchmarks/choose_settings.py has chosen the power.
        reward_model.config.scores_prefixes = True
        reward_model.config.likelihood_beta = LIKELIHOOD_BETA
        reward_model.save_pretrained(self.output / "reward_model")
        for name in ("language_model", "reward_model"):
            tokenizer.save_pretrained(self.output / name)

    def evaluate(self) -> dict[str, Any]:
        """Measure the exported models on held-out problems."""
        encoder = ProblemEncoder(self.tokenizer)
        language_model = LlamaForCausalLM.from_pretrained(self.output / "language_model").eval()
        reward_model = LlamaForTokenClassification.from_pretrained(self.output / "reward_model").eval()
        results: dict[str, Any] = {}
        for split in ("validation", "test"):
            problems = generate_problems(self.settings.num_evaluation_problems, split=split, seed=2)
            results[split] = compare_methods(language_model, reward_model, encoder, problems, self.settings.num_samples)
            self.log(f"{split}: " + ", ".join(f"{k} {v:.3f}" for k, v in results[split].items() if isinstance(v, float)))
        results["pass_at_1_by_num_steps"] = pass_by_length(language_model, encoder, num_problems=100, copies=4)
        for name, model in (("language_model", language_model), ("reward_model", reward_model)):
            results[f"{name}_parameters"] = sum(parameter.numel() for parameter in model.parameters())
        return results

    def run(self) -> None:
        """Run all stages that are missing, then write metrics and model card."""
        self.stage("tokenizer", self.train_tokenizer)
        self.stage("language_model", self.train_language_model)
        self.stage("generator", self.choose_generator)
        with ThreadPoolExecutor(1) as beside:
            # The rollouts run in processes of their own, beside the warm-up; their stage is what is left to wait for.
            labels = beside.submit(self.label) if "rollouts" not in self.record else None
            self.stage("warm_up", self.warm_up_reward_model)
            if labels is not None:
                self.stage("rollouts", labels.result)
        self.stage("reward_model", self.train_reward_model)
        self.stage("export", self.export)
        self.stage("evaluation", self.evaluate)
        generator = self.record["generator"]["result"]
        metrics = {
            "num_steps": DEFAULT_NUM_STEPS,
            "max_number": DEFAULT_MAX_NUMBER,
            "settings": asdict(self.settings),
            "vocabulary_size": self.record["tokenizer"]["result"],
            "generator_update": generator["update"],
            "pass_at_1_by_update": generator["pass_at_1"],
            "labels": self.record["reward_model"]["result"],
            "rollout_seconds": self.record["rollouts"]["result"]["seconds"],
            "seconds": {name: stage["seconds"] for name, stage in self.record.items()},
            "num_processes": self.num_processes,
            **self.record["evaluation"]["result"],
        }
        write_card(metrics, self.output)
        self.log(f"done: {sum(metrics['seconds'].values()) / 60:.1f} minutes in all")


def main() -> None:
    """Read the command line and run the recipe."""
    parser = argparse.ArgumentParser(description="Train the embedded language model and reward model.")
    here = Path(__file__).resolve().parent
    work = Path(tempfile.gettempdir()) / "ppl-scaling-pretrained"
    parser.add_argument("--output", type=Path, default=here, help="folder for both models and the model card")
    parser.add_argument("--work", type=Path, default=work, help="folder for checkpoints, labels and progress")
    parser.add_argument("--processes", type=int, default=1, help="processes of the rollouts, beside the main one")
    parser.add_argument("--seed", type=int, default=0, help="seed of everything")
    arguments = parser.parse_args()
    default = RecipeSettings()
    settings = replace(
        default,
        training=replace(default.training, seed=arguments.seed),
        rollouts=replace(default.rollouts, seed=arguments.seed),
        noticing=replace(default.noticing, seed=arguments.seed),
        reward=replace(default.reward, seed=arguments.seed),
    )
    Recipe(arguments.output, arguments.work, settings, arguments.processes).run()


if __name__ == "__main__":
    main()
