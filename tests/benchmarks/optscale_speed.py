"""Milliseconds of an online decision, on one core: posterior from scratch, then the number that the target asks for.

    OMP_NUM_THREADS=1 python tests/benchmarks/optscale_speed.py

Times are of the processor, not of the clock, so other programs disturb them less; they still do, through its caches. The
first decision of each law, which imports and allocates, is not counted. The target is above all scores seen.
"""

import time

import numpy as np

from ppl_scaling.inference.optscale.decisions import required_completions, worthwhile_completions
from ppl_scaling.inference.optscale.quadrature import infer_scores
from ppl_scaling.models.scores import SCORE_MODELS, DirichletScores

NUMBERS = (3, 10, 64)
REPEATS = 7


def milliseconds(action):
    """Median processor time of an action, and what it returns."""
    times = []
    for _ in range(REPEATS):
        start = time.process_time()
        result = action()
        times.append(time.process_time() - start)
    return 1000 * float(np.median(times)), result


def main():
    """Print a table."""
    pool = np.random.default_rng(0).beta(8, 2, max(NUMBERS))
    print(f"{'law':22}{'scores':>7}{'posterior':>11}{'target':>9}{'price':>9}{'nodes':>8}{'precision':>11}")
    for model in [*(law() for law in SCORE_MODELS.values()), DirichletScores()]:
        for number in NUMBERS:
            scores = pool[:number]
            target = 0.5 * (1 + scores.max())

            def infer(model=model, scores=scores):
                return infer_scores(model, scores)

            def decide(infer=infer, target=target):
                return required_completions(infer(), target, 0.9)

            def price(infer=infer):
                return worthwhile_completions(infer(), 1e-3, 64)

            decide()
            times = [milliseconds(one) for one in (infer, decide, price)]
            (posterior_ms, posterior), (target_ms, _), (price_ms, _) = times
            nodes = len(getattr(posterior, "log_weights", ()))
            print(
                f"{model.name:22}{number:7d}{posterior_ms:11.2f}{target_ms:9.2f}{price_ms:9.2f}{nodes:8d}"
                f"{posterior.precision:11.0e}",
                flush=True,
            )


if __name__ == "__main__":
    main()
