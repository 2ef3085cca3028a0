"""What counts as a whole number and as a temperature, wherever one is asked for."""

import numpy as np
import pytest
import torch

from ppl_scaling.arguments import check_integer, check_temperature


@pytest.mark.parametrize("value", [3, np.int64(3), np.uint8(3), torch.tensor(3)])
def test_integers_of_all_kinds(value):
    found = check_integer("num_particles", value)
    assert found == 3 and type(found) is int


@pytest.mark.parametrize("value", [0, -1, 2.0, np.float64(2), "2", None, True, [2]])
def test_what_is_no_integer(value):
    with pytest.raises(ValueError, match=r"^expected num_particles to be an integer of at least 1, got "):
        check_integer("num_particles", value)


@pytest.mark.parametrize("value", [1, 0.7, np.float32(0.5), torch.tensor(2.0)])
def test_temperatures_of_all_kinds(value):
    found = check_temperature(value)
    assert found == float(value) and type(found) is float


@pytest.mark.parametrize("value", [0, -1.0, float("nan"), float("inf"), "0.7", "hot", None, True, [1.0]])
def test_what_is_no_temperature(value):
    with pytest.raises(ValueError, match=r"^expected a temperature above 0, got "):
        check_temperature(value)
