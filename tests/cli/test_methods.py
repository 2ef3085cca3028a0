"""Methods by name, and what a budget means for each."""

from dataclasses import replace

import pytest

from ppl_scaling.backends.finite import FiniteLanguageModel, FunctionRewardModel
from ppl_scaling.cli.methods import METHODS, MethodSpec
from ppl_scaling.cli.models import Models
from ppl_scaling.cli.options import ModelOptions
from ppl_scaling.inference import Result
from ppl_scaling.models import DraftProposal, SamplingProposal, TwistLikelihood
from tests.worlds import LastLetter


@pytest.fixture
def models():
    language = FiniteLanguageModel({"": {"a": 0.5, "b": 0.3, "$": 0.2}})
    reward = FunctionRewardModel(lambda prompt, text: 0.9 if text.endswith("b") else 0.4)
    return Models(language, reward, ModelOptions(max_steps=4))


@pytest.mark.parametrize("name", METHODS)
def test_every_method_of_the_table_runs(models, name):
    spec = MethodSpec.parse(name)
    settings = {"num_iterations": 2} if "num_iterations" in spec.parameters else {}
    method = spec.with_settings(**settings).sized(None if spec.size is None else 4).build(models, LastLetter())
    outcomes = method.run_batch(["?", "!"], seed=3)
    assert all(isinstance(one, Result) and one.generated_tokens > 0 for one in outcomes)
    assert outcomes[0].method.startswith(method.method) and method.model.max_steps == 4


def test_settings_go_where_they_belong(models):
    text = "particle-filter:likelihood=twist, beta=2,max_steps=3,resampling=ssp,proposal_top_k=1,choice=best_score"
    method = MethodSpec.parse(text).with_settings(choice="mode", ess_threshold=0.25).sized(5).build(models, LastLetter())
    assert method.model.likelihood.beta == 2 and isinstance(method.model.likelihood, TwistLikelihood)
    assert method.model.max_steps == 3 and method.resampling.__name__ == "ssp" and method.choice == "best_score"
    assert isinstance(method.proposal, SamplingProposal) and method.ess_threshold == 0.25 and method.num_particles == 5


class Draft(FiniteLanguageModel):
    sessions = 0

    def start(self, *arguments, **settings):
        type(self).sessions += 1
        return super().start(*arguments, **settings)


@pytest.fixture
def drafted(models):
    draft = Draft({"": {"a": 0.4, "b": 0.3, "$": 0.3}})
    return replace(models, options=replace(models.options, draft="here"), draft_language_model=draft)


@pytest.mark.parametrize("name", [name for name in METHODS if MethodSpec(name, name).takes_proposal])
def test_every_method_with_a_proposal_takes_a_draft_model(drafted, name):
    Draft.sessions = 0
    settings = {"num_iterations": 2} if "num_iterations" in MethodSpec(name, name).parameters else {}
    spec = MethodSpec.parse(f"{name}:proposal_temperature=1.5").with_settings(**settings).sized(4)
    outcomes = spec.build(drafted, LastLetter()).run_batch(["?", "!"], seed=3)
    assert all(isinstance(one, Result) for one in outcomes) and Draft.sessions > 0
    spec.check(drafted.options)  # on stand-ins, without a draft


def test_a_draft_is_there_to_be_chosen(models, drafted):
    proposal = MethodSpec.parse("particle-filter:proposal_temperature=1.5").build(drafted, LastLetter()).proposal
    assert isinstance(proposal, DraftProposal) and proposal.temperature == 1.5
    assert MethodSpec.parse("particle-filter:draft=false").build(drafted, LastLetter()).proposal is None
    assert MethodSpec.parse("particle-filter:draft=true").build(drafted, LastLetter()).proposal is not None
    assert not MethodSpec.parse("majority-vote").takes_proposal
    with pytest.raises(ValueError, match="expected --draft with a language model for draft=true, got none"):
        MethodSpec.parse("particle-filter:draft=true").build(models, LastLetter())
    with pytest.raises(ValueError, match="draft to be true or false, got 'yes'"):
        MethodSpec.parse("particle-filter:draft=yes").build(drafted, LastLetter())
    with pytest.raises(ValueError, match="got 'draft'"):
        MethodSpec.parse("majority-vote:draft=true")


def test_values_are_json_or_texts():
    spec = MethodSpec.parse("parallel-tempering:powers=[1,0.5,0],num_iterations=3,ancestor_sampling=true,choice=sample")
    assert spec.settings == {"powers": [1, 0.5, 0], "num_iterations": 3, "ancestor_sampling": True, "choice": "sample"}


@pytest.mark.parametrize(
    ("text", "budget", "expected"),
    [
        ("particle-filter", 16, {"num_particles": 16}),
        ("majority-vote", 3, {"num_completions": 3}),
        ("adaptive-self-consistency", 8, {"max_completions": 8}),
        ("optscale:target_score=.9", 8, {"target_score": 0.9, "max_completions": 8}),
        ("optscale-replicates:max_replicates=2", 8, {"max_replicates": 2, "num_particles": 4}),
        ("greedy", 16, {}),
        ("particle-gibbs", 16, {"num_particles": 4}),
        ("particle-gibbs:num_iterations=2", 16, {"num_iterations": 2, "num_particles": 8}),
        ("particle-gibbs:num_particles=8", 16, {"num_particles": 8, "num_iterations": 2}),
        ("islands:num_replicates=2,ess_threshold=1", 8, {"num_replicates": 2, "ess_threshold": 1, "num_particles": 4}),
        ("parallel-tempering:powers=[1,0.5]", 32, {"powers": [1, 0.5], "num_particles": 4}),
        (
            "parallel-tempering:powers=[1,0.5],num_particles=2",
            32,
            {"powers": [1, 0.5], "num_particles": 2, "num_iterations": 8},
        ),
    ],
)
def test_budgets(text, budget, expected):
    assert MethodSpec.parse(text).budgeted(budget).settings == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("particle-filtre", "expected a method among .*, got 'particle-filtre'; did you mean 'particle-filter'"),
        ("x:y=1", "got 'x'$"),
        (
            "greedy:beam_width=2",
            "greedy takes .it has none. or one of likelihood and sampling, got 'beam_width'",
        ),
        ("particle-filter:num_particle=2", r"particle-filter takes \(num_particles, .*got 'num_particle'"),
        ("greedy:proposal_top_k=2", "got 'proposal_top_k'"),
        ("particle-filter:answer_format=2", "got 'answer_format'"),
        ("particle-filter:8", "as name:setting=value,setting=value, got 'particle-filter:8'"),
        ("particle-filter:=8", "got 'particle-filter:=8'"),
    ],
)
def test_mistakes_are_said(text, message):
    with pytest.raises(ValueError, match=message):
        MethodSpec.parse(text)


def test_budgets_that_do_not_fit_are_said(models):
    with pytest.raises(ValueError, match="a multiple of 4 for particle-gibbs, got 6"):
        MethodSpec.parse("particle-gibbs").budgeted(6)
    with pytest.raises(ValueError, match="num_particles or num_iterations to be left open"):
        MethodSpec.parse("particle-gibbs:num_particles=2,num_iterations=3").budgeted(6)
    with pytest.raises(ValueError, match="num_iterations to be at least 1, got 0"):
        MethodSpec.parse("particle-gibbs:num_iterations=0").budgeted(6)
    with pytest.raises(ValueError, match="no number of particles for greedy"):
        MethodSpec.parse("greedy").sized(3)
    with pytest.raises(ValueError, match="a likelihood among bernoulli, twist, odds, got 'gauss'"):
        MethodSpec.parse("particle-filter:likelihood=gauss").build(models, LastLetter())
