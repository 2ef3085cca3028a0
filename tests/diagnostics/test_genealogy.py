"""The arrangement of a genealogy: no crossings, the right descendants, and the texts of what was dropped as well."""

from dataclasses import replace

import numpy as np
import pytest

from ppl_scaling.diagnostics import plot_genealogy
from ppl_scaling.diagnostics.genealogy_layout import genealogy_layout, lay_out
from ppl_scaling.diagnostics.genealogy_nodes import genealogy_page_data
from ppl_scaling.inference import Genealogy
from tests.diagnostics.filters import filter_run


@pytest.mark.parametrize("seed", range(5))
def test_lines_do_not_cross_and_nobody_is_lost(seed):
    rng = np.random.default_rng(seed)
    table = rng.integers(0, 9, size=(6, 9))
    layout = lay_out(table)
    for t in range(6):
        assert sorted(layout.rank[t]) == list(range(9)) and layout.descendants[t].sum() == 9
    for t in range(1, 6):
        parents = layout.rank[t - 1, table[t, layout.order[t]]]
        assert (np.diff(parents) >= 0).all()
    lineages = Genealogy(table, np.ones(6, dtype=bool), 9).lineages()[1:]
    assert [set(np.flatnonzero(row)) for row in layout.descendants] == [set(row) for row in lineages]


def test_what_leads_to_the_answer_stands_first_and_the_dropped_last():
    result = filter_run(64)
    layout = genealogy_layout(result)
    kinds = np.where(layout.favoured[0], 0, np.where(layout.descendants[0] > 0, 1, 2))[layout.order[0]]
    # A first particle that also has descendants with another, weightier answer stands where that one belongs.
    assert kinds[0] == 0 and (np.diff(kinds[kinds != 0]) >= 0).all() and kinds[-1] == 2
    for t, particle in zip(*np.nonzero(layout.descendants), strict=True):
        heir = layout.trajectories[layout.heirs[t, particle]]
        if layout.active[t, particle] and result.texts_by_step[t][particle]:
            assert heir.text.startswith(
                "".join(result.texts_by_step[s][_ancestor(result, t, particle, s)] for s in range(t + 1))
            )
    np.testing.assert_allclose(layout.weights[-1], result.weights)


def _ancestor(result, t, particle, back_to):
    for s in range(t, back_to, -1):
        particle = result.ancestors[s, particle]
    return particle


def test_ends():
    result = filter_run(16)
    layout = genealogy_layout(result)
    for particle, one in enumerate(result.trajectories):
        slot = particle
        for t in range(layout.num_steps - 1, -1, -1):
            assert layout.active[t, slot] == (t < len(one.token_blocks))
            slot = layout.parents[t, slot]
    assert 1 <= layout.ends.sum() <= 16 and not (layout.ends & ~layout.active).any()


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"shape \(T, N\)"):
        lay_out([[]])
    with pytest.raises(ValueError, match="ancestors in 0 to 1, got 0 to 2"):
        lay_out([[0, 2]])
    with pytest.raises(ValueError, match=r"log_weights of shape \(1, 2\)"):
        lay_out([[0, 1]], log_weights=[0.0])
    with pytest.raises(ValueError, match="expected 2 trajectories"):
        lay_out([[0, 1]], trajectories=filter_run(1).trajectories)
    with pytest.raises(ValueError, match=r"texts of shape \(1, 2\)"):
        lay_out([[0, 1]], texts=[["a"]])
    with pytest.raises(ValueError, match=r"resampled of shape \(1,\)"):
        lay_out([[0, 1]], resampled=[True, False])


@pytest.mark.parametrize("num_particles", [1, 4, 256])
def test_the_picture_is_legible(num_particles):
    result = filter_run(num_particles)
    figure = plot_genealogy(result, title="a $title$")
    figure.draw_without_rendering()
    (axes,) = figure.axes
    boxes = [text.get_window_extent() for text in axes.texts]
    assert boxes and all(not one.overlaps(other) for place, one in enumerate(boxes) for other in boxes[:place])
    assert all(box.x1 <= figure.bbox.width and box.y0 >= 0 and box.y1 <= figure.bbox.height for box in boxes)
    assert axes.get_xlabel() == "step" and axes.get_ylabel().startswith(f"{num_particles} particle")
    points = sum(len(one.get_offsets()) for one in axes.collections if one.get_zorder() >= 5)
    assert points == genealogy_layout(result).active.sum()


def test_nodes_have_their_texts_also_those_that_were_dropped():
    result = filter_run(16)
    page = genealogy_page_data(result)
    texts, seen = page["data"]["texts"], {}
    for place, (step, particle, parent, weight, score, descendants, answer, text) in enumerate(page["data"]["nodes"]):
        assert texts[text] == result.texts_by_step[step - 1][particle - 1].strip()
        assert parent == (seen[step - 1, int(result.ancestors[step - 1, particle - 1]) + 1] if step > 1 else -1)
        assert 0 <= weight <= 1 and (score is None) == (descendants == 0) and (answer is None or descendants)
        seen[step, particle] = place
    assert any(not node[5] and texts[node[7]] for node in page["data"]["nodes"])
    assert len(page["nodes"]) == len(seen) and set(page["lines"]) == {"dropped", "surviving", "favoured"}
    without = genealogy_page_data(replace(result, texts_by_step=()))  # then the descendants tell
    for node in without["data"]["nodes"]:
        if node[5]:
            assert without["data"]["texts"][node[7]] == result.texts_by_step[node[0] - 1][node[1] - 1].strip()
