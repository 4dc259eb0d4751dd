"""A release that is worked with: every row's figures, streams, batches of different lengths, values never seen."""

import numpy as np
import pytest
import torch
from inference_maker import inference
from ml_maker import features, spec

from ml_backend.release.onnx import Example, WholePath, contract_of, export_onnx
from ml_backend.reward.model import RewardModel
from preference.config import Clips

COLUMNS = {"camera": "", "actions": [("action", [])], "state": [("observation.state", [])]}


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """A model of random weights in which each row counts by itself, and that says progress and success."""
    folder = tmp_path_factory.mktemp("release")
    generator = torch.Generator().manual_seed(0)
    described = spec(temporal="mean", hidden=8, members=2)
    model = RewardModel(described, generator).eval()
    with torch.no_grad():
        model.action_scale.fill_(1.0)
        model.state_scale.fill_(1.0)
    model.add_outcomes(model.make_outcomes(("progress", "success"), generator))
    model.eval()
    pool, _ = features(30)
    frames = np.zeros((len(pool[0]), 0, 0, 3), np.uint8)
    example = Example("t0", frames, pool[0].actions, pool[0].state)
    contract = contract_of(model.spec, pool, Clips(), [example], COLUMNS, {}, name="tiny", version="1.0.0")
    export_onnx(WholePath(model, None), model.spec, contract, folder / "reward_model.onnx", folder / "kept")
    return folder / "reward_model.onnx"


@pytest.fixture
def model(path):
    return inference.RewardModel.load(path)


@pytest.fixture(scope="module")
def episodes():
    pool, _ = features(30)
    return [{"images": None, "actions": np.array(one.actions), "state": np.array(one.state)} for one in pool[:7]]


def test_every_row_has_its_figures(model, episodes):
    one = episodes[0]
    rows = len(one["actions"])
    assert model.rewards(**one).shape == (rows,)
    assert model.rewards(**one).sum() == pytest.approx(model.score(**one), abs=1e-5)
    for found in (model.progress(**one), model.success(**one)):
        assert found.shape == (rows,) and (found >= 0).all() and (found <= 1).all()
    unsure = model.uncertainty(**one)
    assert set(unsure) == {"rewards", "progress", "success"} and (unsure["rewards"] >= 0).all()


def test_episodes_of_different_lengths_in_a_batch_get_the_same_rewards(model, episodes):
    alone = np.array([model.score(**one) for one in episodes])
    assert len({len(one["actions"]) for one in episodes}) > 1
    for batch in (1, 3, 100):
        np.testing.assert_allclose(model.score_many(episodes, progress=False, batch=batch), alone, atol=1e-5)
    assert model.score_many([], progress=False).shape == (0,)
    with pytest.raises(inference.InputError, match="Episode 1: actions have shape"):
        model.score_many([episodes[0], {**episodes[1], "actions": np.zeros((2, 9))}], progress=False)


def test_a_stream_keeps_a_few_rows_and_its_mean_is_the_trajectorys_reward(model, episodes):
    one, stream = episodes[0], model.stream(window=3)
    said = [stream.add(None, a, s) for a, s in zip(one["actions"], one["state"], strict=True)]
    assert np.mean([row["reward"] for row in said]) == pytest.approx(model.score(**one), abs=1e-5)
    np.testing.assert_allclose([row["progress"] for row in said], model.progress(**one), atol=1e-5)
    assert len(stream.rows) == 3 and {"reward_spread", "success", "success_spread"} <= said[-1].keys()
    stream.reset()
    assert stream.add(None, one["actions"][0], one["state"][0]) == pytest.approx(said[0])
    with pytest.raises(inference.InputError, match="window is 0"):
        model.stream(window=0)


def test_values_beyond_training_are_clipped_reported_and_refused_when_strict(model, path, episodes):
    one = episodes[0]
    high = np.asarray(model.contract["state"]["high"], np.float32)
    beyond = one["state"].copy()
    beyond[0] = high + 0.5
    at_most = one["state"].copy()
    at_most[0] = high
    with pytest.warns(UserWarning, match="state leave the range of training and are clipped to it: s0 in"):
        found = model.score(**{**one, "state": beyond})
    assert found == pytest.approx(model.score(**{**one, "state": at_most}), abs=1e-6)
    assert model.clipped == {}, "of the latest call"
    with pytest.warns(UserWarning):
        model.score(**{**one, "state": beyond})
    assert model.clipped == {name: pytest.approx(1 / len(beyond)) for name in ("s0", "s1", "s2")}
    strict = inference.RewardModel.load(path, strict=True)
    with pytest.raises(inference.InputError, match="state leave the range of training: s0 in"):
        strict.score(**{**one, "state": beyond})
    strict.score(**one)


def test_a_provider_that_is_not_there_is_one_clear_error(path, model):
    assert model.session.get_providers() == ["CPUExecutionProvider"]
    with pytest.raises(inference.InputError, match=r"has no TPUExecutionProvider; it has .*CPUExecutionProvider"):
        inference.RewardModel.load(path, providers=["TPUExecutionProvider"])


def test_a_gymnasium_environment_gets_the_models_reward(model, episodes):
    gymnasium = pytest.importorskip("gymnasium", reason="gymnasium comes with robopref[sim]")
    one = episodes[0]

    class Replay(gymnasium.Env):
        """The states of an episode, whatever is done."""

        observation_space = gymnasium.spaces.Box(-10, 10, (3,))
        action_space = gymnasium.spaces.Box(-10, 10, (2,))

        def reset(self, **_):
            self.place = 0
            return one["state"][0], {}

        def step(self, action):
            self.place += 1
            last = self.place == len(one["state"]) - 1
            return one["state"][self.place], 7.0, last, False, {"own": 1}

    for every in (1, 2):
        env = inference.reward_wrapper(Replay(), model, lambda seen: (None, seen), every=every)
        for _ in range(2):
            env.reset()
            found = [env.step(action) for action in one["actions"][:-1]]
            assert found[-1][2] and found[0][4]["env_reward"] == 7.0 and found[0][4]["own"] == 1
            stream = model.stream()
            expected = [
                stream.add(None, one["actions"][i], one["state"][i])["reward"] for i in range(0, len(found), every)
            ]
            assert [row[1] for row in found][::every] == pytest.approx(expected)
