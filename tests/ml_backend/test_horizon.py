"""Progress counts over a horizon: a trajectory that has ended stays as far as it is, so waiting adds nothing to it."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from ml_maker import features, pairs_of, spec

from ml_backend.reward.dataset import Known, Split
from ml_backend.reward.model import TASK_SIZE, RewardModel
from ml_backend.reward.train import train_model
from ml_backend.validation.probes import counterfactuals, still_frames_added
from preference.config import Reward
from preference.records import Trajectory
from release.onnx import Example, WholePath, export_onnx, parity

REWARD = Reward(inputs=["actions", "state"], epochs=5, hidden=8, members=3)
NONE = np.zeros(0, int)


def recordings(count=60, seed=0):
    """State 1 is how far it is still to go. Even ones end when they arrive, odd ones run out of time."""
    made, _ = features(count, seed)
    rng = np.random.default_rng([seed, 1])
    longest = max(map(len, made))
    found, known = [], []
    for number, item in enumerate(made):
        arrives = number % 2 == 0
        steps = int(rng.integers(4, longest - 2)) if arrives else longest
        state = np.resize(item.state, (steps, item.state.shape[1])).copy()
        state[:, 1] = 1.0 - np.arange(steps) / (steps - 1) if arrives else rng.uniform(0.4, 1.0, steps)
        found.append(replace(item, frames=item.frames[:1].repeat(steps, 0), state=state,
                             actions=np.resize(item.actions, (steps, item.actions.shape[1]))))  # fmt: skip
        known.append(Known(arrives, steps - 1 if arrives else None, "push"))
    return found, known


def fitted(made, known, count=20, plan=None, groups=None, **changes):
    """From answers that prefer what arrives, and the sooner the better."""
    truth = np.array([10.0 - one.done / 10 if one.success else -row / 100 for row, one in enumerate(known)])
    split = Split(np.arange(count), NONE, NONE)
    own = REWARD.model_copy(update=changes)
    return train_model(made, pairs_of(truth, count=count), split, plan or spec(hidden=8), own, seed=0, known=known,
                       groups=groups).model  # fmt: skip


@pytest.fixture(scope="module")
def with_progress():
    made, known = recordings()
    return made, known, fitted(made, known)


def rise_by_waiting(model, made):
    """The probe's mean change in standard deviations."""
    shown = [Trajectory(f"t{i}", "d", i, "expert", "push", quality=0.0) for i in range(len(made))]
    found = counterfactuals(
        lambda changed: model.score(changed)[0], made, shown, model.score(made)[0], [], np.random.default_rng(0)
    )
    return found["still_frames_added"]["mean_change_sd"]


@pytest.mark.parametrize(
    ("horizon", "counted"), [((), [0.0, 0.5, 1.0]), ((4,), [0.25, 0.625, 1.0]), ((2,), [-0.25, 0.5, 0.5])]
)
def test_the_mean_over_the_steps_is_that_over_the_horizon(horizon, counted):
    model = RewardModel(spec(hidden=8, progress=True, outcomes=("progress",), horizon=horizon))
    progress, inputs = torch.tensor([[0.0, 0.5, 1.0, 9.0]]), torch.zeros(1, 4, model.spec.width)
    mask = torch.tensor([[True, True, True, False]])
    assert model.held(progress, inputs, mask)[0, :3].tolist() == counted


def test_steps_that_are_not_there_may_come_first_as_in_a_window_at_an_episodes_beginning():
    model = RewardModel(spec(hidden=8, progress=True, outcomes=("progress",), horizon=(4,)))
    progress, inputs = torch.tensor([[9.0, 0.0, 0.5, 1.0]]), torch.zeros(1, 4, model.spec.width)
    mask = torch.tensor([[False, True, True, True]])
    assert model.held(progress, inputs, mask)[0, 1:].tolist() == [0.25, 0.625, 1.0]


def test_a_trajectory_is_counted_over_the_horizon_of_its_task_and_one_of_an_unknown_task_over_the_longest():
    plan = spec(
        hidden=8, progress=True, outcomes=("progress",), task_types=("a", "b"), task_columns=True, horizon=(2, 4)
    )
    inputs, progress = torch.zeros(3, 2, plan.width), torch.tensor([[0.0, 1.0]]).repeat(3, 1)
    inputs[:2, :, -2:] = TASK_SIZE * torch.eye(2).unsqueeze(1)
    found = RewardModel(plan).held(progress, inputs, torch.ones(3, 2, dtype=torch.bool)).mean(dim=1)
    assert found.tolist() == [0.5, 0.75, 0.75]


def test_waiting_adds_nothing_to_what_progress_counts_however_long():
    made, known = recordings()
    model = fitted(made, known, plan=spec(hidden=8, temporal="mean"), temporal="mean")  # no step sees its neighbours
    waiting = [still_frames_added(still_frames_added(item)) for item in made]
    assert model.spec.horizon == (max(map(len, made)),) < (max(map(len, waiting)),)
    assert model.mean_progress(waiting) == pytest.approx(model.mean_progress(made), abs=1e-5)
    model.spec = replace(model.spec, horizon=())  # as in earlier versions: over a trajectory's own steps
    arrived = np.array([bool(one.success) for one in known])
    assert (model.mean_progress(waiting) - model.mean_progress(made))[arrived].min() > 0.1


def test_the_probe_of_still_frames_rises_no_more_than_without_progress(with_progress):
    made, known, model = with_progress
    without = fitted(made, known, progress_prior=False)
    assert model.linear is not None and model.linear.progress > 2.0
    assert rise_by_waiting(model, made) < max(0.05, rise_by_waiting(without, made))
    earlier = copy.deepcopy(model)
    earlier.spec = replace(model.spec, horizon=())
    assert rise_by_waiting(earlier, made) > 0.2


def test_who_arrives_sooner_is_still_better(with_progress):
    made, known, model = with_progress
    arrived = [row for row, one in enumerate(known) if one.success]
    order = np.argsort([len(made[row]) for row in arrived])
    progress = model.mean_progress([made[row] for row in arrived])[order]
    assert progress[:10].min() > progress[-10:].max()


def test_with_several_tasks_steps_add_up_and_the_file_and_the_graph_have_their_horizons(tmp_path):
    made, known = recordings()
    places = np.arange(len(made)) // 2 % 2
    made = [item if place else replace(item, frames=item.frames[:9], actions=item.actions[:9], state=item.state[:9])
            for item, place in zip(made, places, strict=True)]  # fmt: skip
    known = [replace(one, done=len(item) - 1) if one.success else one for one, item in zip(known, made, strict=True)]
    told = [replace(item, state=np.column_stack([item.state, np.tile(own, (len(item), 1))]))
            for item, own in zip(made, np.eye(2, dtype=np.float32)[places], strict=True)]  # fmt: skip
    model = fitted(told, known, plan=spec(hidden=8, task_types=("close", "open"), task_columns=True))
    assert model.spec.horizon == (9, max(map(len, made)))
    rewards = model.score(told)[1]
    steps = np.array([one.rewards.sum(axis=1) for one in model.score_steps(told)]).T
    assert np.abs(steps - rewards).max() < 1e-5
    model.save(tmp_path / "model.pt")
    assert np.array_equal(RewardModel.load(tmp_path / "model.pt").score(told)[1], rewards)
    whole = WholePath(model, None)
    export_onnx(whole, model.spec, {}, tmp_path / "model.onnx", tmp_path / "kept.onnx")
    shown = [still_frames_added(item) if i % 2 else item for i, item in enumerate(made[:8])]
    examples = [Example(f"t{i}", np.zeros((len(x), 0)), x.actions, x.state, (), 0, int(places[i]))
                for i, x in enumerate(shown)]  # fmt: skip
    assert max(parity(tmp_path / "model.onnx", whole, model.spec, examples).values()) < 1e-4


def test_segments_end_anywhere_so_nothing_is_held():
    made, known = recordings()
    assert fitted(made, known, groups=range(len(made))).spec.horizon == ()


def test_where_the_longest_are_sampled_more_sparsely_the_horizon_is_half_as_long_again():
    made, known = recordings()
    longest = max(map(len, made))
    assert fitted(made, known, plan=spec(hidden=8, max_frames=longest)).spec.horizon == (round(1.5 * longest),)


def test_a_recording_that_was_left_running_does_not_set_the_horizon():
    made, known = recordings()
    longest = max(map(len, made))
    left_running = [still_frames_added(still_frames_added(made[1])), *made[1:]]
    assert max(map(len, left_running)) > 2 * longest
    assert fitted(left_running, known).spec.horizon == (longest,)
    few = slice(0, 20)  # too few to tell what is usual
    assert fitted(left_running[few], known[few], count=10).spec.horizon == (len(left_running[0]),)
