"""Skywork-o1-Open-PRM: a value at the line feed that ends each step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from torch import Tensor

from ppl_scaling.backends.reward_models.heads import HeadedRewardModel, linear
from ppl_scaling.backends.reward_models.qwen2 import Qwen2ForPrmModel

__all__ = ["SkyworkRewardModel"]


class SkyworkRewardModel(HeadedRewardModel):
    r"""Skywork-o1-Open-PRM-Qwen-2.5 (1.5B, 7B).

    The beginning-of-text token, the problem and a line feed; then each line tokenised on its own and ended by the token of
    a line feed, where the score is read: the sigmoid of the value head. White space around a step is left out, and the lines
    within a step are tokenised apart as well.

    Parameters
    ----------
    model : Qwen2ForPrmModel
        This package's own class.
    tokenizer : transformers.PreTrainedTokenizerBase
    aggregation : str, optional
        Default: ``"last"``.

    Raises
    ------
    ValueError
        If the aggregation is unknown.
    BackendError
        If the architecture is not supported.
    ConstantScoreError
        If the model gives the same score to everything.

    References
    ----------
    The reference code, https://github.com/SkyworkAI/skywork-o1-prm-inference (``model_utils/io_utils.py``).
    """

    family: ClassVar[str] = "skywork"
    auto_class: ClassVar[Any] = Qwen2ForPrmModel

    @classmethod
    def recognises(cls, config: Mapping[str, Any], name: str) -> bool:
        """By the architecture; its other name, ``Qwen2ForRewardModel``, is that of Qwen's outcome reward models too."""
        architectures = config.get("architectures") or ()
        return "Qwen2ForPrmModel" in architectures or (
            "Qwen2ForRewardModel" in architectures and "skywork" in name.lower() and "prm" in name.lower()
        )

    def prepare(self) -> None:
        """Look up the line feed."""
        self._line_feed = self.encode("\n")[-1]

    def layout(self, problem: str, steps: Sequence[str]) -> list[int]:
        """Tokens of the problem and of all lines so far."""
        tokens = list(self.encode((self.tokenizer.bos_token or "") + problem + "\n"))
        for step in steps:
            for line in step.strip().split("\n"):
                tokens += [*self.encode(line), self._line_feed]
        return tokens

    def head(self, hidden: Tensor) -> Tensor:
        """Apply the value head."""
        return linear(self.model.v_head["summary"], hidden)

    def read(self, outputs: Tensor) -> Tensor:
        """Take the value as the logit."""
        return outputs[:, 0]
