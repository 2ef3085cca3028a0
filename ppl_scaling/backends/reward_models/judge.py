"""A causal language model as judge, asked whether the answer so far is right."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache, partial
from typing import Any, ClassVar

from ppl_scaling.backends.reward_models.heads import CandidateRewardModel
from ppl_scaling.backends.reward_models.texts import chat_frame

__all__ = ["JudgeRewardModel"]

PROMPT = """Problem:
{problem}

Solution so far:
{solution}

Is every step of this solution so far correct? Answer with Yes or No.
Answer:"""
_YES = ("Yes", " Yes", "yes", " yes", "YES", " YES")
_NO = ("No", " No", "no", " no", "NO", " NO")


class JudgeRewardModel(CandidateRewardModel):
    """Any causal language model, asked about the answer so far.

    The prompt is the user's turn of a chat, or a plain text where the tokenizer has no chat template. The score is the
    probability that the next token says yes, of all tokens that say yes or no. No configuration tells a judge from another
    language model, so ask for it by ``family="judge"``.

    The judge reads the problem and the answer once; only the question after the answer is read again at every step.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        A causal language model.
    tokenizer : transformers.PreTrainedTokenizerBase
    prompt : str
        With ``{problem}`` and ``{solution}``, the latter once; other braces are left alone.
    yes, no : sequence of str, optional
        Surface forms whose probabilities are summed, each one token. Default: those of "Yes" and "No" with and without a
        capital and a space that the tokenizer has as one token.
    aggregation : str, optional
        Default: ``"whole-prefix"``; an aggregate of the scores of all prefixes is possible too.

    Raises
    ------
    ValueError
        If the prompt lacks its places, or a form is not one token.
    BackendError
        If the tokenizer has no token for one of the answers.
    ConstantScoreError
        If the model gives the same score to everything.
    """

    family: ClassVar[str] = "judge"
    default_aggregation: ClassVar[str] = "whole-prefix"
    reads_prefixes: ClassVar[bool] = True

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        prompt: str = PROMPT,
        yes: Sequence[str] | None = None,
        no: Sequence[str] | None = None,
        aggregation: str | None = None,
    ) -> None:
        if prompt.count("{solution}") != 1 or "{problem}" not in prompt:
            raise ValueError(f"expected a prompt with {{problem}}, and with {{solution}} once, got {prompt!r}")
        self.prompt = prompt.strip()
        self.yes, self.no = yes, no
        super().__init__(model, tokenizer, aggregation=aggregation)

    def prepare(self) -> None:
        """Find the tokens that say yes and no."""
        self.set_candidates(
            self._find(_YES) if self.yes is None else self._find(self.yes, all_of_them=True),
            self._find(_NO) if self.no is None else self._find(self.no, all_of_them=True),
        )
        self._frame = lru_cache(maxsize=1024)(partial(_render_frame, self.tokenizer, self.prompt))

    def layout(self, problem: str, steps: Sequence[str]) -> list[int]:
        """Tokens of the prompt, filled in."""
        before, after = self._frame(problem)
        text = before + "".join(steps).strip() + after if steps else before
        return list(self.encode(text, self.tokenizer.chat_template is None))

    def _find(self, forms: Sequence[str], all_of_them: bool = False) -> list[int]:
        vocabulary = self.tokenizer.get_vocab()
        found = []
        for form in forms:
            tokens = {vocabulary[form]} if form in vocabulary else set()
            encoded = self.encode(form)
            if len(encoded) == 1:
                tokens.add(encoded[0])
            if not tokens and all_of_them:
                raise ValueError(f"expected surface forms of one token, got {form!r}, which has {len(encoded)}")
            found += sorted(tokens)
        return list(dict.fromkeys(found))


def _render_frame(tokenizer: Any, prompt: str, problem: str) -> tuple[str, str]:
    begin, _, end = prompt.partition("{solution}")
    begin, end = begin.replace("{problem}", problem), end.replace("{problem}", problem)
    if tokenizer.chat_template is None:
        return begin, end
    return chat_frame(tokenizer, [], "user", begin, end)
