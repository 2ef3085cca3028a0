"""Several problems in one run against one run for each."""

from _stopwatch import alternate, timed

from ppl_scaling.inference import ParticleFilter
from ppl_scaling.models import LanguageModelStateSpace, OddsLikelihood


def fixed(load, num_problems, num_particles, num_steps, step_tokens, *, repeats, budget):
    """Texts of a fixed length: the same work on both sides."""
    with load.endless():
        filter_ = load.filter(num_particles, num_steps, step_tokens)
        cell = _compare(load, filter_, load.problems[:num_problems], repeats, budget)
    return {"texts": "fixed", "particles": num_particles, "steps": num_steps, "step_tokens": step_tokens, **cell}


def natural(load, num_problems, num_particles, *, repeats, budget):
    """Answers as the model writes them; groups end at different steps."""
    model = LanguageModelStateSpace(load.natural, load.reward, OddsLikelihood())
    filter_ = ParticleFilter(model, num_particles=num_particles)
    cell = _compare(load, filter_, load.problems[:num_problems], repeats, budget)
    return {"texts": "natural", "particles": num_particles, **cell}


def _compare(load, filter_, problems, repeats, budget):
    tokens = {"together": [], "one by one": []}

    def together(round_):
        seconds, results = timed(lambda: filter_.run_batch(problems, seed=round_), load.device)
        tokens["together"].append(sum(one.generated_tokens for one in results))
        return seconds

    def one_by_one(round_):
        def work():
            return [filter_.run(problem, seed=1000 * round_ + k) for k, problem in enumerate(problems)]

        seconds, results = timed(work, load.device)
        tokens["one by one"].append(sum(one.generated_tokens for one in results))
        return seconds

    seconds = alternate({"together": together, "one by one": one_by_one}, repeats=repeats, budget=budget)
    return {
        "problems": len(problems),
        "seconds": seconds,
        "generated_tokens": tokens,
        "ratio": min(seconds["one by one"]) / min(seconds["together"]),
    }
