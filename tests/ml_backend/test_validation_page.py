"""Curves over a filmstrip: one picture a trajectory, at one scale, as far as the strip shows it."""

import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from ml_backend.reward.model import Dense
from ml_backend.validation.page import HEIGHT, WIDTH, curves, largest


def dense(rewards, **outcomes):
    return Dense(np.array(rewards, float), {name: np.array(values, float) for name, values in outcomes.items()})


def drawn(text):
    root = ET.fromstring(text)
    lines = [line.attrib["points"] for line in root.findall("polyline")]
    points = [np.array([point.split(",") for point in line.split()], float) for line in lines]
    return root.attrib["aria-label"], points


def test_the_reward_is_drawn_around_the_middle_and_outcomes_from_bottom_to_top():
    one = dense([[-0.5, 0.0, 0.5], [-0.5, 0.0, 0.5]], progress=[[0, 0.5, 1.0]] * 2)
    words, (reward, progress) = drawn(curves(one, 1.5, 1.0, "a & b"))
    assert reward[:, 0].tolist() == [0, WIDTH / 2, WIDTH] and reward[1, 1] == HEIGHT / 2
    assert reward[0, 1] > HEIGHT / 2 > reward[2, 1], "up is better"
    assert progress[:, 1].tolist() == [reward[0, 1], HEIGHT / 2, reward[2, 1]]
    assert words.startswith("a & b: reward of the steps from -1.50 to 1.50; progress up to 1.00 ± 0.00")


def test_only_what_the_strip_covers_is_drawn():
    one = dense([np.arange(11)])
    assert len(drawn(curves(one, 1.0, 0.5, "t"))[1][0]) == 6
    assert len(drawn(curves(dense([[1.0]]), 1.0, 1.0, "t"))[1][0]) == 1


@pytest.mark.parametrize("found", [[], [dense([[0.0, 0.0]])]])
def test_nothing_to_show_is_no_division_by_zero(found):
    assert largest(found) == 1.0
    assert not any(re.search("nan|inf", curves(one, largest(found), 1.0, "t")) for one in found)
