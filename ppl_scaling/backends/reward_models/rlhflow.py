"""RLHFlow's Llama-3.1 PRMs: a chat whose user writes the steps and whose assistant answers ``+`` or ``-``."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from ppl_scaling.backends.prompts import render_messages
from ppl_scaling.backends.reward_models.heads import CandidateRewardModel
from ppl_scaling.backends.reward_models.texts import PieceEncoder
from ppl_scaling.errors import BackendError

__all__ = ["RLHFlowRewardModel"]

_MARKS = ("What is 2 + 3? (2 + 3 = 5)", "12 is the answer.", r"\boxed{12}")


class RLHFlowRewardModel(CandidateRewardModel):
    """RLHFlow/Llama3.1-8B-PRM-Deepseek-Data and -Mistral-Data.

    Each step is a turn of the user, the first one preceded by the problem and a space, and the assistant answers every turn
    with ``+``, also where its score is low. The score is read where the assistant's answer is predicted: it is ``+`` and not
    ``-``, of these two. The outcome reward models of the same series (ORM) are this family with
    ``aggregation="whole-prefix"``.

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
        If the tokenizer has no chat template, or one that does not put turn after turn.
    ConstantScoreError
        If the model gives the same score to everything.

    References
    ----------
    Dong et al. (2024), arXiv 2405.07863; https://github.com/RLHFlow/RLHF-Reward-Modeling (``math-rm/prm_evaluate.py``).
    """

    family: ClassVar[str] = "rlhflow"

    @classmethod
    def recognises(cls, config: Mapping[str, Any], name: str) -> bool:
        """By its name: the architecture is that of any Llama."""
        return "LlamaForCausalLM" in (config.get("architectures") or ()) and bool(
            re.search(r"prm[-_](deepseek|mistral)[-_]data", name, re.IGNORECASE)
        )

    def prepare(self) -> None:
        """Take the chat template apart into what stands before, between and after the user's turns."""
        if self.tokenizer.chat_template is None:
            raise BackendError("expected the tokenizer of an RLHFlow reward model to have a chat template, got none")
        self.set_candidates(self.encode("+")[-1:], self.encode("-")[-1:])
        first, second, third = _MARKS
        self._before, _, self._after = self._render([first]).partition(first)
        between = self._render([first, second]).removeprefix(self._before + first).removesuffix(second + self._after)
        self._answer = between.removeprefix(self._after)
        if (
            not between.startswith(f"{self._after}+")
            or self._render(_MARKS) != self._before + between.join(_MARKS) + self._after
        ):
            raise BackendError("expected a chat template that puts turn after turn, each by itself")
        examples = [self._pieces("", _MARKS), self._pieces(first, [third, second])]
        self._tokens_of = PieceEncoder(self, self._after, False, examples)

    def layout(self, problem: str, steps: Sequence[str]) -> list[int]:
        """Tokens of the conversation up to where the assistant answers the last step."""
        if not steps:
            return list(self.encode(self._before + problem.strip()))
        return self._tokens_of(self._pieces(problem, steps))

    def _pieces(self, problem: str, steps: Sequence[str]) -> list[str]:
        first, *others = (step.strip() for step in steps)
        turns = [f"{self._before}{problem} {first}".strip() + self._after]
        return turns + [self._answer + step + self._after for step in others]

    def _render(self, turns: Sequence[str]) -> str:
        messages: list[dict[str, str]] = []
        for turn in turns:
            messages += [{"role": "user", "content": turn}, {"role": "assistant", "content": "+"}]
        return render_messages(self.tokenizer, messages[:-1])
