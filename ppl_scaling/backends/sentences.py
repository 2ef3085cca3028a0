"""Where a sentence ends, as far as it can be known without looking ahead.

A step boundary is a stopping time: it may depend on the tokens drawn so far and on nothing else. When a model has written
``3.`` it may go on with ``5`` or with the next sentence, and only the next token will tell, too late. The rule here decides
at the token that has the full stop, and where it would be a guess it lets the sentence go on, at worst to the next one.
"""

from __future__ import annotations

import re

__all__ = ["completes_sentence", "may_complete_sentence"]

_MARKS = ".!?\u2026"
_FULL_WIDTH = "\u3002\uff01\uff1f"  # no space follows the marks of Chinese and Japanese
_CLOSERS = "\"'\u201d\u2019\u00bb)\\]}*\u300d\u300f\uff09\u3011\u300b"
_END = re.compile(f"(?P<marks>[{_MARKS}{_FULL_WIDTH}]+)(?P<closers>[{_CLOSERS}]*)")
_WORD = re.compile(r"[^\W\d_]+(?:\.[^\W\d_]+)*$")
_NUMBER = re.compile(r"[\d.,]*\d$")
_ABBREVIATIONS = frozenset(
    "approx assoc cf co corp dept dr e eds eq eqn eqs etc fig figs gov i inc jr lt ltd mr mrs ms mt nos op pp prof resp sgt "
    "sr st thm viz vol vs".split()
)


def may_complete_sentence(piece: bytes) -> bool:
    """Whether a token that adds ``piece`` can be the one that completes a sentence."""
    try:
        text = piece.decode()
    except UnicodeDecodeError:  # a part of a character, perhaps of a full-width mark
        return True
    return any(sign in text for sign in _MARKS + _FULL_WIDTH + "\n")


def completes_sentence(text: str, start: int) -> bool:
    """Whether ``text[start:]``, the last token, completes a sentence of the step ``text``."""
    line_feed = text.find("\n", start)
    while line_feed >= 0:
        if text[:line_feed].strip():
            return True
        line_feed = text.find("\n", line_feed + 1)
    begin = start
    while begin and text[begin - 1] in _MARKS + _FULL_WIDTH:
        begin -= 1
    return any(match.end("marks") > start and _is_end(text, match) for match in _END.finditer(text, begin))


def _is_end(text: str, match: re.Match[str]) -> bool:
    before, marks, after = text[: match.start()], match["marks"], text[match.end() :]
    if not any(sign.isalnum() for sign in before):
        return False
    if any(mark in _FULL_WIDTH for mark in marks):
        return True
    if after and not after[0].isspace():
        return False
    if marks in (".", "!") and not match["closers"]:  # 3.5 and 5! are numbers, and 1. numbers a list
        number = _NUMBER.search(before)
        if number is not None:
            return bool(after) and bool(before[: number.start()].strip())
    if marks != ".":
        return True
    return not before[-1].isspace() and not _is_abbreviation(before)


def _is_abbreviation(before: str) -> bool:
    word = _WORD.search(before)
    if word is None:
        return False
    *earlier, last = word[0].split(".")
    if earlier and len(last) <= 2:  # e.g., U.S., Ph.D.
        return True
    return not earlier and ((len(last) == 1 and last.isupper()) or last.lower() in _ABBREVIATIONS)
