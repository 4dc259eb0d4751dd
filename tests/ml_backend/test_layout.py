"""Tasks, robots and cameras in one model: each keeps its columns, what is missing counts for nothing, and is told."""

from dataclasses import replace

import numpy as np
import pytest
from inference_maker import inference
from ml_maker import SMALL_REWARD, features, pairs_of, spec

from ml_backend.reward.dataset import Pairs, split_pairs
from ml_backend.reward.features import Features, check_features, collate, fit_normalization
from ml_backend.reward.layout import UNSEEN, Layout, Placed, Robot, known_task, robots_among
from ml_backend.reward.model import ModelSpec, RewardModel
from ml_backend.reward.train import train_model
from preference.config import Clips
from preference.errors import DataError

ARM, HAND = Robot("arm", 2, 3), Robot("hand", 5, 1)
LAYOUT = Layout(0, (ARM, HAND), ("close", "open"))


def item(actions, state, frames=0, steps=4):
    rng = np.random.default_rng(0)
    return Features(
        *(rng.normal(size=(steps, n)).astype(kind) for n, kind in ((frames, "f2"), (actions, "f4"), (state, "f4")))
    )


def test_one_robot_one_task_and_one_camera_stay_as_they_were_recorded():
    one = item(2, 3, frames=6)
    assert Layout(6, (ARM,)).place(one, 0, UNSEEN) is one


def test_each_robot_has_columns_of_its_own_and_each_task_one():
    one, other = item(2, 3), item(5, 1)
    first, second = LAYOUT.place(one, 0, LAYOUT.task("open")), LAYOUT.place(other, 1, LAYOUT.task("close"))
    assert LAYOUT.sizes == {"frames": 0, "actions": 7, "state": 6}
    assert np.array_equal(first.actions[:, :2], one.actions) and np.isnan(first.actions[:, 2:]).all()
    assert np.array_equal(second.actions[:, 2:], other.actions) and np.isnan(second.actions[:, :2]).all()
    assert np.array_equal(second.state[:, 3:4], other.state) and np.isnan(second.state[:, :3]).all()
    assert first.state[:, 4:].tolist() == [[0.0, 1.0]] * 4 and second.state[:, 4:].tolist() == [[1.0, 0.0]] * 4
    strange = LAYOUT.place(item(9, 9), LAYOUT.robot(Robot("hand", 9, 9)), LAYOUT.task("wipe"))
    assert np.isnan(strange.actions).all() and strange.state[:, 4:].tolist() == [[0.0, 0.0]] * 4


def test_a_robot_is_told_by_its_type_and_its_sizes_and_a_missing_modality_makes_no_other():
    found = robots_among(
        [Robot("", 2, 3), Robot("arm", 2, 3), Robot("arm", 2, 0), Robot("arm", 4, 3), Robot("b", 2, 3)]
    )
    assert found == (Robot("arm", 4, 3), Robot("arm", 2, 3), Robot("b", 2, 3))
    assert Layout(0, found).robot(Robot("arm", 2, 0)) == 1
    assert Layout(0, found).robot(Robot("arm", 3, 3)) == UNSEEN
    assert Layout(0, (Robot("", 2, 3),)).robot(Robot("anything", 2, 3)) == 0, "old models do not know types"


def test_each_robot_is_normalized_by_its_own_values_and_each_view_by_its_own_frames():
    ours, theirs = [item(2, 3) for _ in range(3)], [item(5, 1, steps=9) for _ in range(4)]
    placed = Placed([*ours, *theirs], LAYOUT, [0] * 3 + [1] * 4, [0] * 7)
    rng = np.random.default_rng(0)
    both, alone = fit_normalization(placed, 0, rng), fit_normalization(ours, 0, rng)
    assert np.allclose(both.action_mean[:2], alone.action_mean) and np.allclose(
        both.action_scale[:2], alone.action_scale
    )
    assert np.allclose(both.state_scale[:3], alone.state_scale)
    made, _ = features(count=30, frame_size=4)
    views = [replace(f, frames=np.hstack([f.frames, 3 * f.frames + 1])) for f in made]
    for one in views[::3]:
        one.frames[:, 4:] = np.nan
    found = fit_normalization(views, 4, rng, views=2)
    assert np.allclose(found.frame_projection[:4, :2], fit_normalization(made, 2, rng).frame_projection, atol=1e-5)
    assert not found.frame_projection[:4, 2:].any() and not found.frame_projection[4:, :2].any()
    assert found.frame_projection[4:, 2:].any()


def test_what_is_missing_counts_as_the_mean_and_half_missing_is_an_error():
    made, _ = features(frame_size=4)
    views = [replace(f, frames=np.hstack([f.frames, f.frames])) for f in made]
    own = spec(inputs=("frames", "state"), frame_size=8, projection=4, cameras=("front", "wrist"))
    model = RewardModel(own)
    model.set_normalization(fit_normalization(views, 4, np.random.default_rng(0), views=2))
    hidden = replace(views[0], frames=views[0].frames.copy())
    hidden.frames[:, :4] = np.nan
    mean = replace(hidden, frames=hidden.frames.astype(np.float32))
    mean.frames[:, :4] = model.frame_mean.numpy()[:4]
    assert model.score([hidden])[0] == pytest.approx(model.score([mean])[0], abs=1e-6)
    assert model.score([hidden])[0] != pytest.approx(model.score([views[0]])[0], abs=1e-6)
    names = [f"t{i}" for i in range(len(views))]
    check_features([hidden, *views[1:]], names, own.sizes, own.inputs)
    hidden.frames[0, :4] = 0.0
    with pytest.raises(DataError, match="t0, frames: holds nan or infinity"):
        check_features([hidden, *views[1:]], names, own.sizes, own.inputs)


KNOWN = ("close the drawer", "open the drawer", "Wipe!", "wipe", "")


@pytest.mark.parametrize(
    ("said", "place"),
    [
        ("open the drawer", 1), ("Open the drawer.", 1), ("  OPEN  the-drawer", 1), ("", 4),
        ("pull the drawer open", UNSEEN), ("öffne die Schublade", UNSEEN), ("open drawer", UNSEEN), ("...", UNSEEN),
        ("wipe", 3), ("Wipe", UNSEEN),
    ],
)  # fmt: skip
def test_a_task_is_known_by_its_words_in_any_case_and_punctuation_and_by_no_others(said, place):
    assert known_task(said, KNOWN) == place == inference.known_task(said, KNOWN)


def two_tasks():
    """The same motions judged by opposite words; which task it is stands nowhere but in the task's column."""
    made, truth = features(count=60)
    one = pairs_of(truth, count=150, ties=0.0)
    shifted = replace(one, pair_ids=tuple(f"q{i}" for i in range(150)), a=one.a + 60, b=one.b + 60, label=1 - one.label)
    a, b, label, weight = (
        np.concatenate([getattr(one, name), getattr(shifted, name)]) for name in ("a", "b", "label", "weight")
    )
    pairs = Pairs((*one.pair_ids, *shifted.pair_ids), a, b, label, weight)
    own = spec(task_types=("close", "open"), task_columns=True)
    place = Placed([*made, *made], own.layout, [0] * 120, [1] * 60 + [0] * 60)
    reward = SMALL_REWARD.model_copy(update={"epochs": 60})
    split = split_pairs([pair_id[1:] for pair_id in pairs.pair_ids], 0)
    return train_model(place, pairs, split, own, reward, seed=0).model, made, own, truth


def test_one_model_learns_opposite_tasks_and_without_the_task_it_knows_neither():
    model, made, own, truth = two_tasks()
    scores = {task: model.score(Placed(made, own.layout, [0] * 60, [task] * 60))[0] for task in (0, 1, UNSEEN)}
    assert np.corrcoef(scores[1], truth)[0, 1] > 0.8 and np.corrcoef(scores[0], truth)[0, 1] < -0.8
    before = model.score(Placed([*made, *made], own.layout, [0] * 120, [1] * 60 + [UNSEEN] * 60))[0]
    model.cool(2.0, {"open": 4.0})
    assert len(model.task_scale) == 2
    after = model.score(Placed([*made, *made], own.layout, [0] * 120, [1] * 60 + [UNSEEN] * 60))[0]
    assert np.diff(after[:60]) == pytest.approx(np.diff(before[:60]) / 4, abs=1e-5), "its own temperature"
    assert np.diff(after[60:]) == pytest.approx(np.diff(before[60:]) / 2, abs=1e-5), "that of all"
    assert scores[UNSEEN].std() < 0.5 * min(scores[0].std(), scores[1].std()), "what they share is nothing"


def test_a_model_keeps_its_robots_tasks_and_cameras_in_its_file(tmp_path):
    names = {"action_names": tuple("abcdefg"), "state_names": tuple("wxyz"), "cameras": ("front", "wrist")}
    own = spec(robots=(("arm", 2, 3), ("hand", 5, 1)), task_types=("close", "open"), task_columns=True, **names)
    RewardModel(own).save(tmp_path / "model.pt")
    loaded = RewardModel.load(tmp_path / "model.pt").spec
    assert loaded == own and loaded.layout == LAYOUT
    before = {name: value for name, value in vars(spec()).items() if name not in ("cameras", "robots", "task_columns")}
    assert ModelSpec.from_dict(before).layout == Layout(0, (Robot("", 2, 3),)), "models made before know one robot"


def test_a_batch_of_two_robots_is_scored_as_each_of_them_alone():
    own = spec(
        robots=(("arm", 2, 3), ("hand", 5, 1)), action_names=tuple("abcdefg"), state_names=tuple("wxyz"),
        task_types=("close", "open"), task_columns=True,
    )  # fmt: skip
    model = RewardModel(own)
    placed = Placed([item(2, 3, steps=7), item(5, 1)], own.layout, [0, 1], [0, 1])
    model.set_normalization(fit_normalization(placed, 0, np.random.default_rng(0)))
    together = model.score(placed)[0]
    assert np.isfinite(together).all()
    assert together == pytest.approx([model.score([one])[0][0] for one in placed], abs=1e-5)
    assert collate(placed)[2].shape == (2, 7, 6)


def exported(tmp_path, **changes):
    """A model of two robots and two tasks as the release has it, and the trajectories that it was normalized by."""
    from inference_maker import inference

    from release.onnx import WholePath, contract_of, export_onnx

    own = spec(
        robots=(("arm", 2, 3), ("hand", 5, 1)), action_names=tuple("abcdefg"), state_names=tuple("wxyz"),
        task_types=("close", "open"), task_columns=True, members=2, hidden=8, **changes,
    )  # fmt: skip
    model = RewardModel(own).eval()
    recorded = [item(2, 3, steps=7), item(5, 1)]
    placed = Placed(recorded, own.layout, [0, 1], [0, 1])
    model.set_normalization(fit_normalization(placed, 0, np.random.default_rng(0)))
    whole = WholePath(model, None)
    contract = contract_of(own, placed, Clips(), [], {}, {}, name="x", version="1")
    export_onnx(whole, own, contract, tmp_path / "reward_model.onnx", tmp_path / "kept.onnx")
    return inference, inference.RewardModel.load(tmp_path, threads=1), model, own, recorded


def test_a_release_takes_each_robots_own_arrays_and_the_tasks_name_and_says_what_it_does_not_know(tmp_path):
    from release.onnx import Example, WholePath, parity

    inference, released, model, own, recorded = exported(tmp_path)
    arm, hand = recorded
    examples = [Example("a", np.zeros((7, 0)), arm.actions, arm.state, (), 0, 1)]
    examples += [Example("b", np.zeros((4, 0)), hand.actions, hand.state, (), 1, 0)]
    assert max(parity(tmp_path / "reward_model.onnx", WholePath(model, None), own, examples).values()) < 1e-4

    def here(one, robot, task):
        return float(model.score([own.layout.place(one, robot, task)])[0][0])

    assert released.score(None, arm.actions, arm.state, task="open") == pytest.approx(here(arm, 0, 1), abs=1e-5)
    assert released.score(None, hand.actions, hand.state, task="close", robot="hand") == pytest.approx(
        here(hand, 1, 0), abs=1e-5
    )
    assert released.score(None, arm.actions, arm.state, task="Open.") == pytest.approx(here(arm, 0, 1), abs=1e-5)
    for task, words in (("wipe", "task 'wipe' is not one that this model knows"), ("", "no task is given")):
        with pytest.warns(UserWarning, match=words):
            assert released.score(None, arm.actions, arm.state, task=task) == pytest.approx(here(arm, 0, -1), abs=1e-5)
    with pytest.raises(inference.InputError, match=r"found a robot with 3 actions .* it knows only arm: 2 actions"):
        released.score(None, np.zeros((4, 3)), arm.state[:4], task="open")
    with pytest.raises(inference.InputError, match=r"found hand with 2 actions and 3 state values; it knows only"):
        released.score(None, arm.actions, arm.state, task="open", robot="hand")
    with pytest.raises(inference.InputError, match="hold nan"):
        released.score(None, np.full((7, 2), np.nan), arm.state, task="open")


def test_the_check_of_a_released_graph_sees_every_output_and_what_a_missing_task_or_robot_gives(tmp_path):
    from release.onnx import Example, WholePath, output_names, parity

    _, _, model, own, (arm, hand) = exported(tmp_path, outcomes=("progress", "success"))
    examples = [Example("a", np.zeros((7, 0)), arm.actions, arm.state, (), 0, 1)]
    examples += [Example("b", np.zeros((4, 0)), hand.actions, hand.state, (), 1, 0)]

    def off(name="", change=0.0):
        """The outputs that differ, once the model's weights `name` are no longer those of the graph."""
        other = RewardModel(own).eval()
        other.load_state_dict(model.state_dict())
        if name:
            other.get_parameter(name).data[0] += change
        found = parity(tmp_path / "reward_model.onnx", WholePath(other, None), own, examples)
        assert list(found) == output_names(own)
        return {name for name, value in found.items() if not value <= 1e-4}

    assert off() == set()
    reward, outcomes = {"reward", "spread", "rewards", "rewards_spread"}, ("progress", "success")
    assert off("output_weight", 1.0) == reward
    assert off("outcomes.output_bias", 1.0) == {f"{name}{end}" for name in outcomes for end in ("", "_spread")}
    assert off("output_weight", float("nan")) == reward
    seen = []

    class Noted(WholePath):
        def forward(self, *inputs):
            seen.append(dict(zip(self.names, inputs, strict=True)))
            return super().forward(*inputs)

    parity(tmp_path / "reward_model.onnx", Noted(model, None), own, examples)
    together = seen[-1]
    assert together["task"].tolist() == [0, 0, -1, 0] and together["mask"].sum(dim=1).tolist() == [4, 4, 4, 1]
    assert together["actions"][:, 0].isnan().all(dim=1).tolist() == [False, True, False, False], "one of no known robot"


def test_the_check_of_a_graph_of_several_cameras_leaves_out_each():
    from release.onnx import Example, _odd_ones

    own = spec(inputs=("frames", "actions"), cameras=("front", "wrist"), frame_size=8, projection=2)
    front, wrist = np.ones((3, 9, 12, 3), np.uint8), np.ones((3, 10, 9, 3), np.uint8)
    example = Example("a", front, np.zeros((3, 2), np.float32), np.zeros((3, 3), np.float32), (wrist,))
    feed = _odd_ones(own, [example])
    assert feed["views"].tolist() == [[1, 1], [1, 1], [1, 1], [0, 1], [1, 0], [1, 1]]
    assert feed["frames"].shape == (6, 3, 9, 12, 3) and feed["frames_2"].shape == (6, 3, 10, 9, 3)
    assert feed["mask"].sum(axis=1).tolist() == [3, 3, 3, 3, 3, 1]
    assert feed["frames"].any(axis=(1, 2, 3, 4)).tolist() == [True, True, True, False, True, True]


def test_cameras_go_by_name_and_some_may_be_missing():
    from inference_maker import inference

    front, names = np.zeros((3, 8, 8, 3), np.uint8), ["front", "wrist"]
    assert [view is None for view in inference.views_of(front, names)] == [False, True]
    assert [view is None for view in inference.views_of({"wrist": front}, names)] == [True, False]
    with pytest.raises(inference.InputError, match="no camera 'top'; expected some of front, wrist"):
        inference.views_of({"top": front}, names)
    for nothing in ({"wrist": None}, {}, None):
        with pytest.raises(inference.InputError, match="there is no picture"):
            inference.views_of(nothing, names)
    one = inference.RewardModel(None, {"inputs": ["frames"], "sample_fps": 5.0, "max_frames": 64, "task_types": []})
    with pytest.raises(inference.InputError, match=r"images have shape \(\)"):
        one.score(None, np.zeros((3, 2)))


def test_a_pool_of_two_cameras_and_two_robots_is_encoded_described_and_scored_by_a_model_that_knows_one(
    tmp_path, capsys
):
    from format_maker import make_folder
    from lerobot_maker import Made, write_video

    from importer.pool.build import build_pool
    from ml_backend.loop.features import encode_pool
    from ml_backend.loop.spec import describe, features_for
    from preference.workspace import Workspace
    from release.gather import _columns

    folder = make_folder(tmp_path / "d", {name: Made(rows=30, task="reach") for name in "ab"})
    write_video(folder / "a" / "wrist.mp4", 30)
    other = make_folder(tmp_path / "e", {"c": Made(rows=30, task="wipe", extra={"robot_type": "other"})})
    text = 'workers = 1\n[reward]\nweights = "none"\nencoder = "resnet10t"\nsample_fps = 2.0\n[[pool.dataset]]\n'
    text += f'path = "{folder}"\nname = "d"\nrobot = "so101"\ncolumns.camera = ["front", "wrist"]\n'
    (tmp_path / "robopref.toml").write_text(text + f'[[pool.dataset]]\npath = "{other}"\nname = "e"\n')
    ws = Workspace.open(tmp_path / "robopref.toml")
    build_pool(ws)
    pool = ws.store.trajectories()
    store = encode_pool(ws, pool)
    recorded = [store[t.trajectory_id] for t in pool]
    size = recorded[2].frames.shape[1]
    assert [f.frames.shape[1] for f in recorded] == [2 * size, 2 * size, size]
    assert np.isfinite(recorded[0].frames.astype(float)).all()
    assert (
        np.isnan(recorded[1].frames[:, size:]).all() and np.isfinite(recorded[1].frames[:, :size].astype(float)).all()
    )
    both = describe(ws, store, pool)
    assert both.robots == (("other", 2, 4), ("so101", 2, 4)) and both.cameras == ("front", "wrist")
    assert both.task_types == ("reach", "wipe") and both.task_columns and both.frame_size == 2 * size
    assert both.action_names[2].startswith("so101: ") and len(both.action_names) == 4
    columns = _columns(ws, both, pool, store)
    assert [one["robot"] for one in columns["robots"]] == ["other", "so101"]
    assert [one.get("cameras") for one in columns["robots"]] == [None, ["front", "wrist"]]
    assert columns["robots"][1]["views"] == {"front": "front", "wrist": "wrist"}
    assert [sum(one["widths"].values()) for one in columns["robots"]] == [6, 6]
    assert columns["actions"] == columns["robots"][0]["actions"]
    placed = store.placed(both.layout, pool)
    assert {len(row) for f in placed.sequence([t.trajectory_id for t in pool]) for row in f.frames} == {2 * size}
    one = describe(ws, store, pool[:2])
    assert one.robots == (("so101", 2, 4),) and not one.task_columns and one.action_names[0].count(":") == 0
    found = features_for(ws, one, tmp_path)
    told = " ".join(capsys.readouterr().err.split())
    assert "1 trajectories are of robots that" in told and "Their rewards go by the pictures alone." in told
    assert "of task types that" in told and "(wipe)" in told and "what its tasks share" in told
    assert np.isnan(found[pool[2].trajectory_id].actions).all()
    blind = replace(one, inputs=("actions", "state"), frame_size=0, projection=0, cameras=())
    with pytest.raises(DataError, match=r"e-c is of other with 2 actions and 4 state values; .* was trained on so101"):
        features_for(ws, blind, tmp_path)
    ws.store.close()
