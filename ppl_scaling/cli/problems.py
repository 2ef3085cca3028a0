"""``ppl-scaling problems``: generated word problems as JSON lines."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from ppl_scaling.tasks.arithmetic import DEFAULT_MAX_NUMBER, DEFAULT_NUM_STEPS, generate_problems

__all__ = ["problems"]


def problems(
    num_problems: Annotated[int, typer.Option(help="How many problems.")] = 20,
    num_steps: Annotated[int, typer.Option(help="Reasoning steps that a problem takes.")] = DEFAULT_NUM_STEPS,
    max_number: Annotated[int, typer.Option(help="Largest number that may occur.")] = DEFAULT_MAX_NUMBER,
    split: Annotated[str, typer.Option(help="train, validation or test; the embedded models saw train only.")] = "test",
    seed: Annotated[int, typer.Option(help="The same seed gives the same problems.")] = 0,
    text: Annotated[bool, typer.Option("--text", help="Print the problems alone, one a line, without answers.")] = False,
) -> None:
    r"""Write held-out word problems as JSON lines with "problem" and "answer".

    Example: ppl-scaling problems --num-problems 20 --num-steps 6 --seed 7
    """
    for one in generate_problems(num_problems, num_steps=num_steps, max_number=max_number, split=split, seed=seed):
        typer.echo(one.problem if text else json.dumps({"problem": one.problem, "answer": one.answer}))
