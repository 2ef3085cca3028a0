"""Options against presets against defaults."""

import pytest

from ppl_scaling.backends import Delimiter
from ppl_scaling.backends.presets import PRESETS
from ppl_scaling.backends.stop_patterns import Boxed
from ppl_scaling.cli.settings import language_model_settings, state_space_settings, unescaped

NOT_GIVEN = {"system_prompt": None, "step_delimiter": None, "stop_at_boxed": None}


def test_without_a_preset_the_defaults_stand():
    assert language_model_settings(None, **NOT_GIVEN) == {}
    found = state_space_settings(None, temperature=None, max_steps=None)
    assert found == {"temperature": 1.0, "top_p": None, "max_steps": 20, "max_step_tokens": 64, "max_tokens": None}


@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS)
def test_a_preset_replaces_the_defaults(preset):
    assert language_model_settings(preset.name, **NOT_GIVEN) == preset.for_language_model()
    assert state_space_settings(preset.name, temperature=None, max_tokens=None) == preset.for_state_space()


def test_what_is_given_wins():
    found = language_model_settings("llama-3", system_prompt="Think.", step_delimiter=r"\n##", stop_at_boxed=False)
    assert found == {"system_prompt": "Think.", "boundary": Delimiter("\n##"), "stop": None}
    assert language_model_settings(None, **(NOT_GIVEN | {"stop_at_boxed": True})) == {"stop": Boxed()}
    found = state_space_settings("optscale", temperature=1.5, max_steps=3)
    assert found == PRESETS["optscale"].for_state_space() | {"temperature": 1.5, "max_steps": 3}


@pytest.mark.parametrize(
    ("typed", "meant"),
    [(r"\n\n", "\n\n"), (r"a\tb", "a\tb"), (r"\\n", r"\n"), ("。", "。"), (r"\boxed", r"\boxed"), ("\n", "\n")],
)
def test_escapes(typed, meant):
    assert unescaped(typed) == meant
