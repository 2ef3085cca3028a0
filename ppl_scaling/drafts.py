"""Files that are written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = ["draft_of"]


@contextmanager
def draft_of(path: str | os.PathLike[str], what: str) -> Iterator[Path]:
    """Give the path of a draft, which takes the place of ``path`` at the end of the block.

    What is at ``path`` stays whole until then, and for good if the block fails. Folders that are missing are made. A link is
    followed, and what is no ordinary file, such as ``/dev/stdout``, is written to as it is.

    Parameters
    ----------
    path : str or path
    what : str
        What is written, for the error.

    Raises
    ------
    ValueError
        If something can't be written.
    """
    draft = target = Path(path)
    try:
        # What /dev/stdout leads to may be a file, but one that is open already.
        if (target.is_file() or not target.exists()) and target.parts[:2] != ("/", "dev"):
            target = Path(os.path.realpath(target))
            target.parent.mkdir(parents=True, exist_ok=True)
            draft = target.with_name(target.name + ".new")
        yield draft
        if draft != target:
            with draft.open("rb+") as file:
                os.fsync(file.fileno())  # or a loss of power may leave the name of the new file with nothing in it
            draft.replace(target)
    except OSError as error:
        raise ValueError(f"expected a file to write {what} to, cannot write {path}: {error.strerror or error}") from None
    finally:
        if draft != target:
            with suppress(OSError):  # a folder may bear the draft's name
                draft.unlink()
