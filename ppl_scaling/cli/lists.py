"""Options with several values, as in ``--seeds 0 1 2``; ``--seeds 0 --seeds 1`` says the same."""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand

__all__ = ["ListCommand"]


class ListCommand(TyperCommand):
    """A command whose list options take all that follows, up to the next option. Arguments therefore come first."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Say the option again before each of its values."""
        lists = {name for one in self.params if getattr(one, "multiple", False) for name in one.opts}
        spelled: list[str] = []
        option: str | None = None
        first = False
        for position, word in enumerate(args):
            if word == "--":
                return super().parse_args(ctx, [*spelled, *args[position:]])
            if word.startswith("-") and word != "-":
                option, first = (word, True) if word in lists else (None, False)
            elif option is not None and not first:
                spelled.append(option)
            else:
                first = False
            spelled.append(word)
        return super().parse_args(ctx, spelled)
