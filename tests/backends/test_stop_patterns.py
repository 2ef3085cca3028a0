"""When an answer is complete."""

import pytest

from ppl_scaling.backends.stop_patterns import Boxed, StopText, StopWhen, as_stop


@pytest.mark.parametrize(
    ("text", "complete"),
    [
        ("", False),
        (r"so \boxed{12}.", True),
        (r"so \boxed{\frac{1}{2", False),
        (r"so \boxed{\frac{1}{2}}", True),
        (r"so \boxed{", False),
        (r"put it in \boxed{}", False),
        ("boxed{1}", False),
    ],
)
def test_boxed(text, complete):
    assert Boxed().ends(text) is complete


def test_text_and_function():
    assert StopText("Q.E.D.").ends("so. Q.E.D.\n") and not StopText("Q.E.D.").ends("Q.E.")
    assert StopWhen(lambda text: len(text) > 3).ends("four") is True


def test_what_can_be_made_a_stop_pattern():
    boxed = Boxed()
    assert as_stop(boxed) is boxed and as_stop(None) is None
    assert as_stop("END") == StopText("END") and as_stop(str.isupper) == StopWhen(str.isupper)
    for nothing in (3, Boxed, ["END"]):
        with pytest.raises(TypeError, match="expected a stop pattern"):
            as_stop(nothing)
    with pytest.raises(ValueError, match="at least one character"):
        as_stop("")
    with pytest.raises(TypeError, match="to be a string, got int"):
        StopText(3)
    with pytest.raises(TypeError, match="a function of the answer's text"):
        StopWhen("x")
