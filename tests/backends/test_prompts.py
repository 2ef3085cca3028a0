"""Chat templates of every temper, and the settings of the papers."""

import datetime

import pytest
from transformers.utils import chat_template_utils

from ppl_scaling.backends import TransformersLanguageModel
from ppl_scaling.backends.presets import PRESETS, preset_named
from ppl_scaling.backends.prompts import render_prompt
from ppl_scaling.backends.stop_patterns import Boxed
from ppl_scaling.backends.stopping import Delimiter
from ppl_scaling.errors import BackendError
from ppl_scaling.models import LanguageModelStateSpace

CHAT = "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}{% endfor %}{% if add_generation_prompt %}<go>{% endif %}"
LLAMA = (
    "{%- if not date_string is defined %}{%- if strftime_now is defined %}{%- set date_string = strftime_now('%d %b %Y') %}"
    "{%- else %}{%- set date_string = '26 Jul 2024' %}{%- endif %}{%- endif %}{{ 'Today Date: ' + date_string + '\\n' }}"
    + CHAT
)
NO_SYSTEM = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}" + CHAT
DROPS_SYSTEM = "{% for m in messages %}{% if m['role'] == 'user' %}<user>{{ m['content'] }}{% endif %}{% endfor %}<go>"


@pytest.fixture
def rendered(byte_tokenizer, monkeypatch):
    def call(template, *arguments):
        monkeypatch.setattr(byte_tokenizer, "chat_template", template)
        return byte_tokenizer.decode(render_prompt(byte_tokenizer, *arguments))

    return call


def test_without_a_template_the_problem_is_a_line_of_its_own(rendered):
    assert rendered(None, "What?") == "What?\n"
    assert rendered(None, "What?", "Think.") == "Think.\nWhat?\n"


def test_system_prompt_has_a_turn_of_its_own_where_there_is_one(rendered):
    assert rendered(CHAT, "What?", "Think.") == "<system>Think.<user>What?<go>"
    assert rendered(CHAT, "What?") == "<user>What?<go>"


@pytest.mark.parametrize(("template", "end"), [(NO_SYSTEM, "<go>"), (DROPS_SYSTEM, "<go>")], ids=["refuses", "drops"])
def test_system_prompt_begins_the_users_turn_where_the_template_has_no_place_for_it(rendered, template, end):
    assert rendered(template, "What?", "Think.") == "<user>Think.\n\nWhat?" + end


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        (None, "What?\n"),
        (CHAT, "<system><user>What?<go>"),
        (NO_SYSTEM, "<user>What?<go>"),
        (DROPS_SYSTEM, "<user>What?<go>"),
    ],
    ids=["none", "plain", "refuses", "drops"],
)
def test_an_empty_system_prompt_loses_no_problem(rendered, template, expected):
    assert rendered(template, "What?", "") == expected


def test_a_template_that_refuses_everything(rendered):
    with pytest.raises(BackendError, match="got one that refuses it: never"):
        rendered("{{ raise_exception('never') }}", "What?", "Think.")


@pytest.mark.parametrize(
    "template", [LLAMA, "{{ strftime_now('%d %B %Y') }}\n" + CHAT, "{{ strftime_now('%Y-%m-%d') }}" + CHAT]
)
def test_the_prompt_is_the_same_on_every_day(rendered, monkeypatch, template):
    class Tomorrow(datetime.datetime):
        @classmethod
        def now(cls, tz=None):
            return cls(2031, 1, 2)

    today = rendered(template, "What?", "Think.")
    assert any(date in today for date in ("26 Jul 2024", "26 July 2024", "2024-07-26"))
    monkeypatch.setattr(chat_template_utils, "datetime", Tomorrow)
    assert rendered(template, "What?", "Think.") == today


@pytest.mark.parametrize("name", ["qwen2.5-math", "llama-3"])
def test_presets_are_the_settings_of_the_particle_filtering_paper(name):
    preset = preset_named(name)
    language = preset.for_language_model()
    assert language["boundary"] == Delimiter("\n\n") and language["stop"] == Boxed()
    assert r"\boxed{" in language["system_prompt"]
    limits = {"max_steps": 40, "max_step_tokens": 2048, "max_tokens": None}
    assert preset.for_state_space() == {"temperature": 0.8, "top_p": None, **limits}


def test_presets_fit_the_constructors(tiny_lm):
    for name, preset in PRESETS.items():
        assert preset.name == name and preset.source
        language_model = TransformersLanguageModel(tiny_lm.model, tiny_lm.tokenizer, **preset.for_language_model())
        LanguageModelStateSpace(language_model, None, **preset.for_state_space())
    with pytest.raises(ValueError, match=r"a preset among qwen2.5-math, llama-3, optscale, got 'gpt'"):
        preset_named("gpt")
