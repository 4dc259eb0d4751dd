"""The reward's parts: what summarizes a trajectory, how the parts are added up, and segments of trajectories."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from ml_maker import crowd, features, pairs_of, spec

from ml_backend.reward import checkpoint
from ml_backend.reward.dataset import Split, index_pairs, ranking_accuracy, split_pairs
from ml_backend.reward.features import Segment, collate, segment_features
from ml_backend.reward.model import RewardModel
from ml_backend.reward.summary import summarize
from ml_backend.reward.train import FEWEST, train_model
from preference.config import Reward
from preference.errors import DataError
from preference.records import Preference

ALL = ["linear", "kernel", "network"]
REWARD = Reward(parts=ALL, inputs=["actions", "state"], epochs=60, hidden=8, members=3)


def fitted(parts=("linear", "kernel", "network"), frame_size=0, **changes):
    made, truth = features(frame_size=frame_size)
    pairs = pairs_of(truth)
    inputs = ("frames", "actions", "state") if frame_size else ("actions", "state")
    own = spec(inputs=inputs, frame_size=frame_size, projection=min(frame_size, 2), hidden=8, **changes)
    reward = REWARD.model_copy(update={"parts": list(parts)})
    split = split_pairs(pairs.pair_ids, 0)
    return train_model(made, pairs, split, own, reward, seed=0), made, pairs, split


def test_a_summary_is_mean_change_spread_and_end_of_the_steps_that_are_there():
    made, _ = features(count=5)
    inputs, mask = (torch.from_numpy(array) for array in (collate(made)[2], collate(made)[3]))
    inputs = torch.where(mask.unsqueeze(-1), inputs, torch.zeros(1))
    found = summarize(inputs, mask).numpy()
    for row, item in zip(found, made, strict=True):
        x = item.state
        assert np.allclose(row, np.concatenate([x.mean(0), x[-1] - x[0], x.std(0), x[-1]]), atol=1e-5)


@pytest.mark.parametrize(
    "parts", [["linear"], ["kernel"], ["network"], ["linear", "kernel"], ["linear", "kernel", "network"]]
)
def test_every_choice_of_parts_learns_and_its_last_layer_explains_it(parts, tmp_path):
    trained, made, pairs, split = fitted(parts, frame_size=4)
    rewards, members = trained.model.score(made)
    assert ranking_accuracy(rewards, pairs.take(split.test)) > 0.8
    assert np.allclose(members.mean(axis=1), 0, atol=1e-4)
    assert members.std(axis=0).mean() > 1e-3, "members differ"
    phi = trained.model.last_layer(made)
    residual = (
        rewards - rewards.mean() - (phi - phi.mean(0)) @ np.linalg.lstsq(phi - phi.mean(0), rewards, rcond=None)[0]
    )
    assert np.abs(residual).max() < 1e-3
    trained.model.save(tmp_path / "model.pt")
    loaded = RewardModel.load(tmp_path / "model.pt")
    assert loaded.spec == trained.model.spec
    assert np.array_equal(loaded.score(made)[1], members)


def test_neither_padding_nor_length_reaches_the_reward():
    trained, made, *_ = fitted()
    alone = np.array([trained.model.score([item])[0][0] for item in made])
    assert np.allclose(alone, trained.model.score(made)[0], atol=1e-4)
    one = made[0]
    still = [
        replace(
            one,
            frames=np.zeros((n, 0), np.float16),
            actions=one.actions[:1].repeat(n, 0),
            state=one.state[:1].repeat(n, 0),
        )
        for n in (3, 30)
    ]
    a, b = trained.model.score(still)[0]
    assert a == pytest.approx(b, abs=1e-4)


def test_a_temperature_divides_all_parts_alike():
    trained, made, *_ = fitted()
    before = trained.model.score(made)[1]
    trained.model.cool(2.0)
    assert np.allclose(trained.model.score(made)[1], before / 2, atol=1e-5)


def test_with_fewer_labels_than_the_parts_can_use_the_simplest_stands_alone_and_says_so():
    made, truth = features()
    pairs = pairs_of(truth, count=FEWEST + 10)
    some = np.flatnonzero(pairs.label != 0.5)[: FEWEST - 1]
    nothing = np.zeros(0, int)
    few = train_model(made, pairs, Split(some, nothing, nothing), spec(), REWARD, seed=0)
    assert (
        few.note
        == f"{FEWEST - 1} labels without ties to train on: the linear part alone is fitted; from {FEWEST} on, all are."
    )
    assert (few.epochs, few.model.spec.radial, few.weights) == (0, 0, {"simple": 1.0, "network": 0.0})
    more = np.flatnonzero(pairs.label != 0.5)[:FEWEST]
    assert train_model(made, pairs, Split(more, nothing, nothing), spec(), REWARD, seed=0).note == ""


def test_where_one_person_gave_all_answers_the_labels_count_and_it_is_said():
    made, truth = features()
    pairs, _ = crowd(truth, rights=(0.9,))
    trained = train_model(made, pairs, split_pairs(pairs.pair_ids, 0), spec(), REWARD, seed=0)
    assert trained.note.startswith("All answers are ann0's, so reliability cannot be learned")
    assert trained.reliability == {}


@pytest.mark.parametrize("number", [1, 3])
def test_a_model_of_an_earlier_version_asks_for_training(tmp_path, number):
    checkpoint.save({"format": number}, tmp_path / "model.pt")
    with pytest.raises(DataError, match=rf"found {number}; .* not a mean over steps\. Run `robopref train`"):
        RewardModel.load(tmp_path / "model.pt")
    checkpoint.save({"format": 5}, tmp_path / "model.pt")
    with pytest.raises(DataError, match=r"found 5\. Run `robopref train`"):
        RewardModel.load(tmp_path / "model.pt")


@pytest.mark.parametrize(
    "parts", [["linear"], ["kernel"], ["network"], ["linear", "kernel"], ["linear", "kernel", "network"]]
)
def test_the_rewards_of_the_steps_add_up_to_the_trajectorys(parts):
    trained, made, *_ = fitted(parts, frame_size=4)
    trained.model.cool(1.7)
    members = trained.model.score(made)[1]
    steps = trained.model.score_steps(made)
    assert [found.rewards.shape for found in steps] == [(3, len(item)) for item in made]
    assert np.abs(np.array([found.rewards.sum(axis=1) for found in steps]).T - members).max() < 1e-5
    assert sum(trained.attribution.values()) == pytest.approx(1.0)
    assert (trained.attribution["steps"] == 1.0) == (parts == ["network"])


def test_the_steps_rewards_follow_what_people_judged_step_by_step():
    """Labels say which trajectory has the higher mean of state 0; nobody said anything of a step."""
    made, truth = features(count=60, seed=3)
    pairs = pairs_of(truth, count=300)
    reward = REWARD.model_copy(update={"parts": ["network"], "epochs": 100})
    trained = train_model(made, pairs, split_pairs(pairs.pair_ids, 0), spec(hidden=8), reward, seed=0)
    unseen, _ = features(count=30, seed=4)
    found = np.concatenate(
        [one.rewards.mean(axis=0) * len(one.rewards[0]) for one in trained.model.score_steps(unseen)]
    )
    state = np.concatenate([item.state[:, 0] for item in unseen])
    assert np.corrcoef(found, state)[0, 1] > 0.75


def test_segments_are_compared_and_trained_on_as_trajectories_are():
    made, _ = features(count=30)
    ids = [f"t{i}" for i in range(30)]
    pieces = [
        Segment(name, first, first + 2) for name, item in zip(ids, made, strict=True) for first in (0, len(item) - 3)
    ]
    views = segment_features(made, ids, pieces)
    assert np.array_equal(views[1].state, made[0].state[-3:]) and len(views[0]) == 3
    assert np.array_equal(views[2:4][0].actions, made[1].actions[:3])
    truth = np.array([item.state[:, 0].mean() for item in views])
    rng = np.random.default_rng(0)
    names = [piece.segment_id for piece in pieces]
    assert names[0] == "t0[0:2]"
    labels = [
        Preference(f"p{n}", names[a], names[b], float(truth[a] > truth[b]), 3.0, 1, 1.0, ["x"], "unanimous")
        for n, (a, b) in enumerate(rng.choice(60, 2, replace=False) for _ in range(150))
    ]
    pairs = index_pairs(labels, {name: i for i, name in enumerate(names)})
    split = split_pairs(pairs.pair_ids, 0)
    groups = [i // 2 for i in range(60)]
    trained = train_model(views, pairs, split, spec(), REWARD, seed=0, names=names, groups=groups)
    assert ranking_accuracy(trained.model.score(views)[0], pairs.take(split.test)) > 0.8


@pytest.mark.parametrize(
    ("segment", "words"),
    [
        (Segment("t0", 2, 99), r"Segment t0\[2:99\]: expected steps within 0 to \d+, .* found 2 to 99"),
        (Segment("t0", -1, 3), "found -1 to 3"),
        (Segment("t0", 3, 2), "found 3 to 2"),
        (Segment("gone", 0, 2), "there is no trajectory 'gone' among the 3"),
    ],
)
def test_a_segment_beyond_its_trajectory_is_named(segment, words):
    made, _ = features(count=3)
    with pytest.raises(DataError, match=words):
        segment_features(made, ["t0", "t1", "t2"], [segment])


def test_all_parts_leave_as_one_onnx_graph_that_computes_what_the_model_does(tmp_path):
    from release.onnx import Example, WholePath, export_onnx, parity

    trained, made, *_ = fitted()
    whole = WholePath(trained.model, None)
    export_onnx(whole, trained.model.spec, {}, tmp_path / "model.onnx", tmp_path / "kept.onnx")
    examples = [Example(f"t{i}", np.zeros((len(x), 0)), x.actions, x.state) for i, x in enumerate(made[:5])]
    assert max(parity(tmp_path / "model.onnx", whole, trained.model.spec, examples).values()) < 1e-4
