"""Label the prefixes of sampled solutions by Monte-Carlo rollouts of the language model that wrote them."""

from __future__ import annotations

import json
import multiprocessing
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from transformers import AutoTokenizer, LlamaForCausalLM

from ppl_scaling.models.pretrained.sampling import sample
from ppl_scaling.models.pretrained.tokenizer import STEP_SEPARATOR, ProblemEncoder
from ppl_scaling.tasks.arithmetic import ArithmeticProblem, generate_problems

_COMPUTATION = re.compile(r"\d+ [-+*/] \d+ = \d+")
_BOXED = re.compile(r"\\boxed\{(\d+)\}")


@dataclass(frozen=True)
class RolloutSettings:
    """How solutions are sampled and labelled.

    Attributes
    ----------
    num_shards : int
        Independent pieces of the work; a finished one is kept when the recipe is run again.
    problems_per_length : int
        Problems of each number of steps in one shard.
    lengths : tuple of int
        Numbers of steps; a number may come more than once.
    num_rollouts : int
        Rollouts from each prefix.
    num_kept : int
        Rollouts of each prefix that are kept as whole solutions of their own, labelled right or wrong.
    seed : int
        Seed of problems and samples.
    """

    num_shards: int = 25
    problems_per_length: int = 6
    lengths: tuple[int, ...] = (2, 3, 4, 5, 5, 5, 6, 6, 7, 8)
    num_rollouts: int = 8
    num_kept: int = 3
    seed: int = 0


@dataclass(frozen=True)
class LabelledSolution:
    """A solution with a label for some of its prefixes.

    Attributes
    ----------
    problem : str
        The problem.
    steps : tuple of str
        The lines of the solution.
    labels : tuple of float or None
        For each prefix the share of its rollouts that reach the right answer, 1 or 0 for the whole solution, None
        where it was not measured.
    """

    problem: str
    steps: tuple[str, ...]
    labels: tuple[float | None, ...]


def answer_of(text: str) -> str | None:
    """Give the boxed answer at the end of a solution."""
    found = _BOXED.findall(text)
    return str(int(found[-1])) if found else None


def right_prefixes(problem: ArithmeticProblem, steps: Sequence[str]) -> list[bool]:
    """Tell for each prefix whether all its lines hold the computation of the known solution, in its order."""
    right: list[bool] = []
    for index, step in enumerate(steps):
        same = index < len(problem.steps) and _COMPUTATION.findall(step) == _COMPUTATION.findall(problem.steps[index])
        right.append(same and (index == 0 or right[-1]))
    if right:
        right[-1] = right[-1] and answer_of(steps[-1]) == problem.answer
    return right


def sample_solutions(
    model: LlamaForCausalLM, encoder: ProblemEncoder, problems: Sequence[ArithmeticProblem], copies: int, seed: int
) -> list[list[tuple[str, ...]]]:
    """Sample several solutions of each problem, each as its lines."""
    prompts = [encoder.prompt(problem.problem) for problem in problems]
    texts = [encoder.tokenizer.decode(tokens) for tokens in sample(model, prompts, seed=seed, copies=copies)]
    lines = [tuple(str(text).split(STEP_SEPARATOR)) for text in texts]
    return [lines[start : start + copies] for start in range(0, len(lines), copies)]


def label_solutions(
    model: LlamaForCausalLM,
    encoder: ProblemEncoder,
    problems: Sequence[ArithmeticProblem],
    settings: RolloutSettings,
    seed: int,
) -> list[LabelledSolution]:
    """Sample one solution of each problem and label all its prefixes by rollouts."""
    solutions = [copies[0] for copies in sample_solutions(model, encoder, problems, 1, seed)]
    prefixes: list[list[int]] = []
    for problem, steps in zip(problems, solutions, strict=True):
        prompt = encoder.prompt(problem.problem)
        for length in range(1, len(steps)):
            tokens = encoder.text(STEP_SEPARATOR.join(steps[:length]) + STEP_SEPARATOR)
            prefixes.append(prompt + tokens)
    endings = iter(sample(model, prefixes, seed=seed + 1, copies=settings.num_rollouts))
    labelled: list[LabelledSolution] = []
    for problem, steps in zip(problems, solutions, strict=True):
        labels: list[float | None] = []
        whole: dict[tuple[str, ...], LabelledSolution] = {}
        for length in range(1, len(steps)):
            texts = [str(encoder.tokenizer.decode(next(endings))) for _ in range(settings.num_rollouts)]
            rights = [float(answer_of(text) == problem.answer) for text in texts]
            labels.append(sum(rights) / len(rights))
            for text, right in list(zip(texts, rights, strict=True))[: settings.num_kept]:
                rolled = steps[:length] + tuple(text.split(STEP_SEPARATOR))
                unknown = [None] * (len(rolled) - length - 1)
                whole[rolled] = LabelledSolution(problem.problem, rolled, (*labels, *unknown, right))
        labels.append(float(answer_of(steps[-1]) == problem.answer))
        whole[steps] = LabelledSolution(problem.problem, steps, tuple(labels))
        labelled.extend(whole.values())
    return labelled


def _shard_path(folder: Path, shard: int) -> Path:
    return folder / f"labels_{shard:03d}.jsonl"


def _write_shard(arguments: tuple[Path, Path, Path, RolloutSettings, int]) -> int:
    model_path, tokenizer_path, folder, settings, shard = arguments
    encoder = ProblemEncoder(AutoTokenizer.from_pretrained(tokenizer_path))
    model = LlamaForCausalLM.from_pretrained(model_path, attn_implementation="sdpa").eval()
    seed = settings.seed * 1_000_000 + 500_000 + shard * 100
    problems = [
        problem
        for index, num_steps in enumerate(settings.lengths)
        for problem in generate_problems(settings.problems_per_length, num_steps=num_steps, split="train", seed=seed + index)
    ]
    labelled = label_solutions(model, encoder, problems, settings, seed)
    partial = _shard_path(folder, shard).with_suffix(".partial")
    partial.write_text("".join(json.dumps(asdict(solution)) + "\n" for solution in labelled))
    partial.rename(_shard_path(folder, shard))
    return shard


def label_shards(
    model_path: Path,
    tokenizer_path: Path,
    folder: Path,
    settings: RolloutSettings,
    num_processes: int,
    log: Callable[[str], None],
) -> None:
    """Label all shards that are not in the folder yet, in several processes."""
    folder.mkdir(parents=True, exist_ok=True)
    missing = [shard for shard in range(settings.num_shards) if not _shard_path(folder, shard).exists()]
    jobs = [(model_path, tokenizer_path, folder, settings, shard) for shard in missing]
    with multiprocessing.get_context("spawn").Pool(num_processes) as pool:
        for shard in pool.imap_unordered(_write_shard, jobs):
            log(f"rollouts: shard {shard} of {settings.num_shards} labelled")


def read_shards(folder: Path, settings: RolloutSettings) -> list[LabelledSolution]:
    """Read the labelled solutions of all shards."""
    solutions: list[LabelledSolution] = []
    for shard in range(settings.num_shards):
        for line in _shard_path(folder, shard).read_text().splitlines():
            record = json.loads(line)
            solutions.append(LabelledSolution(record["problem"], tuple(record["steps"]), tuple(record["labels"])))
    return solutions
