"""Probes fire at a reward that can be had for nothing and at no other, and proposals name where it goes wrong."""

from dataclasses import replace

import numpy as np
import pytest
from ml_maker import features, trajectories

from ml_backend.reward.features import Features
from ml_backend.validation.probes import (
    GripperColumn,
    absolute_actions,
    correlations,
    counterfactuals,
    cut,
    fired,
    gripper_closed,
    gripper_columns,
    measures,
    propose,
    slowed_down,
    still_frames_added,
)


@pytest.fixture(scope="module")
def pool():
    made, truth = features(120, frame_size=3)
    own = trajectories(truth)
    return made, truth, [replace(t, end_s=len(item) / 5) for t, item in zip(own, made, strict=True)]


def honest(items):
    """The true reward: the mean of state 0."""
    return np.array([float(item.state[:, 0].mean()) for item in items])


def by_length(items):
    return np.array([float(len(item)) for item in items])


def run(score, pool, columns=()):
    made, _, trajectories = pool
    return counterfactuals(score, made, trajectories, score(made), columns, np.random.default_rng(0))


def test_a_reward_that_follows_length_fires_the_length_probe_and_an_honest_one_does_not(pool):
    made, truth, own = pool
    assert correlations(by_length(made) + 0.01 * truth, own, measures(made, own))["length"]["fires"]
    noisy = truth + 0.01 * np.random.default_rng(0).normal(size=len(truth))
    assert fired(correlations(noisy, own, measures(made, own))) == []


def test_the_time_that_the_gripper_is_closed_is_a_measure_where_there_is_a_gripper(pool):
    made, truth, own = pool
    rng = np.random.default_rng(1)
    grippers = [(rng.random(len(item)) < rng.random()).astype(float) for item in made]
    found = measures(made, own, grippers)
    assert correlations(found["closed_gripper"] + 0.01 * truth, own, found)["closed_gripper"]["fires"]
    assert "closed_gripper" not in measures(made, own, [np.full(3, np.nan), *grippers[1:]])
    assert "closed_gripper" not in measures(made, own)


def test_an_honest_reward_rises_by_no_counterfactual(pool):
    assert fired(run(honest, pool)) == []


def test_a_reward_for_length_is_had_by_standing_still_and_by_slowness(pool):
    found = run(by_length, pool)
    assert fired(found) == ["still_frames_added", "slowed_down"]
    assert found["cut"]["mean_change_sd"] < 0
    assert found["slowed_down"]["low"] <= found["slowed_down"]["mean_change_sd"] <= found["slowed_down"]["high"]


def test_a_reward_for_a_closed_gripper_is_had_by_closing_it(pool):
    made, _, _ = pool
    grippers = [(item.actions[:, 1] > 0).astype(float) for item in made]
    columns = gripper_columns([Features(f.frames, np.where(f.actions > 0, 1, -1), f.state) for f in made], grippers)
    assert [(column.part, column.index, column.closed) for column in columns] == [("actions", 1, 1.0)]
    greedy = run(lambda items: np.array([float(i.actions[:, 1].mean()) for i in items]), pool, columns)
    assert greedy["gripper_closed"]["fires"]
    assert not run(honest, pool, columns)["gripper_closed"]["fires"]


def test_a_gripper_that_never_moves_has_no_columns(pool):
    made, _, _ = pool
    assert gripper_columns(made, [np.zeros(len(item)) for item in made]) == []


def test_what_is_changed_is_one_thing_and_the_original_stays():
    item = features(1, frame_size=3)[0][0]
    steps, before = len(item), item.actions.copy()
    still = still_frames_added(item)
    assert len(still) == steps + -(-steps // 2)
    assert np.array_equal(still.frames[steps:], np.repeat(item.frames[-1:], len(still) - steps, axis=0))
    assert not still.actions[steps:].any()
    assert np.array_equal(slowed_down(item).state[::2], item.state)
    assert np.array_equal(cut(item).state, item.state[: steps - steps // 3])
    assert (gripper_closed(item, [GripperColumn("actions", 0, 7.0)]).actions[:, 0] == 7.0).all()
    assert np.array_equal(item.actions, before)


def test_proposed_pairs_are_those_that_a_wrong_reward_gets_wrong(pool):
    made, truth, own = pool
    rewards = by_length(made)
    found = measures(made, own)
    probes = correlations(rewards + 0.01 * truth, own, found)
    asked = {frozenset(("t0", "t1"))}
    proposals = propose(
        20, probes, found, rewards, own,
        may_ask=lambda a, b: frozenset((a, b)) not in asked, rng=np.random.default_rng(0),
    )  # fmt: skip
    assert len({frozenset((p.trajectory_a_id, p.trajectory_b_id)) for p in proposals}) == 20
    place = {t.trajectory_id: i for i, t in enumerate(own)}
    firsts = 0
    for proposal in proposals:
        a, b = place[proposal.trajectory_a_id], place[proposal.trajectory_b_id]
        longer, shorter = (a, b) if rewards[a] > rewards[b] else (b, a)
        assert truth[longer] <= truth[shorter]
        assert {proposal.trajectory_a_id, proposal.trajectory_b_id} != {"t0", "t1"}
        firsts += longer == a
    assert 3 < firsts < 17  # on no side always


def test_where_no_probe_fires_nothing_is_proposed(pool):
    made, truth, own = pool
    found = measures(made, own)
    quiet = {name: {"fires": False, "partial_correlation": 0.0} for name in found}
    assert propose(9, quiet, found, truth, own, may_ask=lambda *_: True, rng=np.random.default_rng(0)) == []


def recorded(made, seconds=2.0):
    found = trajectories(np.arange(len(made), dtype=float))
    return [replace(t, end_s=seconds) for t in found]


def still(values, actions=None):
    """Features whose state is `values`, (T, 1), with a second column that stays."""
    state = np.concatenate([values, np.zeros_like(values)], axis=1).astype(np.float32)
    return Features(np.zeros((len(values), 0), np.float16), state if actions is None else actions, state)


def test_length_is_seconds_also_beyond_the_steps_that_the_model_sees():
    made = [still(np.random.default_rng(i).normal(size=(64, 1))) for i in range(3)]
    own = [replace(t, start_s=1.0, end_s=1.0 + s) for t, s in zip(recorded(made), (13, 20, 40), strict=True)]
    assert measures(made, own)["length"].tolist() == [13, 20, 40]
    assert "length" not in measures(made, trajectories(np.arange(3.0))), "a span that is not known has no length"


def test_seconds_are_those_that_the_model_sees_whatever_success_trims_for_people():
    values = np.random.default_rng(0).normal(size=(64, 1))
    spans = ((5, 210), (21, 210), (41, 410), (9, 410))
    own = [
        replace(t, start_s=1.0, end_s=end, num_frames=frames, fps=10.0)
        for t, (end, frames) in zip(recorded([values] * 4), spans, strict=True)
    ]
    found = measures([still(values)] * 4, own)
    assert found["length"].tolist() == [20, 20, 40, 40]
    speeds = -found["stillness_of_state"]
    assert speeds[0] == speeds[1] == pytest.approx(2 * speeds[2]) and speeds[2] == speeds[3]


def test_positions_that_are_held_are_still_and_displacements_of_zero_are():
    moving, resting = np.linspace(0.5, 1.5, 40)[:, None], np.full((40, 1), 0.9) + np.linspace(0, 0.01, 40)[:, None]
    positions = [still(moving), still(resting), still(moving + 0.1)]
    assert absolute_actions(positions).tolist() == [True, False]
    found = measures(positions, recorded(positions))
    assert np.argmax(found["stillness_of_state"]) == 1
    noise = np.random.default_rng(0).normal(size=(40, 1))
    steps = [still(moving, 0.3 * noise), still(resting, 0.03 * noise)]
    assert not absolute_actions(steps).any()
    assert np.argmax(measures(steps, recorded(steps))["stillness_of_actions"]) == 1


def test_a_robot_that_waits_or_slows_down_sends_what_its_kind_of_action_means():
    item = Features(np.zeros((4, 0), np.float16), np.arange(8, dtype=np.float32).reshape(4, 2), np.ones((4, 1)))
    absolute = np.array([True, False])
    waiting, slow = still_frames_added(item, absolute), slowed_down(item, absolute)
    assert waiting.actions[4:].tolist() == [[6, 0], [6, 0]]
    assert slow.actions[2:4].tolist() == [[2, 1.5], [2, 1.5]]


def test_a_longer_trajectory_is_seen_as_the_model_would_see_it(pool):
    lengths = []

    def score(items):
        lengths.extend(len(item) for item in items)
        return honest(items)

    made, _, own = pool
    counterfactuals(score, made, own, honest(made), (), np.random.default_rng(0), max_frames=12)
    assert max(lengths) <= max(12, *(len(item) for item in made))


def test_chance_alone_accuses_a_reward_of_few_trajectories_seldom():
    accused = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        truth = rng.normal(size=25)
        found = {name: rng.normal(size=25) for name in "abcde"}
        accused += bool(fired(correlations(truth + 0.5 * rng.normal(size=25), trajectories(truth), found)))
    assert accused < 20
