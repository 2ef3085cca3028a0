"""From a problem to the tokens that stand in front of the first reasoning step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

__all__ = ["check_prompts", "render_prompt"]


def check_prompts(prompts: Sequence[str]) -> None:
    """Check that there are prompts and that each is a text.

    Raises
    ------
    TypeError
        If ``prompts`` is one string, or one of them is not a string.
    ValueError
        If there are none, or one is empty.
    """
    if isinstance(prompts, str):
        raise TypeError("expected a sequence of prompts, got one string; put it in a list")
    if not prompts:
        raise ValueError("expected at least one prompt, got none")
    for prompt in prompts:
        if not isinstance(prompt, str):
            raise TypeError(f"expected a prompt to be a string, got {type(prompt).__name__}")
        if not prompt.strip():
            raise ValueError(f"expected a prompt with some text, got {prompt!r}")


def render_prompt(tokenizer: Any, problem: str, system_prompt: str | None = None, plain_end: str = "\n") -> list[int]:
    """Tokens of the problem as the user's turn of a chat, up to where the assistant begins.

    Parameters
    ----------
    tokenizer : transformers.PreTrainedTokenizerBase
    problem : str
    system_prompt : str, optional
        First turn of the chat. Without a chat template it stands in front of the problem.
    plain_end : str
        What follows the problem where the tokenizer has no chat template.

    Returns
    -------
    list of int
    """
    if tokenizer.chat_template is None:
        text = problem if system_prompt is None else f"{system_prompt}\n{problem}"
        return tokenizer(text + plain_end)["input_ids"]
    messages = [{"role": "user", "content": problem}]
    if system_prompt is not None:
        messages.insert(0, {"role": "system", "content": system_prompt})
    rendered = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    return tokenizer(rendered, add_special_tokens=False)["input_ids"]
