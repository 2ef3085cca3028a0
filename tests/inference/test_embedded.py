"""The whole way on the embedded transformers: accounting, cache, reproducibility, limits."""

import pytest
import torch

from ppl_scaling.backends import TokenClassificationRewardModel, TransformersLanguageModel
from ppl_scaling.backends.prompts import render_prompt
from ppl_scaling.inference import ParticleFilter, SMCFilter, multinomial
from ppl_scaling.models import BernoulliLikelihood, LanguageModelStateSpace, SamplingProposal, TwistLikelihood
from ppl_scaling.models.pretrained import LANGUAGE_MODEL_PATH, REWARD_MODEL_PATH
from ppl_scaling.tasks import generate_problems

PROBLEMS = [one.problem for one in generate_problems(3, seed=11)]


@pytest.fixture(scope="module")
def models():
    return (
        TransformersLanguageModel.from_pretrained(LANGUAGE_MODEL_PATH, device="cpu"),
        TokenClassificationRewardModel.from_pretrained(REWARD_MODEL_PATH, device="cpu"),
    )


def filtered(model, proposal=None, num_particles=8, seed=0, **settings):
    """Run the filter over three problems, and keep all of it."""
    smc = SMCFilter(model, proposal, num_particles, num_groups=len(PROBLEMS), **settings)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        smc.init(PROBLEMS)
        for t in range(1, model.max_steps + 1):
            smc.step(t)
            ended = smc.state.ended().view(-1, num_particles).all(-1)
            if ended.all():
                break
            smc.retire(ended)
    return smc


@pytest.mark.parametrize("guided", [False, True], ids=["bootstrap", "temperature proposal"])
def test_every_token_is_forwarded_once(models, guided):
    """Equality, with resampling wherever weights differ: prompt and generated tokens once each through the LM, but for the
    last token of an answer that has ended, which nothing follows; every token of the PRM's input once through the PRM."""
    language, reward = models
    model = LanguageModelStateSpace(language, reward, BernoulliLikelihood())
    smc = filtered(
        model, SamplingProposal(model, temperature=0.8) if guided else None, ess_threshold=1.0, resampling=multinomial
    )
    sessions = smc.state.sessions["particles"]
    assert sum(int(record.resampled.sum()) for record in smc.history) >= 5
    for group, problem in enumerate(PROBLEMS):
        expected_lm = len(render_prompt(language.tokenizer, problem))
        expected_prm = len(render_prompt(reward.tokenizer, problem))
        had_ended = torch.zeros(8, dtype=torch.bool)
        for record in smc.history[1:]:
            if group not in record.groups:
                continue
            row = record.groups.index(group)
            slots = slice(8 * row, 8 * row + 8)
            had_ended = had_ended[record.ancestors[row]]
            ended = (record.finished | record.truncated)[row]
            expected_lm += sum(map(len, sessions.token_blocks[record.t][slots])) - int((ended & ~had_ended).sum())
            expected_prm += sum(
                len(reward.encode_step(text))
                for text, length in zip(
                    sessions.texts[record.t][slots], map(len, sessions.token_blocks[record.t][slots]), strict=True
                )
                if length
            )
            had_ended = ended
        assert int(sessions.language.tokens_forwarded[group]) == expected_lm
        assert int(sessions.reward.tokens_forwarded[group]) == expected_prm


def test_what_was_sampled_has_the_probability_and_the_score_that_recomputing_gives(models):
    """Gathered caches against passes from scratch, to 1e-4, along every surviving trajectory."""
    language, reward = models
    model = LanguageModelStateSpace(language, reward, TwistLikelihood(beta=3.0))
    result = ParticleFilter(model, num_particles=8, ess_threshold=1.0, resampling=multinomial).run(PROBLEMS[0], seed=1)
    for trajectory in result.trajectories:
        tokens = render_prompt(reward.tokenizer, PROBLEMS[0])
        for step, score in zip(trajectory.steps, trajectory.scores, strict=True):
            tokens = tokens + reward.encode_step(step)
            with torch.no_grad():
                logits = reward.model(torch.tensor([tokens])).logits[0, -1]
            assert float(torch.sigmoid(logits[1] - logits[0])) == pytest.approx(score, abs=1e-4)
        assert len(trajectory.steps) == len(trajectory.scores)


def test_same_seed_same_result(models):
    model = LanguageModelStateSpace(*models)
    first, second = (ParticleFilter(model, num_particles=4).run(PROBLEMS[1], seed=5) for _ in range(2))
    assert first.log_evidence == second.log_evidence
    assert [one.text for one in first.trajectories] == [one.text for one in second.trajectories]


def test_groups_and_single_runs_agree_on_what_they_score(models):
    """The same text gets the same score whether its problem runs alone or beside others of other lengths."""
    model = LanguageModelStateSpace(*models)
    smc = ParticleFilter(model, num_particles=6)
    for problem, together in zip(PROBLEMS, smc.run_batch(PROBLEMS, seed=2), strict=True):
        for trajectory in together.trajectories[:2]:
            session = model.reward_model.start([problem], 1)
            logits = [float(session.score([step])) for step in trajectory.steps]
            assert torch.tensor(logits).sigmoid().tolist() == pytest.approx(list(trajectory.scores), abs=1e-4)


def test_twist_evidence_is_the_mean_final_score(models):
    """Without resampling the evidence under TwistLikelihood is the plain average of the last scores."""
    model = LanguageModelStateSpace(*models, TwistLikelihood())
    result = ParticleFilter(model, num_particles=8, ess_threshold=1e-9).run(PROBLEMS[2], seed=3)
    assert result.log_evidence == pytest.approx(float(torch.tensor(result.scores).mean().log()), abs=1e-9)


def test_truncation_by_tokens_and_by_the_reward_models_context(models):
    language, reward = models
    model = LanguageModelStateSpace(language, reward, max_tokens=12, max_step_tokens=5)
    result = ParticleFilter(model, num_particles=4).run(PROBLEMS[0], seed=0)
    assert result.truncated.all() and result.answer is None
    assert max(one.num_tokens for one in result.trajectories) <= 12
    prompt = len(render_prompt(reward.tokenizer, PROBLEMS[0]))
    small = TokenClassificationRewardModel(reward.model, reward.tokenizer)
    small.context_length = prompt + 40
    result = ParticleFilter(LanguageModelStateSpace(language, small), num_particles=8).run(PROBLEMS[0], seed=0)
    assert result.truncated.any() and result.log_evidence < 0


def test_prompts_that_do_not_fit(models):
    language, reward = models
    smc = ParticleFilter(LanguageModelStateSpace(language, reward), num_particles=2)
    with pytest.raises(ValueError, match=r"a prompt shorter than the model's context of [0-9]+ tokens, got one of [0-9]+"):
        smc.run("word " * 2000)


def test_bfloat16_models_keep_weights_in_float64():
    models = (
        TransformersLanguageModel.from_pretrained(LANGUAGE_MODEL_PATH, device="cpu", dtype="bfloat16"),
        TokenClassificationRewardModel.from_pretrained(REWARD_MODEL_PATH, device="cpu", dtype="bfloat16"),
    )
    smc = filtered(LanguageModelStateSpace(*models))
    assert smc.log_weights.dtype == torch.float64 and smc.log_evidence.isfinite().all()
    assert models[0].model.dtype == models[1].model.dtype == torch.bfloat16
