"""Time of a hierarchical NUTS fit, and whether its chains agree.

    OMP_NUM_THREADS=1 python tests/benchmarks/score_hierarchy.py                # 500 problems, 16 scores each
    python tests/benchmarks/score_hierarchy.py --problems 50 --draws 100        # to see that it runs

The problems are simulated from a known hierarchy of logit-normal laws, so the fit can be held against the truth. Printed are
wall-clock seconds and seconds of the processor (on a busy machine the first are more), the worst R-hat and the smallest
effective sample size over the parameters of the population and of all problems, and the population beside the truth.
The chains run one after the other in one process.
"""

import argparse
import time

import numpy as np
import torch

from ppl_scaling.inference.optscale.fitting import fit_laplace, fit_nuts
from ppl_scaling.models.scores import HierarchicalScores, LogitNormalScores

TRUTH = {"location_mean": 1.5, "location_spread": 1.0, "log_scale_mean": -0.2, "log_scale_spread": 0.3}


def simulate(num_problems, num_scores, seed):
    generator = torch.Generator().manual_seed(seed)
    model = LogitNormalScores()
    noise = torch.randn(2, num_problems, dtype=torch.float64, generator=generator)
    named = zip(model.parameters, noise, strict=True)
    values = {name: TRUTH[f"{name}_mean"] + TRUTH[f"{name}_spread"] * row for name, row in named}
    return model.sample(values, (num_scores,), generator=generator).T.contiguous()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--problems", type=int, default=500)
    parser.add_argument("--scores", type=int, default=16)
    parser.add_argument("--chains", type=int, default=4)
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--warmup", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    scores = simulate(options.problems, options.scores, options.seed)
    hierarchy = HierarchicalScores(LogitNormalScores())
    settings = {"num_chains": options.chains, "num_draws": options.draws, "num_warmup": options.warmup}
    fits = {}
    for name, fit, extra in (("laplace", fit_laplace, {}), ("nuts", fit_nuts, settings)):
        wall, processor = time.perf_counter(), time.process_time()
        fits[name] = fit(hierarchy, scores, seed=options.seed, **extra)
        wall, processor = time.perf_counter() - wall, time.process_time() - processor
        print(f"{fits[name]!r}\n  {wall:.1f} s by the clock, {processor:.1f} s of the processor", flush=True)
    found = fits["nuts"].diagnostics
    steps = fits["nuts"].statistics["n_steps"]
    print(f"  worst R-hat {found.worst_r_hat:.4f}, smallest ESS {found.smallest_ess:.0f}, {found.num_divergent} divergent")
    print(f"  {steps.mean():.1f} gradients a draw, step size {fits['nuts'].statistics['step_size'].mean():.3f}")
    for name, truth in TRUTH.items():
        columns = [f"{one} {fit.draws[name].mean():.3f} +- {np.std(fit.draws[name]):.3f}" for one, fit in fits.items()]
        print(f"  {name}: truth {truth}, {', '.join(columns)}")


if __name__ == "__main__":
    main()
