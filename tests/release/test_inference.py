"""A release that is worked with: every row's figures, streams, batches of different lengths, values never seen."""

import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from format_maker import make_lerobot_v2
from inference_maker import inference
from lerobot_maker import CAMERA, Made, make_dataset
from ml_maker import features, spec

from ml_backend.reward.model import RewardModel
from preference.config import Clips
from preference.pages import render
from release.onnx import Example, WholePath, contract_of, export_onnx

COLUMNS = {"camera": "", "actions": [("action", [])], "state": [("observation.state", [])]}


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """A model of random weights in which each row counts by itself, and that says progress and success."""
    return released(tmp_path_factory.mktemp("release"))


def released(folder, **plan):
    """Its ONNX file."""
    generator = torch.Generator().manual_seed(0)
    described = spec(temporal="mean", hidden=8, members=2, **plan)
    model = RewardModel(described, generator).eval()
    with torch.no_grad():
        model.action_scale.fill_(1.0)
        model.state_scale.fill_(1.0)
        if model.linear is not None:
            model.linear.size.fill_(1.0)
            model.linear.weight.fill_(5.0)
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


def test_where_progress_counts_a_streams_row_has_its_own_however_wide_the_window_and_long_the_episode(
    tmp_path, episodes
):
    known = released(tmp_path, progress=True, outcomes=("progress", "success"), horizon=(4,))
    model, one = inference.RewardModel.load(known), episodes[0]
    assert len(one["actions"]) > 4 == model.contract["horizon"][0]
    narrow, wide = model.stream(window=1), model.stream(window=50)
    for a, s in zip(one["actions"], one["state"], strict=True):
        assert wide.add(None, a, s) == pytest.approx(narrow.add(None, a, s), abs=1e-4)


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


def replayed(one, steps, ends="terminated"):
    """A gymnasium environment that shows the states of an episode, whatever is done, and ends after so many steps."""
    gymnasium = pytest.importorskip("gymnasium", reason="gymnasium comes with robopref[sim]")

    class Replay(gymnasium.Env):
        observation_space = gymnasium.spaces.Box(-10, 10, (3,))
        action_space = gymnasium.spaces.Box(-10, 10, (2,))

        def reset(self, **_):
            self.place = 0
            return one["state"][0], {}

        def step(self, action):
            self.place += 1
            over = {how: self.place == steps and how == ends for how in ("terminated", "truncated")}
            return one["state"][self.place], 7.0, *over.values(), {"own": 1}

    return Replay()


def test_a_gymnasium_environment_gets_the_models_reward(model, episodes):
    one, steps = episodes[0], len(episodes[0]["state"]) - 1
    for every in (1, 2):
        env = inference.reward_wrapper(replayed(one, steps), model, lambda seen: (None, seen), every=every)
        for _ in range(2):
            env.reset()
            found = [env.step(action) for action in one["actions"][:-1]]
            assert found[-1][2] and found[0][4]["env_reward"] == 7.0 and found[0][4]["own"] == 1
            stream = model.stream()
            expected = [
                stream.add(None, one["actions"][i], one["state"][i])["reward"] for i in range(0, len(found), every)
            ]
            assert [row[1] for row in found][::every] == pytest.approx(expected)


@pytest.mark.parametrize("ends", ["terminated", "truncated"])
@pytest.mark.parametrize(("horizon", "task", "rows"), [([9], "", 9), ([3], "", 3), ([9, 14], "two", 14), ([], "", 0)])
def test_an_episode_that_ends_at_its_goal_gets_the_rewards_of_the_rows_that_are_left(
    model, episodes, ends, horizon, task, rows
):
    counts = inference.RewardModel(
        model.session, {**model.contract, "horizon": horizon, "task_types": ["one", "two"] if task else ["one"]}
    )
    assert counts.horizon(task) == rows and counts.horizon("never seen") == max([0, *horizon])
    one, taken = episodes[0], 5
    for every in (1, 2):
        show = replayed(one, taken, ends)
        env = inference.reward_wrapper(show, counts, lambda seen: (None, seen), every=every, task=task)
        env.reset()
        found = [env.step(action) for action in one["actions"][:taken]]
        left = max(rows * every - taken, 0) if ends == "terminated" else 0
        row = found[-1][4]["robopref"]["reward"]
        assert [step[1] for step in found[:-1]] == [step[4]["robopref"]["reward"] for step in found[:-1]]
        assert found[-1][1] == pytest.approx(row * (1 + left))


def test_a_model_with_parts_on_whole_trajectories_refuses_to_stream_in_one_sentence(model):
    """Such a part is about the end of a trajectory; row by row it was added again and again."""
    whole = inference.RewardModel(model.session, {**model.contract, "additive": False})
    assert model.contract["additive"] and model.stream() is not None
    with pytest.raises(
        inference.InputError, match=r"no stream is possible: .* Score whole trajectories with `rewards`"
    ):
        whole.stream()
    own = replace(spec(), summary=True, centres=1, radial=1)
    pool, _ = features(3)
    example = Example("t0", np.zeros((len(pool[0]), 0, 0, 3), np.uint8), pool[0].actions, pool[0].state)
    assert not contract_of(own, pool, Clips(), [example], COLUMNS, {}, name="x", version="1")["additive"]


@pytest.mark.parametrize(
    ("progress", "horizon", "told"),
    [
        (True, (9, 14), "over 9, 14 rows (of each task type)"),
        (True, (9,), "over 9 rows:"),
        (False, (9,), ""),
        (True, (), ""),
    ],
)
def test_the_contract_says_over_how_many_rows_progress_counts(progress, horizon, told):
    """Whoever ends an episode at its goal needs the number: for so long the last row's reward goes on."""
    pool, _ = features(3)
    own = replace(spec(), progress=progress, outcomes=("progress",), horizon=horizon)
    example = Example("t0", np.zeros((len(pool[0]), 0, 0, 3), np.uint8), pool[0].actions, pool[0].state)
    found = contract_of(own, pool, Clips(), [example], COLUMNS, {}, name="x", version="1")
    assert found["horizon"] == list(horizon if progress else ())
    text = render("release", "INPUT_FORMAT.md.jinja", c=found | {"graph": {"inputs": [], "outputs": []}})
    assert ("Progress counts" in text) == bool(told) and told in text


def recorded(folder, robot, sizes, episodes=2):
    """A LeRobot dataset of a robot whose rows have so many numbers."""
    root = make_lerobot_v2(folder, [Made(rows=12, still=2, task="open")] * episodes)
    info = json.loads((root / "meta" / "info.json").read_text())
    for name, size in sizes.items():
        info["features"][name] = {"dtype": "float32", "shape": [size]}
    info |= {"robot_type": robot} if robot else {}
    (root / "meta" / "info.json").write_text(json.dumps(info))
    for file in root.rglob("*.parquet"):
        table = pq.read_table(file).select(["timestamp", "episode_index"])
        for name, size in sizes.items():
            rows = np.arange(len(table) * size, dtype=np.float32).reshape(len(table), size)
            table = table.append_column(name, pa.array(list(rows)))
        pq.write_table(table, file)
    return root


def own_columns(robot, action, actions, state, states):
    columns = {"actions": [[action, list(range(actions))]], "state": [[state, list(range(states))]]}
    return {"camera": CAMERA, **columns, "robot": robot, "type": robot, "widths": {action: actions, state: states}}


ARM = own_columns("arm", "action", 2, "observation.state", 3)
HAND = own_columns("hand", "hand.action", 5, "hand.state", 1)
TWIN = own_columns("twin", "action", 2, "observation.state", 3)


def test_of_several_robots_each_has_its_own_columns_and_another_is_one_clear_error(tmp_path):
    columns = {**ARM, "robots": [ARM, HAND, TWIN]}

    def load(name, called, sizes, **given):
        return inference.load_lerobot(recorded(tmp_path / name, called, sizes), 0, columns, **given)

    found = load("arm", "arm", {"action": 2, "observation.state": 3})
    assert found["actions"].shape == (12, 2) and found["state"].shape == (12, 3) and found["robot"] == "arm"
    found = load("hand", "", {"hand.action": 5, "hand.state": 1})
    assert found["actions"].shape == (12, 5) and found["state"].shape == (12, 1) and found["robot"] == "hand"
    assert load("named", "twin", {"action": 2, "observation.state": 3})["robot"] == "twin"
    assert load("told", "", {"action": 2, "observation.state": 3}, robot="twin")["robot"] == "twin"
    wrong = {
        "wide": ("arm", {"action": 7, "observation.state": 3}, r"found arm with action of 7, observation.state of 3; "),
        "narrow": ("arm", {"action": 1, "observation.state": 3}, r"found arm with action of 1"),
        "either": ("", {"action": 2, "observation.state": 3}, r"a robot without a name with action of 2"),
        "other": (
            "drone",
            {"action": 2, "observation.state": 3},
            r"found drone with action of 2.* name that with --robot",
        ),
    }
    for name, (robot, sizes, words) in wrong.items():
        with pytest.raises(inference.InputError, match=words) as told:
            load(name, robot, sizes)
        assert "the model knows arm: action of 2, observation.state of 3; hand: hand.action of 5" in str(told.value)


def test_of_one_robot_another_is_refused_unless_told_that_it_is_the_same(tmp_path):
    sizes = {"action": 2, "observation.state": 3}
    columns = {name: value for name, value in ARM.items() if name != "robot"}
    root = recorded(tmp_path / "drone", "drone", sizes)
    with pytest.raises(inference.InputError, match=r"found the robot drone; the model knows arm.* add --robot arm"):
        inference.load_lerobot(root, 0, columns)
    assert len(inference.load_lerobot(root, 0, columns, robot="arm")["actions"]) == 12
    assert len(inference.load_lerobot(root, 0, columns | {"type": ""})["actions"]) == 12
    for name in ("arm", "unknown", ""):
        own = recorded(tmp_path / f"own {name}", name, sizes)
        assert len(inference.load_lerobot(own, 0, columns)["actions"]) == 12


def test_another_version_of_lerobot_and_another_frame_rate_are_one_clear_error(tmp_path):
    root = recorded(tmp_path / "d", "arm", {"action": 2, "observation.state": 3})
    path = root / "meta" / "info.json"
    info = json.loads(path.read_text())
    for version in ("v1.6", "v4.0", 3, None):
        path.write_text(json.dumps(info | {"codebase_version": version}))
        with pytest.raises(inference.InputError, match=rf"codebase_version v2\.0 to v3\.0, found {version!r}"):
            inference.load_lerobot(root, 0, ARM)
    for fps in (60, 2):
        path.write_text(json.dumps(info | {"fps": fps}))
        with pytest.raises(inference.InputError, match=rf"{info['fps']} frames a second; .*info\.json says fps {fps}"):
            inference.load_lerobot(root, 0, ARM)


def test_a_column_that_is_wider_than_in_training_is_refused_and_not_cut(tmp_path):
    root = recorded(tmp_path / "d", "arm", {"action": 7, "observation.state": 3})
    with pytest.raises(inference.InputError, match="action: found 7 numbers a row; the model was trained on 2"):
        inference.load_lerobot(root, 0, ARM)


def test_the_list_of_episodes_is_read_once_for_all_their_tasks(tmp_path, monkeypatch):
    root = recorded(tmp_path / "d", "arm", {"action": 2, "observation.state": 3}, episodes=3)
    read, own = [], inference._read
    monkeypatch.setattr(inference, "_read", lambda at, path: (read.append(path.name), own(at, path))[1])
    for episode in inference.lerobot_episodes(root):
        assert inference.load_lerobot(root, episode, ARM, task_types=("close", "open"))["task"] == "open"
    assert read.count("episodes.jsonl") == 2, "by lerobot_episodes, and for the tasks"
    listed = root / "meta" / "episodes.jsonl"
    listed.write_text(listed.read_text().replace("open", "close") + "[]\n")
    assert inference.load_lerobot(root, 0, ARM, task_types=("close", "open"))["task"] == "close"


def two_cameras(root, episodes=3):
    """A LeRobot v3.0 dataset with a camera at the wrist beside the one in front."""
    made = make_dataset(root, [Made(rows=12, still=2, task=f"task {number}") for number in range(episodes)])
    wrist = "observation.images.wrist"
    (made / "videos" / wrist).symlink_to(made / "videos" / CAMERA)
    file = made / "meta" / "episodes" / "chunk-000" / "file-000.parquet"
    table = pq.read_table(file)
    for name in [name for name in table.column_names if name.startswith("videos/")]:
        table = table.append_column(name.replace(CAMERA, wrist), table[name])
    pq.write_table(table, file)
    info = json.loads((made / "meta" / "info.json").read_text())
    info["features"][wrist] = info["features"][CAMERA]
    (made / "meta" / "info.json").write_text(json.dumps(info))
    columns = {"actions": [["action", [0, 1]]], "state": [["observation.state", [0, 1, 2, 3]]]}
    return made, {"camera": CAMERA, "cameras": [CAMERA, wrist], **columns}


def test_the_table_of_episodes_is_read_once_for_all_episodes_and_cameras(tmp_path, monkeypatch):
    root, columns = two_cameras(tmp_path / "d")
    read, own = [], inference._read_parquet
    monkeypatch.setattr(inference, "_read_parquet", lambda at, *rest, **m: (read.append(at), own(at, *rest, **m))[1])
    tasks = [f"task {number}" for number in range(3)]
    for episode in inference.lerobot_episodes(root):
        found = inference.load_lerobot(root, episode, columns, task_types=tasks)
        assert found["task"] == tasks[episode] and [len(images) for images in found["images"].values()] == [12, 12]
    tables = [path for path in read if "episodes" in path.parts]
    assert len(tables) == 2, "by lerobot_episodes, and for the places of all cameras"
    with pytest.raises(inference.InputError, match="meta/episodes knows no episode 3"):
        inference.load_lerobot(root, 3, columns)
    table = pq.read_table(tables[0])
    renamed = table.column("tasks").to_pylist()[::-1]
    pq.write_table(table.set_column(table.column_names.index("tasks"), "tasks", pa.array(renamed)), tables[0])
    assert inference.load_lerobot(root, 0, columns, task_types=tasks)["task"] == "task 2", "a changed one is read again"
