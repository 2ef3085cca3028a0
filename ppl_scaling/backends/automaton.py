"""A delimiter as a finite automaton over tokens: one look-up a token, on the device.

Tokens cut texts anywhere, also inside a character. So the delimiter is recognised byte by byte, by the automaton of Knuth,
Morris and Pratt, with states in front of it for a step that has no visible text yet. Running it over the bytes of every
token, from every state, gives a table ``state, token -> state``; following a row then needs no text at all.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["CLOSED", "START", "delimiter_table"]

START, CLOSED = 0, 1
"""States of an empty step and of one that has its delimiter."""

_SPACES = {chr(code).encode() for code in range(0x3001) if chr(code).isspace()}
_SPACE_BEGINNINGS = {space[:length] for space in _SPACES for length in range(1, len(space))}


def delimiter_table(delimiter: str, pieces: Sequence[bytes]) -> NDArray[np.int16]:
    """Tabulate the automaton of a delimiter over the pieces of a vocabulary.

    Leading white space is skipped: the delimiter counts from the first visible character on.

    Returns
    -------
    array, shape (S, V)
        State after a token, by the state before it.
    """
    return _over_pieces(_over_bytes(delimiter.encode()), pieces)


def _over_bytes(word: bytes) -> NDArray[np.int16]:
    """Tabulate state and byte -> state, shape (S, 256)."""
    matched = _matcher(word)
    # A state is the bytes of a white-space character begun (nothing visible yet), or the length of the word matched.
    numbers: dict[bytes | int, int] = {b"": START, len(word): CLOSED}
    rows: dict[int, list[int]] = {CLOSED: [CLOSED] * 256}

    def after(state: bytes | int, byte: int) -> bytes | int:
        if isinstance(state, int):
            return matched[state][byte]
        begun = state + bytes([byte])
        if begun in _SPACES:
            return b""
        if begun in _SPACE_BEGINNINGS:
            return begun
        length = 0
        for one in begun:
            length = matched[length][one]
        return length

    waiting: list[bytes | int] = [b""]
    while waiting:
        state = waiting.pop()
        row = []
        for byte in range(256):
            successor = after(state, byte)
            if successor not in numbers:
                numbers[successor] = len(numbers)
                waiting.append(successor)
            row.append(numbers[successor])
        rows[numbers[state]] = row
    return np.array([rows[number] for number in range(len(numbers))], dtype=np.int16)


def _matcher(word: bytes) -> list[list[int]]:
    """For each length matched, 0 to len(word), and each next byte: the length matched then. A full match stays."""
    rows = [[0] * 256 for _ in word] + [[len(word)] * 256]
    rows[0][word[0]] = 1
    fallback = 0
    for length in range(1, len(word)):
        rows[length] = list(rows[fallback])
        rows[length][word[length]] = length + 1
        fallback = rows[fallback][word[length]]
    return rows


def _over_pieces(step: NDArray[np.int16], pieces: Sequence[bytes]) -> NDArray[np.int16]:
    """Run all states through the bytes of all pieces, one position in the pieces after the other."""
    lengths = np.array([len(piece) for piece in pieces])
    starts = np.cumsum(lengths) - lengths
    joined = np.frombuffer(b"".join(pieces), dtype=np.uint8)
    order = np.argsort(-lengths, kind="stable")  # the pieces longer than a position come first
    states = np.repeat(np.arange(len(step), dtype=np.int16)[:, None], len(pieces), axis=1)
    for position in range(int(lengths.max(initial=0))):
        longer = order[: int((lengths > position).sum())]
        states[:, longer] = step[states[:, longer], joined[starts[longer] + position]]
    return states
