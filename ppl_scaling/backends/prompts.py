"""From a problem to the tokens that stand in front of the first reasoning step."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from jinja2.exceptions import TemplateError

from ppl_scaling.errors import BackendError

__all__ = ["check_prompts", "render_messages", "render_prompt"]

# Templates of Llama 3, SmolLM3 and others put today's date into the prompt, so a run would change from day to day. This
# macro in front of a template stands in for the clock: always the 26th of July 2024, which Llama's templates fall back to.
_STOPPED_CLOCK = (
    "{%- macro strftime_now(format) -%}"
    "{{- format | replace('%-d', '26') | replace('%d', '26') | replace('%b', 'Jul') | replace('%B', 'July')"
    " | replace('%m', '07') | replace('%y', '24') | replace('%Y', '2024') | replace('%A', 'Friday') | replace('%a', 'Fri')"
    " | replace('%H', '00') | replace('%M', '00') | replace('%S', '00') -}}"
    "{%- endmacro -%}"
)


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

    The same problem gives the same tokens on every day: a template that asks for the date gets a fixed one.

    Parameters
    ----------
    tokenizer : transformers.PreTrainedTokenizerBase
    problem : str
    system_prompt : str, optional
        First turn of the chat. Where the template has no place for one it begins the user's turn, and without a chat
        template it stands in front of the problem. An empty one takes the place of the template's own.
    plain_end : str
        What follows the problem where the tokenizer has no chat template.

    Returns
    -------
    list of int

    Raises
    ------
    BackendError
        If the chat template cannot render a single user's turn.
    """
    if tokenizer.chat_template is None:
        text = f"{system_prompt}\n{problem}" if system_prompt else problem
        return tokenizer(text + plain_end)["input_ids"]
    return tokenizer(_render_chat(tokenizer, problem, system_prompt), add_special_tokens=False)["input_ids"]


def render_messages(tokenizer: Any, messages: Sequence[dict[str, str]], add_generation_prompt: bool = True) -> str:
    """Render a chat with the tokenizer's template; one that asks for the date gets a fixed one."""
    template = tokenizer.get_chat_template()
    if "strftime_now" in template:
        template = _STOPPED_CLOCK + template
    return tokenizer.apply_chat_template(
        list(messages), chat_template=template, tokenize=False, add_generation_prompt=add_generation_prompt
    )


def _render_chat(tokenizer: Any, problem: str, system_prompt: str | None) -> str:
    def render(*messages: dict[str, str]) -> str:
        return render_messages(tokenizer, messages)

    if system_prompt is not None:
        rendered: str | None = None
        with suppress(TemplateError):  # Gemma's and Mistral's refuse the role
            rendered = render({"role": "system", "content": system_prompt}, {"role": "user", "content": problem})
        if rendered is not None and system_prompt.strip() in rendered:
            return rendered
        if system_prompt:
            problem = f"{system_prompt}\n\n{problem}"  # refused, or dropped without a word
    try:
        return render({"role": "user", "content": problem})
    except TemplateError as error:
        raise BackendError(
            f"expected a chat template that renders one turn of a user, got one that refuses it: {error}"
        ) from error
