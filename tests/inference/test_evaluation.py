"""Evaluations: what is recorded, what happens to problems that fail, and going on after interruptions of every kind."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ppl_scaling.inference.evaluation import Evaluation, evaluate
from ppl_scaling.inference.evaluation_file import read_evaluation
from ppl_scaling.tasks.arithmetic import generate_problems
from ppl_scaling.tasks.grading import Grade
from ppl_scaling.tasks.problem_files import Problem
from tests.inference.evaluations import PROBLEMS, SETTINGS, Coin, grade, particle_filter, without_times


def run(path, method=None, problems=PROBLEMS, *, settings=SETTINGS, seeds=(0, 1), batch_size=3, overwrite=False, **options):
    with Evaluation(
        problems, path, settings=settings, seeds=seeds, batch_size=batch_size, overwrite=overwrite
    ) as evaluation:
        return evaluation.run(method or particle_filter(), grade, **options)


@pytest.fixture(scope="module")
def complete(tmp_path_factory):
    path = tmp_path_factory.mktemp("complete") / "results.jsonl"
    run(path)
    return path


def test_a_line_a_problem_that_agrees_with_the_result(tmp_path):
    seen = []
    records = run(tmp_path / "results.jsonl", seeds=(5,), batch_size=4, on_record=seen.append, keep_trajectories=True)
    assert records == seen == read_evaluation(tmp_path / "results.jsonl")
    assert [one.index for one in records] == list(range(11)) and [one.id for one in records][:2] == ["p0", "p1"]
    second = [one.problem for one in PROBLEMS[4:8]]
    results = particle_filter().run_batch(second, seed=records[4].batch_seed)
    for record, result, problem in zip(records[4:8], results, PROBLEMS[4:8], strict=True):
        assert record.answer == result.answer and record.expected == problem.answer
        assert record.correct == (result.answer == problem.answer) and record.error is None
        assert record.log_evidence == result.log_evidence and record.num_trajectories == 4
        assert record.generated_tokens == result.generated_tokens and record.prm_calls == result.prm_calls
        assert record.lm_tokens_forwarded == result.lm_tokens_forwarded
        assert record.answers == [{"answer": one.answer, "probability": one.probability} for one in result.answers]
        assert record.trajectories == json.loads(json.dumps(result.to_dict()["trajectories"]))
    assert len({one.batch_seed for one in records}) == 3
    run(tmp_path / "without.jsonl", seeds=(5,))
    assert '"trajectories"' not in (tmp_path / "without.jsonl").read_text()


def test_seeds_repeat_the_problems_with_other_numbers(complete):
    records = read_evaluation(complete)
    assert [(one.seed, one.index) for one in records] == [(seed, index) for seed in (0, 1) for index in range(11)]
    assert len({one.batch_seed for one in records}) == 8


def test_a_complete_file_runs_nothing_again(complete):
    before = complete.read_bytes()
    method = Coin()
    assert len(run(complete, method)) == 22
    assert method.batches == [] and complete.read_bytes() == before


def test_going_on_from_any_byte_gives_the_same_file(tmp_path):
    path, complete = tmp_path / "results.jsonl", tmp_path / "complete.jsonl"
    run(complete, Coin())
    run(path, Coin())
    content = complete.read_bytes()
    lines = [position + 1 for position, byte in enumerate(content) if byte == ord("\n")]
    anywhere = random.Random(0).sample(range(len(content)), 25)
    for end in [0, 1, lines[0], lines[0] - 1, lines[1], lines[4] + 7, lines[-2], *anywhere]:
        path.write_bytes(content[:end])
        run(path, Coin())
        assert without_times(path) == without_times(complete)
        kept = sum(position <= end for position in lines)
        assert path.read_bytes()[: lines[kept - 1] if kept else 0] == content[: lines[kept - 1] if kept else 0]


def test_only_batches_that_miss_something_run_again(tmp_path):
    path = tmp_path / "results.jsonl"
    run(path, Coin(), seeds=(0,))
    before, lines = without_times(path), path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:4] + lines[5:9]))  # also from the middle of the file
    again = Coin()
    records = run(path, again, seeds=(0,))
    assert [len(batch) for batch in again.batches] == [3, 2]
    assert sorted(one.index for one in records) == list(range(11))
    assert sorted(without_times(path)) == sorted(before)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills forks")
def test_killed_at_random_moments_it_loses_and_repeats_nothing(complete, tmp_path):
    path = tmp_path / "results.jsonl"
    rng, seen, killed = random.Random(1), b"", 0
    command = [sys.executable, "-m", "tests.inference.evaluations", path]
    root = Path(__file__).parents[2]
    with subprocess.Popen(command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        for attempt in range(7):
            process.stdin.write("run\n")
            process.stdin.flush()
            child = int(process.stdout.readline())
            if attempt < 6:
                time.sleep(rng.uniform(0.0, 0.2))
                os.kill(child, signal.SIGKILL)
            ended = int(process.stdout.readline())
            killed += ended == -signal.SIGKILL
            now = path.read_bytes()
            assert now.startswith(seen)  # nothing is lost
            seen = now[: now.rfind(b"\n") + 1]
        assert ended == 0
        process.stdin.close()
    assert killed == 6  # a whole run takes longer than all of the waits together
    assert without_times(path) == without_times(complete)  # and nothing is repeated


def test_problems_that_fail_are_recorded_and_the_others_of_their_batch_run_alone(tmp_path):
    problems = [Problem(str(number), text, "a") for number, text in enumerate(["x", "bad", "y", "z", "dies", "w", "bad"])]
    path, method = tmp_path / "results.jsonl", Coin()
    records = run(path, method, problems, seeds=(0,))
    assert [len(batch) for batch in method.batches] == [3, 1, 1, 1, 3, 1]
    assert [one.error for one in records if one.id in "16"] == [
        "ValueError: expected a problem that fits, got a bad one"
    ] * 2
    assert records[4].error.startswith("AllWeightsZeroError: all particles of group 0")
    for one in records:
        assert (one.error is not None) == (one.id in "146")
        assert one.error is None or (not one.correct and one.answer is None)
        spent = one.generated_tokens, one.lm_tokens_forwarded, one.prm_tokens_forwarded, one.prm_calls
        assert (*spent, one.draft_tokens_forwarded) == ((3, 5, 7, 1, 2) if one.error is None else (0,) * 5)
    alone = Coin().run_batch(["x"], seed=records[0].batch_seed)[0]
    assert alone.answer == records[0].answer
    assert len({one.batch_seed for one in records}) == 5
    before, content = without_times(path), path.read_bytes()
    path.write_bytes(content[: len(content) // 3])
    run(path, Coin(), problems, seeds=(0,))
    assert without_times(path) == before


def test_other_errors_end_the_run_and_ctrl_c_does(tmp_path):
    class Broken(Coin):
        def _infer(self, problems, seed, on_step):
            if len(self.batches) == 2:
                raise self.kind("stop")
            return super()._infer(problems, seed, on_step)

    for kind in (KeyboardInterrupt, RuntimeError):
        method = Broken()
        method.kind = kind
        with pytest.raises(kind):
            run(tmp_path / kind.__name__, method)
        assert len(run(tmp_path / kind.__name__, Coin())) == 22


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"settings": {"method": "other"}}, "method was 'test', is 'other'. Give it another name, or use overwrite"),
        ({"settings": {"method": "test", "more": [1]}}, r"more was None, is \[1\]"),
        ({"seeds": (0,)}, r"seeds was \[0, 1\], is \[0\]"),
        ({"batch_size": 4}, "batch_size was 3, is 4"),
        ({"problems": PROBLEMS[:-1]}, "num_problems was 11, is 10"),
        ({"problems": [*PROBLEMS[:-1], Problem("p10", "?", "a")]}, "problems was '[0-9a-f]{64}', is"),
    ],
)
def test_other_settings_are_an_error(complete, changes, message):
    before = complete.read_bytes()
    with pytest.raises(ValueError, match=message):
        run(complete, Coin(), **changes)
    assert complete.read_bytes() == before


def test_overwriting_begins_again(tmp_path):
    path = tmp_path / "new folder" / "results.jsonl"
    run(path, Coin(), seeds=(0,))
    run(path, Coin(), settings={"method": "other"}, overwrite=True)
    assert len(read_evaluation(path)) == 22
    run(path, Coin(), settings={"method": "other"})


def test_files_of_other_kinds_are_not_touched(tmp_path, complete):
    (tmp_path / "text").write_text("my notes\n")
    with pytest.raises(ValueError, match=r"line 1 of .* to be a result of an evaluation, got b'my notes'"):
        run(tmp_path / "text")
    (tmp_path / "orphan").write_bytes(complete.read_bytes())
    for settings in (None, "[1, 2]", "{"):
        if settings is not None:
            (tmp_path / "orphan.settings.json").write_text(settings)
        with pytest.raises(ValueError, match=r"orphan.settings.json to say what settings"):
            run(tmp_path / "orphan")
    spoilt = complete.read_text().splitlines()
    spoilt[3] = spoilt[3][:-4]
    (tmp_path / "spoilt").write_text("\n".join(spoilt) + "\n")
    with pytest.raises(ValueError, match=r"line 4 of .*spoilt to be a result"):
        read_evaluation(tmp_path / "spoilt")
    with pytest.raises(ValueError, match=r"cannot read .*: No such file"):
        read_evaluation(tmp_path / "absent")
    with pytest.raises(ValueError, match="cannot open"):
        run(tmp_path)


def test_two_runs_do_not_write_one_file(tmp_path):
    pytest.importorskip("fcntl")
    with (
        Evaluation(PROBLEMS, tmp_path / "results.jsonl", settings=SETTINGS),
        pytest.raises(ValueError, match="another process is writing it"),
    ):
        Evaluation(PROBLEMS, tmp_path / "results.jsonl", settings=SETTINGS)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"problems": []}, "at least one problem, got none"),
        ({"batch_size": 0}, "batch_size to be an integer of at least 1, got 0"),
        ({"seeds": ()}, r"at least one seed, and seeds that differ, got \[\]"),
        ({"seeds": (1, 1)}, r"got \[1, 1\]"),
        ({"seeds": (-1,)}, "a seed to be an integer of at least 0, got -1"),
    ],
)
def test_settings_are_checked(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        run(tmp_path / "results.jsonl", Coin(), **changes)


def test_the_short_way(tmp_path):
    problems = [Problem("1", "?", "a"), Problem("2", "?", "b+0")]
    records = evaluate(particle_filter(), problems, tmp_path / "a.jsonl", seeds=(1,), batch_size=1)
    settings = json.loads((tmp_path / "a.jsonl.settings.json").read_text())
    assert settings["method"] == "particle filter" and settings["num_particles"] == 4
    assert evaluate(particle_filter(), problems, tmp_path / "a.jsonl", seeds=(1,), batch_size=1) == records
    with pytest.raises(ValueError, match="num_particles was 4, is 5"):
        evaluate(particle_filter(5), problems, tmp_path / "a.jsonl", seeds=(1,), batch_size=1)
    lost = evaluate(
        particle_filter(), problems, tmp_path / "b.jsonl", seeds=(1,), grade=lambda *_: Grade(False, timed_out=True)
    )
    assert all(one.grading_timed_out for one in lost)


def test_generated_problems_can_be_evaluated_as_they_are(tmp_path):
    problems = generate_problems(3, seed=1)
    assert len({one.id for one in problems}) == 3
    records = run(tmp_path / "results.jsonl", Coin(), problems=problems, seeds=(0,))
    assert [one.id for one in records] == [one.id for one in problems]
