"""The bytes that every token adds to a text.

Step boundaries look at tokens while they are drawn. Decoding each of them would be slow, and wrong: a token of a byte-level
tokenizer may be a part of a character, and a SentencePiece token decoded alone loses the space in front of it. So the bytes
of all tokens are read once, from the tokenizer's own spelling of them where that is known.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import torch
from torch import Tensor

__all__ = ["Vocabulary"]

_METASPACE = "\u2581"  # the sign that stands for a space in SentencePiece tokens


class Vocabulary:
    """What each token of a language model adds inside a text.

    Parameters
    ----------
    pieces : sequence of bytes or str
        ``pieces[i]`` is what token ``i`` adds, in UTF-8; a part of a character is possible.
    device : torch.device
        Where the tables of :meth:`table` live.
    """

    def __init__(self, pieces: Sequence[bytes | str], device: torch.device) -> None:
        self.pieces = [piece.encode() if isinstance(piece, str) else piece for piece in pieces]
        self.device = device
        self._tables: dict[Hashable, Tensor] = {}

    @classmethod
    def from_tokenizer(cls, tokenizer: Any, size: int, device: torch.device) -> Vocabulary:
        """Read the pieces of a tokenizer.

        Parameters
        ----------
        tokenizer : transformers.PreTrainedTokenizerBase
            Byte-level BPE and SentencePiece (metaspace, byte fallback) tokenizers are read directly; of any other kind,
            each token is decoded behind another one.
        size : int
            Number of logits of the model; numbers without a token add nothing.
        device : torch.device
        """
        tokens = tokenizer.convert_ids_to_tokens(list(range(size)))
        kinds = _decoder_kinds(tokenizer)
        if kinds == {"ByteLevel"}:
            pieces = _byte_level(tokens)
        elif kinds and kinds <= {"Metaspace", "Replace", "ByteFallback", "Fuse", "Strip"}:
            pieces = _metaspace(tokens, "ByteFallback" in kinds)
        else:
            pieces = _decoded(tokenizer, tokens)
        for number, added in tokenizer.added_tokens_decoder.items():
            if number < size:
                pieces[number] = added.content.encode()
        return cls(pieces, device)

    @property
    def texts(self) -> list[str]:
        """Text of each token; a part of a character reads as U+FFFD."""
        return [piece.decode("utf-8", errors="replace") for piece in self.pieces]

    def table(self, key: Hashable, build: Callable[[], Any]) -> Tensor:
        """Return what ``build`` makes, an array or nested lists, as a tensor on the device; it is built once for ``key``."""
        if key not in self._tables:
            self._tables[key] = torch.tensor(build(), device=self.device)
        return self._tables[key]


def _decoder_kinds(tokenizer: Any) -> set[str]:
    """Kinds of the decoder's parts; empty if it isn't known or does something special with the space sign."""
    decoder = getattr(getattr(tokenizer, "backend_tokenizer", None), "decoder", None)
    if decoder is None:
        return set()
    try:
        described = json.loads(decoder.__getstate__())
    except Exception:  # a decoder written in Python has no description
        return set()
    parts = described.get("decoders", [described])
    for part in parts:
        plain = part["type"] != "Replace" or (part.get("pattern"), part.get("content")) == ({"String": _METASPACE}, " ")
        if not plain or part.get("replacement", _METASPACE) != _METASPACE:
            return set()
    return {part["type"] for part in parts}


def _byte_level(tokens: list[str | None]) -> list[bytes]:
    """Undo the spelling of GPT-2: one printable character for each byte."""
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAC + 1), *range(0xAE, 0xFF + 1)]
    others = [byte for byte in range(256) if byte not in set(printable)]
    byte_of = {chr(byte): byte for byte in printable} | {chr(256 + place): byte for place, byte in enumerate(others)}
    pieces = []
    for token in tokens:
        try:
            pieces.append(bytes([byte_of[sign] for sign in token or ""]))
        except KeyError:  # not written in that alphabet, so it means itself
            pieces.append((token or "").encode())
    return pieces


def _metaspace(tokens: list[str | None], byte_fallback: bool) -> list[bytes]:
    pieces = []
    for token in tokens:
        text = token or ""
        if byte_fallback and len(text) == 6 and text.startswith("<0x") and text.endswith(">"):
            pieces.append(bytes([int(text[3:5], 16)]))
        else:
            pieces.append(text.replace(_METASPACE, " ").encode())
    return pieces


def _decoded(tokenizer: Any, tokens: list[str | None]) -> list[bytes]:
    """Text that each token adds behind an anchor: a token that reads the same alone and in front of itself."""

    def decode(rows: list[list[int]]) -> list[str]:
        return tokenizer.batch_decode(rows, clean_up_tokenization_spaces=False)

    known = [number for number, token in enumerate(tokens) if token is not None]
    alone = dict(zip(known, decode([[number] for number in known]), strict=True))
    pieces = [b""] * len(tokens)
    for anchor in (number for number in known if alone[number].isalnum()):
        pairs = decode([[anchor, number] for number in known])
        if all(pair.startswith(alone[anchor]) for pair in pairs):
            for number, pair in zip(known, pairs, strict=True):
                pieces[number] = pair[len(alone[anchor]) :].encode()
            return pieces
    for number in known:
        pieces[number] = alone[number].encode()
    return pieces
