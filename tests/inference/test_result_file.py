"""Results on disk: what is read is what was saved, whatever kind of result it is, or there is a clear error."""

import dataclasses
import json
import math
import types
import typing
from collections.abc import Mapping

import numpy as np
import pytest
from scipy import stats

from ppl_scaling.errors import AllWeightsZeroError, PPLScalingError
from ppl_scaling.inference import (
    AdaptiveSelfConsistency,
    BestOfN,
    Islands,
    ParallelTempering,
    ParticleFilter,
    Result,
    load_result,
)
from ppl_scaling.inference.optscale import Evidence, OptScale
from ppl_scaling.inference.result_file import _check_sum, _decode, _encode, save_result
from ppl_scaling.models.scores import BetaScores, DirichletScores, LogitNormalScores, Prior
from tests.worlds import LIKELIHOODS, LastLetter, early_ends


def kinds(base=Result):
    """All kinds of result of the library, whoever adds one."""
    return [base] + [one for child in base.__subclasses__() for one in kinds(child) if one.__module__.startswith("ppl_s")]


FLOATS = (0.1, -0.0, 1 / 3, 5e-324, 1.7976931348623157e308, math.nan, math.inf, -math.inf, 2.0)


def made_up(hint, place=0):
    """A value of the type, with whatever such a type can hold that is hard to keep."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is typing.Any:
        return {"a": [1, (2.5, None)], "$": "\ud800 \0 \u2028 \\", "n": np.float32(0.1), 3: math.nan}
    if hint in (str, int, float, bool, type(None)):
        values = {str: ("Ω\n<b>\\boxed{1}", ""), int: (2**70, -1), float: FLOATS, bool: (True, False)}
        return values[hint][place % len(values[hint])] if hint in values else None
    if origin in (typing.Union, types.UnionType):
        return made_up(arguments[place % len(arguments)], place)
    if origin is tuple:
        parts = [arguments[0]] * 9 if arguments[-1] is Ellipsis else arguments
        return tuple(made_up(part, number) for number, part in enumerate(parts))
    if hint is Evidence:  # checks what it is given
        return Evidence((1 / 3, None, 1.0), 2**70, BetaScores(), answers=(0, None, 1), tokens=(1, 2, 3))
    if origin is list:
        return [made_up(arguments[0], number) for number in range(3)]
    if origin is np.ndarray:
        dtype = (typing.get_args(arguments[1]) or (np.float32,))[0]
        dtype = np.dtype(np.float32 if dtype is typing.Any else dtype)
        if dtype.kind == "f":
            with np.errstate(over="ignore", under="ignore"):
                return np.array(FLOATS).astype(dtype).reshape(3, 3)
        return np.array([[0, 1, 1], [1, 0, 0]], dtype=dtype)[:, : place % 4]
    if origin is not None and issubclass(origin, Mapping):
        return {f"key {number}": made_up(arguments[1], number) for number in range(2)}
    if isinstance(hint, type) and issubclass(hint, np.generic):
        return hint(1)
    assert dataclasses.is_dataclass(hint), f"the test does not know what a {hint} is"
    hints = typing.get_type_hints(hint)
    names = [one.name for one in dataclasses.fields(hint) if one.init]
    return hint(**{name: made_up(hints[name], place + number) for number, name in enumerate(names)})


def assert_same(first, second, where="result"):
    assert type(first) is type(second), where
    if hasattr(first, "saved_arguments"):
        return assert_same(first.saved_arguments(), second.saved_arguments(), where)
    if dataclasses.is_dataclass(first):
        for one in dataclasses.fields(first):
            assert_same(getattr(first, one.name), getattr(second, one.name), f"{where}.{one.name}")
    elif isinstance(first, np.ndarray | np.generic):
        assert first.dtype == second.dtype and first.shape == second.shape, where
        np.testing.assert_array_equal(first, second, err_msg=where)
        if first.dtype.kind == "f":
            np.testing.assert_array_equal(np.signbit(first), np.signbit(second), err_msg=where)
    elif isinstance(first, float):
        assert repr(first) == repr(second), where
    elif isinstance(first, dict):
        assert list(first) == list(second), where
        for key in first:
            assert_same(first[key], second[key], f"{where}[{key!r}]")
    elif isinstance(first, tuple | list):
        assert len(first) == len(second), where
        for place, (one, other) in enumerate(zip(first, second, strict=True)):
            assert_same(one, other, f"{where}[{place}]")
    elif isinstance(first, PPLScalingError):
        assert str(first) == str(second)
        assert_same(vars(first), vars(second), where)
    else:
        assert first == second, where


@pytest.mark.parametrize("kind", kinds(), ids=lambda kind: kind.__name__)
def test_every_kind_of_result_comes_back_as_it_was(kind, tmp_path):
    result = made_up(kind)
    path = result.save(tmp_path / "deep" / "result.json")
    assert_same(result, load_result(path))
    assert path.read_bytes().isascii() and [one.name for one in path.parent.iterdir()] == ["result.json"]


@pytest.mark.parametrize(
    "method",
    [
        lambda model, **settings: ParticleFilter(model, num_particles=8, **settings),
        lambda model, **settings: ParallelTempering(model, num_particles=3, num_iterations=4, **settings),
        lambda model, **settings: Islands(ParticleFilter(model, num_particles=4, **settings), num_replicates=2),
        lambda model, **settings: BestOfN(model, num_completions=4, **settings),
        lambda model, **settings: AdaptiveSelfConsistency(model, **settings),
    ],
    ids=["particle filter", "parallel tempering", "islands", "best of n", "adaptive"],
)
def test_results_of_runs(method, tmp_path):
    result = method(early_ends(LIKELIHOODS["bernoulli"]), answer_format=LastLetter()).run("?", seed=1)
    again = load_result(result.save(tmp_path / "result.json"))
    assert_same(result, again)
    assert again.to_dict() == result.to_dict() and repr(again) == repr(result)


def test_replicates_that_failed_keep_their_error(tmp_path):
    result = Islands(ParticleFilter(early_ends(LIKELIHOODS["bernoulli"]), num_particles=4, answer_format=LastLetter()))
    result = result.run("?", seed=0)
    result = dataclasses.replace(result, replicates=(result.replicates[0], AllWeightsZeroError(3, 1, "y_3")))
    again = load_result(result.save(tmp_path / "result.json")).replicates[1]
    assert type(again) is AllWeightsZeroError and again.step == 3 and again.group == 1 and "group 1" in str(again)


@pytest.fixture
def saved(tmp_path):
    return made_up(Result).save(tmp_path / "result.json")


def changed(path, **entries):
    path.write_text(json.dumps(json.loads(path.read_text()) | entries))


def test_a_file_that_is_cut_or_changed(saved):
    content = saved.read_text()
    for damaged in (content[: len(content) // 2], "", content.replace("0.1", "0.2", 1)):
        saved.write_text(damaged)
        with pytest.raises(ValueError, match=r"(was cut|was damaged or changed)"):
            load_result(saved)
    saved.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="no JSON"):
        load_result(saved)


def test_another_version_or_another_format(saved, tmp_path):
    changed(saved, version=99)
    with pytest.raises(ValueError, match=r"expected a result of version 1, .* has version 99"):
        load_result(saved)
    changed(saved, format="something else")
    with pytest.raises(ValueError, match="does not say that it is a 'ppl-scaling result'"):
        load_result(saved)
    saved.write_text("[1, 2]")
    with pytest.raises(ValueError, match="does not say"):
        load_result(saved)
    with pytest.raises(ValueError, match=r"cannot read .*nowhere"):
        load_result(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="cannot write"):
        made_up(Result).save(tmp_path)


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class OwnResult(Result):
    extra: int


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere.at_all:Thing", "module nowhere.at_all, which is not loaded; import it first"),
        ("subprocess:Popen", "neither a dataclass nor an error"),
        ("ppl_scaling.inference.results:Missing", "does not fit"),
        ("ppl_scaling.inference.results:ParticleFilterResult", "missing .* required"),
        ("ppl_scaling.inference.answers:Answer", "does not fit"),
    ],
)
def test_a_file_can_name_only_data(saved, name, message):
    content = json.loads(saved.read_text())["result"] | {"type": name}
    changed(saved, result=content, sha256=_check_sum(content))
    with pytest.raises(ValueError, match=message):
        load_result(saved)


def test_own_kinds_of_result(tmp_path):
    fields = {one.name: getattr(made_up(Result), one.name) for one in dataclasses.fields(Result)}
    assert load_result(OwnResult(**fields, extra=3).save(tmp_path / "own")).extra == 3


def test_what_cannot_be_saved_is_named_and_leaves_no_file(tmp_path):
    result = dataclasses.replace(made_up(Result), configuration={"model": object()})
    with pytest.raises(TypeError, match=r"expected Result\.configuration\['model'\] to be made of .*, got a object"):
        result.save(tmp_path / "x")
    for array in (np.array([object()]), np.array([1j])):
        with pytest.raises(TypeError, match=r"to be an array of bool, int, float or text"):
            dataclasses.replace(result, configuration={"a": array}).save(tmp_path / "x")
    with pytest.raises(TypeError, match="expected a Result to save, got dict"):
        save_result({}, tmp_path / "x")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "law", [BetaScores(), LogitNormalScores(Prior({"location": 1, "log_scale": 0}, {"location": 2, "log_scale": 1}))]
)
def test_laws_of_scores_are_made_again(law, tmp_path):
    result = OptScale(
        early_ends(LIKELIHOODS["bernoulli"]), target_score=0.9, confidence=0.5, max_completions=4, score_model=law
    ).run("?", seed=0)
    again = load_result(result.save(tmp_path / "result.json"))
    assert repr(again.evidence.score_model) == repr(law)
    np.testing.assert_equal(again.best_score, result.best_score)


def test_a_dirichlet_process_is_made_again():
    law = _decode(json.loads(json.dumps(_encode(DirichletScores(2.5, bins=[0, 0.5, 1]), "law"))))
    assert law.concentration == 2.5 and law.edges.tolist() == [0, 0.5, 1]
    with pytest.raises(TypeError, match="expected a StepLaw as base law"):
        _encode(DirichletScores(1.0, stats.beta(2, 1)), "law")
