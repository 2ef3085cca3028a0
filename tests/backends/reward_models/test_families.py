"""Every family, incremental and across resampling, against the slow reading of its model card."""

import json

import pytest
import torch

from ppl_scaling.backends import load_reward_model
from tests.backends.reward_models.families import FAMILIES
from tests.backends.reward_models.tiny import PROBLEMS, STEPS, qwen_prm, qwen_tokenizer, skywork_prm

EACH = pytest.mark.parametrize(("family", "model", "tokenizer", "reading"), FAMILIES.values(), ids=FAMILIES)
APPEND_ONLY = {"token-classification", "qwen-math-prm", "skywork", "math-shepherd", "rlhflow"}
SELECTIONS = ([0, 1, 2, 3], [1, 0, 3, 3], [2, 0, 0], [1, 2, 2, 0, 0])


def walk(session):
    """Resample and score; yields the rows' problems and steps, and the logits."""
    histories = [(problem, ()) for problem in PROBLEMS for _ in range(2)]
    for t, rows in enumerate(SELECTIONS):
        session.select(torch.tensor(rows))
        steps = [STEPS[(2 * place + t) % len(STEPS)] for place in range(len(rows))]
        histories = [(histories[row][0], (*histories[row][1], step)) for row, step in zip(rows, steps, strict=True)]
        yield histories, session.score(steps)


@EACH
def test_scores_are_those_of_the_model_card(family, model, tokenizer, reading):
    model, tokenizer = model(), tokenizer()
    reward_model = family(model, tokenizer)
    assert reward_model.incremental
    if hasattr(reward_model, "_tokens_of"):
        assert reward_model._tokens_of.by_pieces, "a step is tokenised once"
    for histories, logits in walk(reward_model.start(PROBLEMS, 2)):
        assert logits.dtype == torch.float32
        with torch.no_grad():
            expected = torch.stack([reading(model, tokenizer, *history)[-1] for history in histories])
        torch.testing.assert_close(logits.sigmoid(), expected, atol=1e-5, rtol=1e-4)


@EACH
def test_scores_of_a_bfloat16_model_are_float32_logits(family, model, tokenizer, reading):
    model, tokenizer = model().to(torch.bfloat16), tokenizer()
    found = []
    for histories, logits in walk(family(model, tokenizer).start(PROBLEMS, 2)):
        with torch.no_grad():
            expected = torch.stack([reading(model, tokenizer, *history)[-1] for history in histories])
        torch.testing.assert_close(logits.sigmoid(), expected, atol=0.08, rtol=0)
        found.append(logits)
    found = torch.cat(found)
    assert found.dtype == torch.float32
    assert (found != found.bfloat16().float()).float().mean() > 0.5, "the head rounded to bfloat16"


@pytest.mark.parametrize("name", FAMILIES)
def test_a_token_passes_again_only_if_what_stands_before_it_has_changed(name):
    family, model, tokenizer, _ = FAMILIES[name]
    reward_model = family(model(), tokenizer())
    session = reward_model.start(PROBLEMS[:1], 1)
    held = reward_model.layout(PROBLEMS[0], [])
    expected = len(held)
    for end, step in enumerate(STEPS, start=1):
        layout = reward_model.layout(PROBLEMS[0], STEPS[:end])
        shared = next((i for i, (old, new) in enumerate(zip(held, layout, strict=False)) if old != new), len(held))
        if name in APPEND_ONLY and end > 1:
            assert shared == len(held)
        expected, held = expected + len(layout) - shared, layout
        session.score([step])
        assert session.tokens_forwarded.tolist() == [expected]
    if name in APPEND_ONLY:
        assert expected - len(layout) <= 2, "the end of the problem may merge with the first step, and that is all"


@pytest.mark.parametrize("name", FAMILIES)
def test_a_whole_prefix_is_the_card_with_everything_as_one_step(name):
    family, model, tokenizer, reading = FAMILIES[name]
    model, tokenizer = model(), tokenizer()
    reward_model = family(model, tokenizer, aggregation="whole-prefix")
    assert reward_model.scores_prefixes and "aggregation='whole-prefix'" in repr(reward_model)
    for histories, logits in walk(reward_model.start(PROBLEMS, 2)):
        with torch.no_grad():
            expected = torch.stack([reading(model, tokenizer, problem, ["".join(steps)])[0] for problem, steps in histories])
        torch.testing.assert_close(logits.sigmoid(), expected, atol=1e-5, rtol=1e-4)


NAMED = {"math-shepherd": "math-shepherd-mistral-7b-prm", "rlhflow": "Llama3.1-8B-PRM-Deepseek-Data"}


@pytest.mark.parametrize("name", [name for name in FAMILIES if name not in ("judge", "sequence-classification, two labels")])
def test_a_saved_checkpoint_is_recognised_and_scores_the_same(name, tmp_path, caplog):
    family, model, tokenizer, _ = FAMILIES[name]
    model, tokenizer = model(), tokenizer()
    path = tmp_path / NAMED.get(name, "checkpoint")
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    with caplog.at_level("INFO", logger="ppl_scaling"):
        loaded = load_reward_model(path, device="cpu", **getattr(family, "keywords", {}))
    assert type(loaded) is getattr(family, "func", family) and repr(loaded) in caplog.text
    expected = [logits for _, logits in walk(family(model, tokenizer).start(PROBLEMS, 2))]
    for logits, (_, again) in zip(expected, walk(loaded.start(PROBLEMS, 2)), strict=True):
        torch.testing.assert_close(again, logits)


@pytest.mark.parametrize(
    ("make", "architecture", "code"),
    [
        (qwen_prm, "Qwen2ForProcessRewardModel", "modeling_qwen2_rm"),
        (skywork_prm, "Qwen2ForPrmModel", "modeling_prm"),
    ],
)
def test_no_remote_code_is_run(make, architecture, code, tmp_path):
    path = tmp_path / "checkpoint"
    make().save_pretrained(path)
    qwen_tokenizer().save_pretrained(path)
    config = json.loads((path / "config.json").read_text())
    assert config["architectures"] == [architecture] and config["model_type"] == "qwen2"
    config["auto_map"] = {"AutoConfig": f"{code}.Config", "AutoModel": f"{code}.{architecture}"}
    (path / "config.json").write_text(json.dumps(config))
    (path / f"{code}.py").write_text("raise SystemExit('remote code was run')")
    assert load_reward_model(path, device="cpu").incremental
