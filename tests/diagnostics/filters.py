"""Runs that the tests of pictures and reports look at."""

from dataclasses import replace
from functools import cache

from ppl_scaling.inference import ParticleFilter
from tests.worlds import LIKELIHOODS, LastLetter, early_ends

# White space, control characters, a lone surrogate, text that would turn around the page, and every way out of HTML.
EVIL = (
    "<script>document.title='caught'</script><img src=x onerror=\"document.title='caught'\">\n</script></title>&amp; "
    '" onload="x\' \u2028 ]]> <!-- \u202e \ud800 \0 \x1b $x_2$ \\frac{1 _ \u4e2d'
)


@cache
def filter_run(num_particles, seed=0):
    """A particle filter on a world of one-letter steps, resampled after every one."""
    method = ParticleFilter(
        early_ends(LIKELIHOODS["bernoulli"]), num_particles=num_particles, ess_threshold=1.0, answer_format=LastLetter()
    )
    return method.run("Which letter?", seed=seed)


def evil_run():
    """One in which the model has written things that would take over a page."""
    result = filter_run(16)
    answers = tuple(replace(one, answer=EVIL + one.answer) for one in result.answers)
    trajectories = tuple(
        replace(
            one,
            steps=tuple(EVIL + step for step in one.steps),
            text=EVIL + one.text,
            answer=None if one.answer is None else EVIL + one.answer,
        )
        for one in result.trajectories
    )
    return replace(
        result,
        problem=EVIL,
        method=EVIL,
        answer=answers[0].answer,
        answers=answers,
        trajectories=trajectories,
        texts_by_step=tuple(tuple(EVIL + text if text else "" for text in row) for row in result.texts_by_step),
        configuration={EVIL: EVIL, "ess_threshold": 1.0},
    )
