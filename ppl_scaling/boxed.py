r"""Finding ``\boxed{...}``: what the end of an answer and the grading of it have in common."""

from __future__ import annotations

__all__ = ["extract_boxed"]


def extract_boxed(text: str) -> str | None:
    r"""Content of the last complete ``\boxed{...}`` in ``text``, or None if there is none or it is empty.

    Examples
    --------
    >>> extract_boxed(r"So it is \boxed{\frac{1}{2}}.")
    '\\frac{1}{2}'
    """
    start = text.rfind(r"\boxed{")
    while start >= 0:
        begin = start + len(r"\boxed{")
        depth = 1
        for position in range(begin, len(text)):
            depth += {"{": 1, "}": -1}.get(text[position], 0)
            if depth == 0:
                return text[begin:position].strip() or None
        start = text.rfind(r"\boxed{", 0, start)
    return None
