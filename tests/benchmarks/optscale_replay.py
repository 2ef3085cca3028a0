"""Replay of stopping rules on pools of completions: what accuracy costs, over the whole grid of settings.

    OMP_NUM_THREADS=1 python tests/benchmarks/optscale_replay.py --picture frontier.png

Every rule selects the completion with the best score (self-consistency: the answer with most votes). Each pool is put in
many random orders; a rule's accuracy and completions are means over orders and problems. All families of rules have the most
completions as a setting beside their own (the papers' as published: theirs), so that best-of-N is a special case of each.

Which settings of a family are worth having is decided on the tuning problems: the upper hull of accuracy by completions. On
the test problems the family is the broken line through those settings. Reported are the completions at which it reaches the
accuracy of best-of-N, and the ratio to the best plug-in, with intervals from resampled test problems.

Pools: those of ``draw_pools.py``; and simulated ones with means and deviations of a verifier's scores on real problems
(``PPL_SCALING_DATA``), where shapes are Beta laws and a completion is right with the probability that its score says: these
two are assumptions, as the data have neither shapes nor labels.
"""

import argparse
import json
import os
import time
from pathlib import Path

import numpy as np
from _replay import Family, first_stop, pools_of
from _replay_rules import Dirichlet, Nodes, PlugIn, population_prior
from _replay_tables import compare, console, picture
from draw_pools import POOLS, load_pools
from scipy import special

from ppl_scaling.inference.optscale.evidence import Evidence, replay
from ppl_scaling.inference.optscale.rules import PriceRule
from ppl_scaling.models.scores import BetaScores, LogitNormalScores, TruncatedNormalScores

LENGTH = 64
CAPS = 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64
PEEKS = 3, 5, 10, 20
CONFIDENCES = 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.99
TARGET_QUANTILES = 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.975, 0.99, 0.995, 0.999
PRICES = np.geomspace(1e-4, 0.3, 24)
COVERED = 0.2, 0.3, 0.4, 0.5, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 0.975, 0.99, 0.999
VOTES = 0.6, 0.7, 0.8, 0.9, 0.95, 0.975, 0.99, 0.999


def embedded(path, num_orders, seed):
    """Pools of the embedded models: tuning problems, test problems."""
    stored = load_pools(path)
    scores = special.expit(stored["logit"].astype(float))
    scores = np.where(stored["answer"] < 0, 0.0, scores)  # what has no answer cannot be chosen
    made = pools_of(
        scores,
        stored["correct"].astype(float),
        stored["tokens"].astype(float),
        stored["answer"].astype(int),
        num_orders=num_orders,
        length=LENGTH,
        seed=seed,
    )
    return [
        [pool for pool, split in zip(made, stored["split"], strict=True) if split == one] for one in ("validation", "test")
    ]


def simulated(num_orders, seed, sizes=(100, 200)):
    """Pools with the means and deviations of real problems; None without the data."""
    path = Path(os.environ.get("PPL_SCALING_DATA", "nowhere")) / "optscale_train_mu_sigma_dict.json"
    if not path.exists():
        return None
    rows = np.array([(one["mean"], one["std"]) for one in json.loads(path.read_text()).values()])
    rows = rows[(rows[:, 1] > 1e-3) & (rows[:, 1] ** 2 < 0.98 * rows[:, 0] * (1 - rows[:, 0]))]
    rng = np.random.default_rng(seed)
    mean, deviation = rows[rng.choice(len(rows), sum(sizes), replace=False)].T[:, :, None]
    size = mean * (1 - mean) / deviation**2 - 1
    scores = rng.beta(mean * size, (1 - mean) * size, (sum(sizes), 128))
    correct = (rng.random(scores.shape) < scores).astype(float)
    wrong = rng.integers(1, 20, scores.shape)
    answers = np.where(correct == 1, 0, wrong)
    made = pools_of(scores, correct, np.ones_like(scores), answers, num_orders=num_orders, length=LENGTH, seed=seed)
    return [made[: sizes[0]], made[sizes[0] :]]


def families(tuning, test):
    """All rules on all problems, the tuning problems first."""
    pools = [*tuning, *test]
    known = [pool.scores[pool.scores > 0] for pool in tuning]
    targets = np.quantile(np.concatenate(known), TARGET_QUANTILES)
    orders = pools[0].order.shape[0]
    sizes = np.arange(1, LENGTH + 1)
    fixed = np.repeat(sizes[:, None], orders, 1)
    votes = [pool.votes() for pool in pools]

    def family(name, points, stops, chosen=None):
        right = [None if chosen is None else one[chosen] for one in votes]
        return Family(name, points, np.array([pool.worth(*one) for pool, *one in zip(pools, stops, right, strict=True)]))

    yield family("best-of-N", [f"N={n}" for n in sizes], [fixed] * len(pools))
    yield family("weighted vote", [f"N={n}" for n in sizes], [fixed] * len(pools), "weighted_right")
    yield family("majority vote", [f"N={n}" for n in sizes], [fixed] * len(pools), "right")
    confident = [special.betainc(one["second"] + 1, one["first"] + 1, 0.5) for one in votes]
    stops = [first_stop(one >= np.array(VOTES)[:, None, None], CAPS).reshape(-1, orders) for one in confident]
    yield family("adaptive self-consistency", [(c, cap) for c in VOTES for cap in CAPS], stops, "right")
    stops = [first_stop(pool.best >= targets[:, None, None], CAPS).reshape(-1, orders) for pool in pools]
    yield family("until the target", [(t, cap) for t in targets for cap in CAPS], stops)
    yield from answer_families(pools, known, votes, family)
    yield from plug_in_families(pools, known, targets, family)
    yield from our_families(pools, known, targets, family)


def answer_families(pools, known, votes, family):
    """Rules that need no law of scores: of scores taken for probabilities, and of scores and answers together.

    If a score is the probability of being right, those drawn are all wrong with the product of one minus each.

    A completion whose answer has been found already can hardly raise the best score, as the score of an answer varies
    little. So the expected gain of one more is the probability of an answer that has not been found (by Good and Turing:
    from how many were found once) times the gain that such an answer brings on average. And the answer with the best score
    is the more likely to be right the more often it was found.
    """
    orders, sizes = pools[0].order.shape[0], np.arange(1, LENGTH + 1)
    base = np.sort(np.concatenate(known))
    grid = np.linspace(0, 1, 1001)
    above = 1 - np.searchsorted(base, grid) / len(base)
    gain = np.append(np.cumsum(((above[1:] + above[:-1]) / 2 * np.diff(grid))[::-1])[::-1], 0.0)
    unseen, sure = [], []
    levels = np.geomspace(0.05, 6, 24)
    for pool, vote in zip(pools, votes, strict=True):
        expected = (vote["once"] + 1) / (sizes + 1) * np.interp(pool.best, grid, gain)
        unseen.append(first_stop(expected <= PRICES[:, None, None], CAPS).reshape(-1, orders))
        sure.append(first_stop(pool.best * vote["of_best"] >= levels[:, None, None], CAPS).reshape(-1, orders))
    reached = np.array(COVERED)[:, None, None]
    covered = [np.exp(np.log1p(-np.minimum(pool.seen, 1 - 1e-12)).cumsum(1)) <= 1 - reached for pool in pools]
    stops = [first_stop(one, CAPS).reshape(-1, orders) for one in covered]
    yield family("ours, coverage", [(c, cap) for c in COVERED for cap in CAPS], stops)
    yield family("ours, price, unseen answers", [(c, cap) for c in PRICES for cap in CAPS], unseen)
    yield family("ours, score x votes of its answer", [(c, cap) for c in levels for cap in CAPS], sure)


def plug_in_families(pools, known, targets, family):
    """The papers' rules: one fit after a peek, and one after every completion."""
    centre = float(np.mean([one.mean() for one in known])), float(np.mean([one.std() for one in known]))
    kinds = {"MLE": None, "MAP, prior of the paper": (0.8, 0.2), "MAP, prior of the tuning problems": centre}
    orders = pools[0].order.shape[0]
    alphas = np.log1p(-np.array(CONFIDENCES))
    for name, prior in kinds.items():
        fit = PlugIn(targets, prior)
        paper, peeked, sequential, reached = [], [], [], []
        for pool in pools:
            with np.errstate(divide="ignore"):
                needed = np.ceil(alphas[:, None, None, None] / np.minimum(fit.decide(pool), -1e-300))
            needed = np.moveaxis(needed, -1, 0)  # (targets, confidences, orders, length)
            at = np.stack([np.maximum(needed[..., peek - 1], peek) for peek in PEEKS])
            paper.append(
                np.concatenate([np.minimum(at[i], cap) for i, cap in enumerate((8, 16, 32, 64))]).reshape(-1, orders)
            )
            capped = np.minimum(at[..., None, :], np.array(CAPS)[:, None])
            peeked.append(capped.reshape(-1, orders).astype(int))
            stop = needed <= np.arange(1, LENGTH + 1)
            sequential.append(first_stop(stop, CAPS, earliest=2).reshape(-1, orders))
            stop |= (pool.best >= targets[:, None, None])[:, None]
            reached.append(first_stop(stop, CAPS, earliest=2).reshape(-1, orders))
        grid = [(t, c) for t in targets for c in CONFIDENCES]
        capped = [(t, c, cap) for t, c in grid for cap in CAPS]
        yield family(f"plug-in {name}, as published", [(k, *p) for k in PEEKS for p in grid], [p.astype(int) for p in paper])
        yield family(f"plug-in {name}, peek and cap tuned", [(k, *p) for k in PEEKS for p in capped], peeked)
        yield family(f"plug-in {name}, sequential", capped, sequential)
        yield family(f"plug-in {name}, sequential, stops at the target", capped, reached)


def our_families(pools, known, targets, family):
    """Rules of the posterior, by guarantee (renewed, or planned once) and by price."""
    laws = {}
    laws[LogitNormalScores.name, "default prior"] = Nodes(LogitNormalScores(), targets, CAPS, PEEKS, LENGTH)
    for kind in (LogitNormalScores, BetaScores):
        laws[kind.name, "prior of the tuning problems"] = Nodes(
            kind(population_prior(kind(), known)), targets, CAPS, PEEKS, LENGTH
        )
    laws["Dirichlet", "uniform base"] = Dirichlet(1.0, np.linspace(0, 1, 1001), targets, CAPS, PEEKS, LENGTH)
    for concentration in (4.0,):
        base = np.sort(np.concatenate(known))
        laws[f"Dirichlet {concentration:g}", "base of the tuning problems"] = Dirichlet(
            concentration, base, targets, CAPS, PEEKS, LENGTH
        )
    orders = pools[0].order.shape[0]
    doubts = 1 - np.array(CONFIDENCES)
    for (name, prior), law in laws.items():
        renewed, planned, priced, anew, worth = [], [], [], [], []
        for pool in pools:
            gain, missed, plans, fresh, mean = law.decide(pool)
            reached = pool.best >= targets[:, None, None]
            give_up = np.moveaxis(1 - missed, -1, 0)[:, None] < doubts[:, None, None, None]  # (targets, doubts, caps, ...)
            stop = give_up | reached[:, None, None]
            renewed.append(
                np.stack([first_stop(stop[:, :, i], [cap])[:, :, 0] for i, cap in enumerate(CAPS)], 2).reshape(-1, orders)
            )
            enough = np.moveaxis(plans, 2, 0)[:, None] <= doubts[:, None, None, None]  # (targets, doubts, peeks, orders, m)
            needed = np.where(enough.any(-1), enough.argmax(-1) + 1, LENGTH) + np.array(PEEKS)[:, None]
            until = reached.argmax(-1) + 1
            until = np.where(reached.any(-1), until, LENGTH)[:, None, None]
            total = np.maximum(np.minimum(needed, until), np.minimum(np.array(PEEKS)[:, None], until))
            planned.append(np.minimum(total[..., None, :], np.array(CAPS)[:, None]).reshape(-1, orders).astype(int))
            priced.append(first_stop(gain <= PRICES[:, None, None], CAPS).reshape(-1, orders))
            enough = np.moveaxis(fresh, -1, 0)[:, None] <= doubts[:, None, None]
            anew.append(first_stop(enough, CAPS).reshape(-1, orders))
            none = np.exp(np.log1p(-np.minimum(pool.seen, 1 - 1e-12)).cumsum(1))
            worth.append(first_stop(none * mean <= PRICES[:, None, None], CAPS).reshape(-1, orders))
        grid = [(t, c) for t in targets for c in CONFIDENCES]
        title = f"{name}, {prior}"
        yield family(f"ours, guarantee, {title}", [(*p, cap) for p in grid for cap in CAPS], renewed)
        yield family(f"ours, planned, {title}", [(*p, k, cap) for p in grid for k in PEEKS for cap in CAPS], planned)
        yield family(f"ours, price, {title}", [(c, cap) for c in PRICES for cap in CAPS], priced)
        yield family(f"ours, total, {title}", [(*p, cap) for p in grid for cap in CAPS], anew)
        yield family(f"ours, coverage by price, {title}", [(c, cap) for c in PRICES for cap in CAPS], worth)


def check(pools, model, num_pools=6, prices=(0.003, 0.03)):
    """Print how often the price rule of the library stops where the one on fixed nodes does, in the first order of pools."""
    law = Nodes(model, [0.5], CAPS, PEEKS, LENGTH)
    ours, theirs = [], []
    for pool in pools[:num_pools]:
        gain = law.decide(pool).gain
        scores = [score if answer >= 0 else None for score, answer in zip(pool.scores, pool.answers, strict=True)]
        evidence = Evidence([scores[i] for i in pool.order[0]], 0, model)
        for price in prices:
            ours.append(int(first_stop(gain <= price, [LENGTH])[0, 0]))
            theirs.append(replay(PriceRule(price), evidence)[-1].num_seen)
    console.print(f"{model.name}: stops on fixed nodes {ours}, by the library {theirs}", highlight=False)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--pools", type=Path, default=POOLS)
    parser.add_argument("--num-orders", type=int, default=16)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", choices=("embedded", "simulated"))
    parser.add_argument("--picture", type=Path)
    parser.add_argument("--check", action="store_true", help="compare some decisions with the library's and end")
    options = parser.parse_args()
    if options.check:
        tuning, _ = embedded(options.pools, 2, options.seed)
        for kind in (TruncatedNormalScores, BetaScores, LogitNormalScores):
            check(tuning, kind())
        return
    sets = {}
    if options.only != "simulated":
        sets["embedded models"] = embedded(options.pools, options.num_orders, options.seed)
    if options.only != "embedded":
        sets["real means and deviations"] = simulated(options.num_orders, options.seed)
    for name, pools in sets.items():
        if pools is None:
            console.print(f"{name}: left out, as PPL_SCALING_DATA names no folder with the data")
            continue
        started = time.perf_counter()
        found = list(families(*pools))
        console.print(f"\n[bold]{name}[/bold]: {len(pools[0])} tuning and {len(pools[1])} test problems")
        lines = compare(found, len(pools[0]))
        console.print(f"{time.perf_counter() - started:.0f} s")
        if options.picture:
            picture(lines, options.picture.with_stem(f"{options.picture.stem}-{name.split()[0]}"), name)


if __name__ == "__main__":
    main()
