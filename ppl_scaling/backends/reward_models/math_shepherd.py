"""Math-Shepherd: a causal language model that says ``+`` or ``-`` at a tag after every step."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from ppl_scaling.backends.reward_models.heads import CandidateRewardModel
from ppl_scaling.backends.reward_models.texts import PieceEncoder
from ppl_scaling.errors import BackendError

__all__ = ["MathShepherdRewardModel"]

_TAG = "ки"
_NUMBERED = re.compile(r"step\s*\d+\s*:", re.IGNORECASE)
_EXAMPLES = (
    ("What is 2 + 3?", ["2 + 3 = 5.", "The answer is: 5", "12 pens", r"\boxed{5}"]),
    ("Mia has 3 boxes.", ["Step 1: $x^2$ is\n4", "Step 2: é, «so» -1", "(3)"]),
)


class MathShepherdRewardModel(CandidateRewardModel):
    """peiyi9979/math-shepherd-mistral-7b-prm.

    The problem, a space, and the steps on lines of their own, each as ``Step 1: ... ки``; a step that has its number already
    keeps it. The score is read at ``ки``: the next token is ``+`` and not ``-``, of these two.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        A causal language model.
    tokenizer : transformers.PreTrainedTokenizerBase
    aggregation : str, optional
        Default: ``"last"``.

    Raises
    ------
    BackendError
        If the tokenizer does not have ``+`` and ``-`` as one token each, or splits ``ки``.
    ConstantScoreError
        If the model gives the same score to everything.

    References
    ----------
    Wang et al. (2024), arXiv 2312.08935; the model card.
    """

    family: ClassVar[str] = "math-shepherd"

    @classmethod
    def recognises(cls, config: Mapping[str, Any], name: str) -> bool:
        """By its name: the architecture is that of any Mistral."""
        return "MistralForCausalLM" in (config.get("architectures") or ()) and bool(
            re.search(r"math[-_]?shepherd", name, re.IGNORECASE)
        )

    def prepare(self) -> None:
        """Find the two candidates and the tag."""
        candidates = self.encode("+ -")
        if len(candidates) != 2:
            raise BackendError(f"expected '+ -' to be two tokens, got {len(candidates)}")
        self.set_candidates(candidates[:1], candidates[1:])
        examples = [_pieces(problem, steps) for problem, steps in _EXAMPLES]
        ends = {self.encode("".join(pieces))[-1] for pieces in examples}
        if ends != {self.encode(f" {_TAG}")[-1]} or _TAG not in self.tokenizer.decode(list(ends)):
            raise BackendError(f"expected the tokenizer to have {_TAG!r} as one token")
        self._tokens_of = PieceEncoder(self, f" {_TAG}", True, examples)

    def layout(self, problem: str, steps: Sequence[str]) -> list[int]:
        """Tokens of problem and steps up to the last tag."""
        return self._tokens_of(_pieces(problem, steps) if steps else [problem])


def _pieces(problem: str, steps: Sequence[str]) -> list[str]:
    pieces = []
    for number, step in enumerate(map(str.strip, steps), start=1):
        numbered = step if _NUMBERED.match(step) else f"Step {number}: {step}"
        pieces.append(f"{problem} {numbered} {_TAG}" if number == 1 else f"\n{numbered} {_TAG}")
    return pieces
