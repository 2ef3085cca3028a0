"""Records of an evaluation put together by hand, or drawn from a world in which what is stated is right or wrong."""

import numpy as np

from ppl_scaling.inference import EvaluationRecord


def record(index, answers, expected, *, seed=0, error=None, trajectories=None, num_trajectories=8):
    answer = next(iter(answers), None)
    return EvaluationRecord(
        index=index,
        id=f"p{index}",
        seed=seed,
        expected=expected,
        answer=answer,
        correct=answer == expected,
        grading_timed_out=False,
        error=error,
        answers=[{"answer": name, "probability": p, "standard_error": None} for name, p in answers.items()],
        no_answer_probability=1 - sum(answers.values()),
        log_evidence=-1.0,
        num_trajectories=num_trajectories,
        num_finished=num_trajectories,
        num_truncated=0,
        generated_tokens=1,
        lm_tokens_forwarded=1,
        prm_tokens_forwarded=1,
        prm_calls=1,
        batch_seed=0,
        seconds=0.1,
        trajectories=trajectories,
    )


class Numbers:
    def extract(self, text):
        return text

    def equivalent(self, first, second):
        return float(first) == float(second)


def world(number, sharpness=1.0, seed=0):
    """Records of problems whose first of three answers is right with probability p, and stated as p to a power."""
    rng = np.random.default_rng(seed)
    records = []
    for index in range(number):
        truth = rng.dirichlet([4.0, 1.0, 1.0])
        names = np.array(["1", "2", "3"])
        stated = truth**sharpness / (truth**sharpness).sum()
        order = np.argsort(-stated)
        answers = {str(names[place]): float(stated[place]) for place in order}
        records.append(record(index, answers, str(rng.choice(names, p=truth))))
    return records
