"""The exact law of when a rule stops and with what, by listing, on a world whose law of scores is known."""

import itertools
import math
from collections import defaultdict

from ppl_scaling.backends.finite import FiniteLanguageModel, FunctionRewardModel
from ppl_scaling.inference.optscale import AnswerRule, Evidence, GuaranteeRule, PriceRule
from ppl_scaling.models import LanguageModelStateSpace
from ppl_scaling.models.scores.dirichlet import DirichletScores
from tests.inference.baselines import laws

LAW = DirichletScores(1.0)
RULES = {
    "guarantee": GuaranteeRule(0.6, 0.5, give_up_below=0.1),
    "kept plan": GuaranteeRule(0.75, 0.4, give_up_below=0.0, peek=2),
    "price": PriceRule(0.03),
    "answer": AnswerRule(0.8),
}


def five_ends(likelihood):
    """Answers of three scores, two of them alike, and one completion in seven that is cut."""
    table = {"": {"a": 0.3, "b": 0.4, "c": 0.3}, "a": {"$": 1.0}, "b": {"$": 1.0}, "c": {"b": 0.5, "c": 0.5}}
    scores = {"a": 0.8, "b": 0.5, "cb": 0.65}
    reward = FunctionRewardModel(lambda prompt, text: scores.get(text, 0.9))
    return LanguageModelStateSpace(FiniteLanguageModel(table), reward, likelihood, max_steps=3)


def law_of_the_end(model, rule, limit, round_size):
    """Law of (answer, number of completions, why it stopped) by listing all sequences of completions."""
    pairs = laws.outcomes(model).items()
    known = {}
    law = defaultdict(float)

    def go_on(drawn, probability):
        shown = tuple(sorted((score for answer, score in drawn if answer is not None), reverse=True))
        letters = [answer for answer, _ in drawn]
        numbers = tuple(None if one is None else letters.index(one) for one in letters)
        key = shown, len(drawn), tuple(sorted(map(str, numbers))) if isinstance(rule, AnswerRule) else None
        key = drawn if getattr(rule, "peek", None) else key
        if key not in known:
            scores = tuple(None if answer is None else score for answer, score in drawn)
            known[key] = rule.decide(Evidence(scores, limit - len(drawn), LAW, numbers))
        decision = known[key]
        if decision.stop or len(drawn) == limit:
            best = max((pair for pair in drawn if pair[0] is not None), key=lambda pair: pair[1], default=(None, 0))
            law[best[0], len(drawn), decision.because if decision.stop else "max_completions"] += probability
            return
        number = min(decision.further, round_size, limit - len(drawn))
        for more in itertools.product(pairs, repeat=number):
            go_on((*drawn, *(one for one, _ in more)), probability * math.prod(p for _, p in more))

    for first, probability in pairs:
        go_on((first,), probability)
    return law
