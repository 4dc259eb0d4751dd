"""Measures of quality and the trim rule, against cases worked by hand and published values."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from importer.pool.episode import Episode
from importer.pool.quality import (
    grasp_stability,
    path_efficiency,
    percentile_ranks,
    quartiles,
    rank_pool,
    score,
    smoothness,
    sparc,
    tier_names,
)
from importer.pool.trim import first_action_row, noise, trim
from preference.records import Trajectory

FPS = 20.0


def trajectory(number: int, **fields) -> Trajectory:
    return Trajectory(f"d-{number:06d}", "d", number, fields.pop("source", "novice"), "reach", **fields)


def episode(actions: np.ndarray, state: np.ndarray | None = None, done: int | None = None) -> Episode:
    rows = len(actions)
    nan = np.full(rows, np.nan)
    success_rows = np.arange(rows) >= (rows if done is None else done)
    return Episode(
        0, "reach", "", "novice", "", None, math.nan, math.nan, FPS, np.arange(rows) / FPS, actions.reshape(rows, -1),
        np.empty((rows, 0)) if state is None else state, nan, np.full((rows, 3), np.nan), nan, success_rows,
        nan, None,
    )  # fmt: skip


def test_a_straight_path_has_efficiency_one_and_a_right_angle_its_diagonal() -> None:
    straight = np.linspace([0, 0, 0], [3, 4, 0], 30)
    corner = np.concatenate([np.linspace([0, 0, 0], [3, 0, 0], 30), np.linspace([3, 0, 0], [3, 4, 0], 30)])
    assert path_efficiency(straight) == pytest.approx(1.0)
    assert path_efficiency(corner) == pytest.approx(5 / 7)


def test_a_robot_that_never_moves_and_one_without_an_effector_have_no_efficiency() -> None:
    assert math.isnan(path_efficiency(np.zeros((10, 3))))
    assert math.isnan(path_efficiency(np.full((10, 3), np.nan)))


def test_sparc_gives_the_value_its_authors_published() -> None:
    # The worked example in the authors' own implementation: a Gaussian speed profile sampled at 100 Hz
    t = np.arange(-1, 1, 0.01)
    assert sparc(np.exp(-5 * t**2), 100.0) == pytest.approx(-1.41403, abs=1e-5)


def test_sparc_does_not_depend_on_amplitude() -> None:
    speed = np.exp(-5 * np.arange(-1, 1, 0.01) ** 2)
    assert sparc(12.5 * speed, 100.0) == pytest.approx(sparc(speed, 100.0))


def test_a_movement_in_two_parts_is_less_smooth_than_the_same_in_one() -> None:
    t = np.linspace(0, 1, 60)
    once = 10 * t**3 - 15 * t**4 + 6 * t**5
    twice = np.concatenate([0.5 * once[::2], 0.5 * np.ones(20), 0.5 + 0.5 * once[::2]])
    path = np.zeros((3, 60))
    path[0] = once
    assert smoothness(path.T, FPS) > smoothness(np.stack([twice] * 3, axis=1), FPS)


def test_a_shaking_movement_is_less_smooth() -> None:
    t = np.linspace(0, 1, 100)[:, None]
    calm = np.hstack([10 * t**3 - 15 * t**4 + 6 * t**5] * 3)
    shaking = calm + 0.004 * np.random.default_rng(0).normal(size=calm.shape)
    assert smoothness(calm, FPS) > smoothness(shaking, FPS)
    assert math.isnan(smoothness(np.zeros((100, 3)), FPS))
    assert math.isnan(smoothness(np.empty((100, 0)), FPS))


def test_grasp_stability_halves_when_the_gripper_opens_once_and_ignores_noise() -> None:
    firm = np.array([0, 0, 1, 1, 1, 1, 0, 0.0])
    dropped = np.array([0, 1, 1, 0, 0, 1, 1, 0.0])
    assert grasp_stability(firm) == 1.0
    assert grasp_stability(dropped) == 0.5
    assert grasp_stability(np.array([0, 0.45, 0.55, 0.45, 0.55, 1, 1])) == 1.0
    assert grasp_stability(np.ones(5)) == 1.0
    assert math.isnan(grasp_stability(np.zeros(5)))
    assert math.isnan(grasp_stability(np.full(5, np.nan)))


def test_ranks_share_ties_and_leave_nan_alone() -> None:
    found = percentile_ranks([3.0, 1.0, math.nan, 1.0])
    assert found[[0, 1, 3]] == pytest.approx([2.5 / 3, 1 / 3, 1 / 3])
    assert math.isnan(found[2])


def test_every_success_scores_above_every_failure() -> None:
    good = [trajectory(i, success=True, smoothness=-9.0 - i, duration_s=50.0) for i in range(3)]
    bad = [trajectory(9 + i, success=False, smoothness=-1.0, duration_s=1.0) for i in range(3)]
    unknown = [trajectory(20, success=None, smoothness=-2.0)]
    found = score(good + bad + unknown)
    assert found[:3].min() > found[3:6].max()
    assert 0.25 <= found[6] <= 0.75


@given(st.floats(0.01, 1000), st.integers(0, 1000))
def test_the_score_does_not_depend_on_units(factor: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    group = [
        trajectory(i, success=bool(i % 2), smoothness=-a, duration_s=b, path_efficiency=c)
        for i, (a, b, c) in enumerate(rng.random((9, 3)))
    ]
    scaled = [replace(t, duration_s=t.duration_s * factor) for t in group]
    assert score(group) == pytest.approx(score(scaled))


def test_missing_measures_are_left_out_and_none_at_all_is_the_middle() -> None:
    group = [trajectory(0, smoothness=-1.0), trajectory(1, smoothness=-2.0), trajectory(2)]
    assert score(group) == pytest.approx([0.25 + 0.5 * 0.75, 0.25 + 0.5 * 0.25, 0.5])


def test_quartiles_divide_evenly_and_ties_stay_together() -> None:
    assert quartiles(np.arange(8.0)).tolist() == [1, 1, 2, 2, 3, 3, 4, 4]
    assert quartiles(np.array([1.0, 1.0, 1.0, 1.0, 2.0, 3.0, 4.0, 5.0])).tolist() == [1, 1, 1, 1, 3, 3, 4, 4]
    assert quartiles(np.array([1.0, 2.0, 3.0])).tolist() == [0, 0, 0]
    assert quartiles(np.array([1.0, 2.0, math.nan, 3.0, 4.0])).tolist() == [1, 2, 0, 3, 4]


@given(st.lists(st.floats(-5, 5, width=16), min_size=4, max_size=60))
def test_a_higher_quality_never_has_a_lower_quartile(values: list[float]) -> None:
    array = np.array(values)
    places = quartiles(array)[np.argsort(array, kind="stable")]
    assert (np.diff(places) >= 0).all() and places.min() >= 1 and places.max() <= 4


def test_small_groups_and_ties_are_said() -> None:
    few = [trajectory(i, success=True) for i in range(3)]
    ranked, notes = rank_pool(few, demonstrations=["novice"], expert_share=0.2)
    assert {t.quartile for t in ranked} == {0} and "too few for quartiles" in notes[0]
    same = [trajectory(i, success=True) for i in range(8)]
    ranked, notes = rank_pool(same, demonstrations=["novice"], expert_share=0.2)
    assert {t.quartile for t in ranked} == {2} and "quartile 1, 3, 4 empty" in notes[0]


def test_your_own_quality_counts_only_where_the_whole_task_type_has_it() -> None:
    group = [trajectory(i, success=True, smoothness=-float(i), quality=float(i)) for i in range(8)]
    ranked, notes = rank_pool(group, demonstrations=["novice"], expert_share=0.2)
    assert [t.quality for t in ranked] == [float(i) for i in range(8)] and notes == []
    group[3] = replace(group[3], quality=math.nan)
    ranked, notes = rank_pool(group, demonstrations=["novice"], expert_share=0.2)
    assert ranked[0].quality > ranked[7].quality and "1 of 8 trajectories lack your quality" in notes[0]


def test_the_expert_tier_is_the_best_fifth_of_the_demonstrations_and_never_a_failure() -> None:
    group = [trajectory(i, source="expert", success=i > 0, smoothness=-float(i)) for i in range(10)]
    group += [trajectory(20, source="policy_checkpoint_1", success=True, smoothness=-0.1)]
    names = tier_names(group, ["expert", "novice"], 0.2)
    assert [i for i, name in enumerate(names) if name == "expert"] == [1, 2]
    assert names[0] == "demonstration" and names[10] == "policy_checkpoint_1"
    failures = [replace(t, success=False) for t in group]
    assert "expert" not in tier_names(failures, ["expert", "novice"], 0.2)


def acting(still: int, rows: int = 100) -> np.ndarray:
    """A position command that starts to move at row `still`."""
    return np.clip(np.arange(rows) - still, 0, 30)[:, None] * 0.02


def test_the_first_action_is_found_where_the_command_starts_to_change() -> None:
    assert 40 <= first_action_row(acting(40), np.empty((100, 0)), FPS) <= 43


@pytest.mark.parametrize("offset", [0.0, 3.0, -250.0])
def test_a_constant_offset_is_no_action(offset: float) -> None:
    assert first_action_row(acting(40) + offset, np.empty((100, 0)), FPS) == first_action_row(
        acting(40), np.empty((100, 0)), FPS
    )


@pytest.mark.parametrize("seed", range(20))
def test_noise_is_no_action(seed: int) -> None:
    rng = np.random.default_rng(seed)
    noisy = acting(60, 200) + 0.01 * rng.normal(size=(200, 7))
    assert 58 <= first_action_row(noisy, np.empty((200, 0)), FPS) <= 68


def test_a_single_outlier_is_no_action() -> None:
    actions = acting(40)
    actions[10] = 5.0
    assert first_action_row(actions, np.empty((100, 0)), FPS) >= 40


def test_a_constant_velocity_command_counts_from_when_the_robot_moves() -> None:
    position = np.arange(100)[:, None] * 0.01
    assert first_action_row(np.full((100, 1), 0.5), position, FPS) <= 0.1 * 100


def test_a_robot_that_never_acts_is_shown_from_its_first_frame() -> None:
    assert first_action_row(np.ones((50, 4)), np.zeros((50, 3)), FPS) == 0
    assert first_action_row(np.ones((1, 4)), np.zeros((1, 3)), FPS) == 0


def test_noise_is_measured_through_a_smooth_movement() -> None:
    t = np.linspace(0, 1, 2000)[:, None]
    found = noise(np.sin(3 * t) + 0.01 * np.random.default_rng(1).normal(size=t.shape))
    assert found == pytest.approx([0.01], rel=0.1)


def test_the_span_goes_from_one_second_before_to_two_seconds_after() -> None:
    found = trim(episode(acting(40, 200), done=100), 1.0, 2.0)
    assert found.completion_s == 5.0 and found.end_s == 7.0
    assert found.start_s == pytest.approx(found.first_action_s - 1.0)
    assert found.duration_s == pytest.approx(5.0 - found.first_action_s)


def test_success_does_not_move_the_start() -> None:
    starts = {trim(episode(acting(40, 200), done=done), 1.0, 2.0).start_s for done in (0, 20, 100, None)}
    assert len(starts) == 1
    assert trim(episode(acting(40, 200), done=0), 1.0, 2.0).duration_s == 0.0


def test_the_span_stays_inside_the_episode() -> None:
    found = trim(episode(acting(5, 50), done=45), 1.0, 2.0)
    assert (found.start_s, found.end_s) == (0.0, 2.5)
    timed_out = trim(episode(acting(5, 50)), 1.0, 2.0)
    assert timed_out.completion_s == timed_out.end_s == 2.5
    one_row = trim(episode(np.ones((1, 2))), 1.0, 2.0)
    assert (one_row.start_s, one_row.end_s) == (0.0, 0.05)
