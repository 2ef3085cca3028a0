"""Plain arrays in ArviZ. These tests need no torch: CONTRIBUTING says how to run them under another ArviZ."""

import math
import warnings

import arviz
import numpy as np
import pytest
import xarray as xr

from ppl_scaling import arviz_export as export
from ppl_scaling import draw_statistics as statistics

IS_NEW = int(arviz.__version__.split(".")[0]) >= 1


def dataset(data, group):
    return data[group].to_dataset() if IS_NEW else data[group]


def groups_of(data):
    return set(data.children) if IS_NEW else set(data.groups())


def example():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(2, 5, 3))
    values[0, 0, 0], values[1, 1, 1], values[1, 1, 2] = math.nan, math.inf, -math.inf
    texts = np.array(["a\n\\boxed{1}", "", "Ω and \u2028"])
    groups = {
        "posterior": {
            "score": (("chain", "draw", "step"), values),
            "answer": (("chain", "draw"), np.array([[0, 1, -1, 0, 0], [1, 1, 1, 0, -1]])),
            "single": (("chain", "draw"), rng.normal(size=(2, 5)).astype(np.float32)),
        },
        "sample_stats": {
            "resampled": (("chain", "step"), np.array([[True, False, True], [False, False, True]])),
            "answer_text": (("chain", "draw"), np.array([["x", "yy", "", "zzz", "\n"]] * 2)),
        },
        "observed_data": {"y": (("step",), np.ones(3, dtype=np.int8))},
        "constant_data": {"problem": ((), "How many?"), "text": (("step",), texts)},
        "log_likelihood": {},
    }
    return groups, {"step": [1, 2, 3], "chain": [0, 1]}, {"configuration": '{"a": null}', "seed": 3}


def test_groups_dimensions_and_coordinates():
    groups, coords, attrs = example()
    data = export.build(groups, coords, attrs)
    assert isinstance(data, xr.DataTree if IS_NEW else arviz.InferenceData)
    assert groups_of(data) == {"posterior", "sample_stats", "observed_data", "constant_data"}
    for group, variables in groups.items():
        for name, (dims, values) in variables.items():
            found = data[group][name]
            assert found.dims == tuple(dims)
            np.testing.assert_array_equal(found.values, np.asarray(values))
    assert data["posterior"].step.values.tolist() == [1, 2, 3] and data["posterior"].draw.values.tolist() == list(range(5))
    assert dict(data.attrs) == attrs


def test_a_file_holds_all_of_it(tmp_path):
    data = export.build(*example())
    path = export.save(data, tmp_path / "out.nc")
    again = export.load(path)
    assert type(again) is type(data) and groups_of(again) == groups_of(data)
    assert dict(again.attrs) == dict(data.attrs)
    for group in groups_of(data):
        before, after = dataset(data, group), dataset(again, group)
        xr.testing.assert_identical(before, after)
        assert {name: one.dtype for name, one in after.variables.items()} == {
            n: v.dtype for n, v in before.variables.items()
        }
    export.save(again, path)  # no file is open, and it can be replaced
    assert [one.name for one in tmp_path.iterdir()] == ["out.nc"]
    mine, theirs = dataset(again, "posterior"), dataset(arviz.from_netcdf(str(path)), "posterior")
    xr.testing.assert_identical(mine, theirs)


def test_texts_that_a_file_cannot_hold_are_made_so(tmp_path):
    data = export.build({"constant_data": {"text": (("n",), np.array(["a\0b", "\ud800"], dtype=object))}})
    assert export.load(export.save(data, tmp_path / "x.nc"))["constant_data"]["text"].values.tolist() == ["a\u2400b", "?"]


@pytest.mark.parametrize("content", [None, b"", b"no such thing"])
def test_what_is_no_such_file(tmp_path, content):
    path = tmp_path / "broken.nc"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=r"expected a NetCDF file .*broken\.nc"):
        export.load(path)


def test_shapes_that_disagree():
    with pytest.raises(ValueError, match=r"expected posterior\.mu to have the dimensions \('chain', 'draw'\).*\(3,\)"):
        export.build({"posterior": {"mu": (("chain", "draw"), np.zeros(3))}})
    two = {"a": (("step",), np.zeros(3)), "b": (("step",), np.zeros(4))}
    with pytest.raises(ValueError, match=r"expected posterior\.b to have length 3 along 'step' as posterior\.a has, got 4"):
        export.build({"posterior": two})
    with pytest.raises(ValueError, match="as its coordinate has, got 3"):
        export.build({"posterior": {"a": two["a"]}}, {"step": [1, 2]})


def normal_log_likelihood(y, mu):
    return -0.5 * (y - mu[..., None]) ** 2 - 0.5 * math.log(2 * math.pi)


def test_loo_of_a_conjugate_model_is_near_its_exact_value():
    rng = np.random.default_rng(1)
    y = rng.normal(0.3, 1.0, size=40)
    mu = rng.normal(y.mean(), 1 / math.sqrt(40), size=(4, 1000))  # posterior under a flat prior
    found = statistics.loo(normal_log_likelihood(y, mu))
    others = (y.sum() - y) / 39  # the predictive law of one given the others is normal
    variance = 1 + 1 / 39
    exact = -0.5 * (y - others) ** 2 / variance - 0.5 * np.log(2 * math.pi * variance)
    # The Monte-Carlo error of each part is below .01 with 4000 draws of a posterior this near to that without one.
    np.testing.assert_allclose(found.pointwise, exact, atol=0.03)
    assert found.elpd == pytest.approx(found.pointwise.sum()) and found.p_loo == pytest.approx(1, abs=0.35)
    assert found.standard_error == pytest.approx(math.sqrt(40) * found.pointwise.std(), rel=0.03)
    assert found.pareto_k.shape == (40,) and (found.pareto_k < 0.7).all()


@pytest.mark.filterwarnings("ignore:The inplace keyword:DeprecationWarning")  # ArviZ 0.23 on pandas 3.1
def test_the_model_that_predicts_better_comes_first():
    rng = np.random.default_rng(2)
    y = rng.normal(0.0, 1.0, size=60)
    good = normal_log_likelihood(y, rng.normal(y.mean(), 0.13, size=(2, 500)))
    bad = normal_log_likelihood(y, rng.normal(y.mean() + 1.5, 0.13, size=(2, 400)))
    rows = statistics.compare({"bad": bad, "good": good})
    assert [one.name for one in rows] == ["good", "bad"] and [one.rank for one in rows] == [0, 1]
    assert rows[0].difference == 0 == rows[0].difference_standard_error
    assert rows[1].difference == pytest.approx(rows[1].elpd - rows[0].elpd) and rows[1].difference < 0
    raw = {name: statistics._loo(one, None)[1] for name, one in {"bad": bad, "good": good}.items()}
    table = arviz.compare(raw)
    assert rows[1].difference_standard_error == pytest.approx(table.loc["bad", "dse"], rel=0.05)
    assert sum(one.weight for one in rows) == pytest.approx(1) and rows[0].weight > 0.9
    assert [one.num_bad for one in rows] == [0, 0]


def test_arviz_says_when_loo_cannot_be_trusted():
    y = np.append(np.random.default_rng(3).normal(size=10), 30.0)
    mu = np.random.default_rng(4).normal(y.mean(), 0.3, size=(2, 300))
    with pytest.warns(UserWarning, match="Pareto"):
        assert statistics.loo(normal_log_likelihood(y, mu)).pareto_k[-1] > 0.7


@pytest.mark.parametrize("values", [np.zeros((3, 4)), np.zeros((2, 0, 3))])
def test_loo_wants_three_dimensions(values):
    with pytest.raises(ValueError, match=r"shape \(chain, draw, observation\), got"):
        statistics.loo(values)


def test_loo_and_compare_refuse_what_they_cannot_use():
    good = np.random.default_rng(0).normal(size=(2, 10, 3))
    bad = good.copy()
    bad[0, 0, 0] = -math.inf
    with pytest.raises(ValueError, match="to be finite, got 1 numbers"):
        statistics.loo(bad)
    with pytest.raises(ValueError, match="at least two models"):
        statistics.compare({"one": good})
    with pytest.raises(ValueError, match=r"the same observations .*'other': 2"):
        statistics.compare({"one": good, "other": good[:, :, :2]})


def test_diagnostics_of_chains():
    rng = np.random.default_rng(5)
    agreeing = rng.normal(size=(4, 250))
    apart = agreeing + np.arange(4)[:, None]
    assert statistics.rhat(agreeing) < 1.02 < 1.5 < statistics.rhat(apart)
    assert 600 < statistics.ess(agreeing) < 1500 and statistics.ess(apart) < 20
    assert statistics.mcse(agreeing) == pytest.approx(1 / math.sqrt(1000), rel=0.25)


@pytest.mark.parametrize(
    "draws",
    [np.zeros((2, 10)), np.array([[0.0, 1.0, 2.0]] * 2), np.full((2, 10), math.nan), np.zeros((0, 5))],
    ids=["all the same", "three draws", "no numbers", "no chains"],
)
def test_where_nothing_can_be_told_there_is_nan(draws):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert (
            math.isnan(statistics.rhat(draws)) and math.isnan(statistics.ess(draws)) and math.isnan(statistics.mcse(draws))
        )


def test_one_chain_has_an_ess_and_no_rhat():
    one = np.random.default_rng(6).normal(size=(1, 100))
    assert math.isnan(statistics.rhat(one)) and statistics.ess(one) > 50


def test_rhat_of_two_values_that_fold_into_one():
    draws = np.array([[0.0, 1.0] * 20] * 2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert 0.9 < statistics.rhat(draws) < 1.1


def test_draws_of_a_fit():
    draws = {"mu": np.zeros((2, 5)), "theta": np.zeros((2, 5, 3))}
    fit = export.from_draws(
        draws,
        log_likelihood={"s": np.zeros((2, 5, 4))},
        sample_stats={"diverging": np.zeros((2, 5), dtype=bool)},
        observed_data={"s": np.ones(4)},
        constant_data={"family": np.array("beta"), "grid": np.arange(6)},
    )
    assert groups_of(fit) == {"posterior", "log_likelihood", "sample_stats", "observed_data", "constant_data"}
    assert fit["posterior"]["theta"].dims == ("chain", "draw", "theta_dim_0")
    assert fit["log_likelihood"]["s"].dims == ("chain", "draw", "observation")
    with pytest.raises(ValueError, match=r"observed_data\.s to have length 4 along 'observation'"):
        export.from_draws(draws, log_likelihood={"s": np.zeros((2, 5, 4))}, observed_data={"s": np.ones(3)})
    with pytest.raises(ValueError, match=r"posterior\.mu to have the dimensions"):
        export.from_draws({"mu": np.zeros(5)})


def test_summary_is_number_by_number():
    draws = {"mu": np.random.default_rng(7).normal(size=(2, 100)), "ab": np.random.default_rng(8).normal(size=(2, 100, 2))}
    rows = statistics.summary(draws)
    assert [one.name for one in rows] == ["mu", "ab[0]", "ab[1]"]
    assert rows[2].mean == pytest.approx(draws["ab"][:, :, 1].mean()) and rows[0].ess_bulk == statistics.ess(draws["mu"])
    for shape in ((3,), (2, 0), (0, 3)):
        with pytest.raises(ValueError, match="mu to begin with draws along chain and draw"):
            statistics.summary({"mu": np.zeros(shape)})


def test_arviz_summarises_what_was_built():
    data = export.build({"posterior": {"mu": (("chain", "draw"), np.random.default_rng(9).normal(size=(2, 100)))}})
    assert np.ravel(np.asarray(arviz.rhat(data)["mu"]))[0] < 1.05
    assert list(arviz.summary(data).index) == ["mu"]
