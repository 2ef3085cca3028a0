"""Text of token blocks, each after the tokens before it: what a token reads as may depend on them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

__all__ = ["CONTEXT", "decode_after"]

CONTEXT = 8
"""Tokens before a block that its text may depend on, such as the first bytes of a character."""


def decode_after(
    tokenizer: Any, contexts: Sequence[list[int]], blocks: Sequence[list[int]], end_tokens: Collection[int]
) -> list[str]:
    """Decode what each block adds behind its context.

    A character whose bytes are not complete belongs to the block that completes it, or else to the one that ends the text.

    Parameters
    ----------
    tokenizer : transformers.PreTrainedTokenizerBase
    contexts : sequence of list of int
        The last tokens before each block.
    blocks : sequence of list of int
        None is empty.
    end_tokens : collection of int
        Tokens that end a text; they are left out of it.
    """
    seen = [[token for token in context if token not in end_tokens] for context in contexts]
    whole = [
        [*before, *(token for token in block if token not in end_tokens)] for before, block in zip(seen, blocks, strict=True)
    ]
    decoded = tokenizer.batch_decode([*seen, *whole], clean_up_tokenization_spaces=False)
    texts = []
    for before, after, block in zip(decoded[: len(blocks)], decoded[len(blocks) :], blocks, strict=True):
        complete = after if block[-1] in end_tokens else after.rstrip("\ufffd")
        texts.append(complete[len(before.rstrip("\ufffd")) :])
    return texts
