"""What stands around a text in a chat template, and the tokens of a text that grows.

A reward model reads a text that grows by a step at a time. Tokenising all of it again at every step would cost more and
more; tokenising the new piece alone may not give the same tokens, as tokenizers look across the cut. So a few texts are
tried beforehand, and where a cut shows, the whole text is tokenised every time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ppl_scaling.backends.prompts import render_messages
from ppl_scaling.backends.reward_models.base import TransformersRewardModel

__all__ = ["PieceEncoder", "chat_frame"]

_MARK = "<<the text that grows>>"


class PieceEncoder:
    """Tokens of a text given in pieces.

    Parameters
    ----------
    model : TransformersRewardModel
        Whose tokenizer, with its memory, is used.
    before : str
        What every piece but the last ends with. Later pieces are tokenised behind it, as some tokenizers treat the beginning
        of a text in a way of its own.
    special_tokens : bool
        Whether the text begins with the tokenizer's special tokens.
    examples : sequence of sequence of str
        Texts in pieces to try.

    Attributes
    ----------
    by_pieces : bool
        Whether the examples have the same tokens either way.
    """

    def __init__(
        self, model: TransformersRewardModel, before: str, special_tokens: bool, examples: Sequence[Sequence[str]]
    ) -> None:
        self._encode, self._before, self._special_tokens = model.encode, before, special_tokens
        self._beginning = self._encode(before)
        self.by_pieces = True
        self.by_pieces = all(self(pieces) == self._whole(pieces) for pieces in examples)

    def __call__(self, pieces: Sequence[str]) -> list[int]:
        """Tokens of the concatenated pieces."""
        if not self.by_pieces:
            return self._whole(pieces)
        tokens = list(self._encode(pieces[0], self._special_tokens))
        for piece in pieces[1:]:
            extended = self._encode(self._before + piece)
            if extended[: len(self._beginning)] != self._beginning:
                return self._whole(pieces)
            tokens += extended[len(self._beginning) :]
        return tokens

    def _whole(self, pieces: Sequence[str]) -> list[int]:
        return list(self._encode("".join(pieces), self._special_tokens))


def chat_frame(
    tokenizer: Any, earlier: Sequence[dict[str, str]], role: str, begin: str = "", end: str = ""
) -> tuple[str, str]:
    """Render what a chat template puts before and after a text.

    Parameters
    ----------
    tokenizer : transformers.PreTrainedTokenizerBase
    earlier : sequence of dict
        Messages before the one that holds the text.
    role : str
        Of that message; one of the user is followed by the beginning of the assistant's answer.
    begin, end : str
        What stands around the text in its message.
    """
    messages = [*earlier, {"role": role, "content": begin + _MARK + end}]
    rendered = render_messages(tokenizer, messages, add_generation_prompt=role == "user")
    before, _, after = rendered.rpartition(_MARK)
    return before, after
