"""A function as a reward model: what it gives is checked."""

import pytest

from ppl_scaling.backends import FunctionRewardModel


def test_a_function_that_forgets_to_return_is_told_so():
    session = FunctionRewardModel(lambda prompt, text: None).start(["p"], 1)
    with pytest.raises(ValueError, match="expected the function to give a score for 'abc', got None"):
        session.score(["abc"])
