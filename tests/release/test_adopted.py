"""What an adopted release may not do to a workspace, and what a project that continues one may lack."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from importer.pairs.batches import next_id
from importer.pairs.sampling import UNIFORM
from importer.pool.manifest import read_manifest, write_manifest
from importer.simulate import answering
from ml_backend.loop import spec as description
from ml_backend.reward.dataset import SPLITS, split_pairs
from ml_backend.reward.layout import Robot
from preference.config import Reward
from preference.errors import DataError
from preference.records import ADOPTED_FROM, AS_RELEASED, Annotator, Batch, Trajectory
from release import adopt, gather
from release.adopted_answers import read_tables


def tables(folder, a="d-1", b="d-2", pair="p", batch="production-001", label=1.0, kind="production"):
    """The tables of a release of one pair."""
    split = split_pairs([" ".join(sorted((a, b)))], 0)
    own = next(name for name in SPLITS if len(getattr(split, name)))
    ids = {"pair_id": pair, "trajectory_a_id": a, "trajectory_b_id": b}
    told = {"confidence_mean": 3.0, "num_annotators": 1, "agreement": 1.0, "annotator_ids": ["al"], "split": own}
    said = {"annotator_id": "al", "preference": "A", "kind": kind, "stratum": "same", "batch_id": batch}
    parquet.write_table(pa.Table.from_pylist([ids | {"preference": label} | told]), folder / "preferences.parquet")
    parquet.write_table(pa.Table.from_pylist([ids | said]), folder / "judgments.parquet")
    write_manifest(folder / "manifest.csv", [Trajectory(name, "d", 0, "expert", "reach") for name in (a, b)])
    return folder


def test_no_id_of_a_release_leads_out_of_the_workspace(tmp_path):
    assert [pair.pair_id for pair in read_tables(tables(tmp_path), 0).pairs] == ["p"]
    for other in ({"batch": "../../x"}, {"a": "/tmp/x"}, {"b": ".."}, {"pair": "x/y"}, {"batch": ""}):
        with pytest.raises(DataError, match="is not an id"):
            read_tables(tables(tmp_path, **other), 0)


def test_tables_that_are_none_of_a_release_are_one_error(tmp_path):
    with pytest.raises(DataError, match=r"expected 1\.0, 0\.0 or 0\.5, found 0\.7"):
        read_tables(tables(tmp_path, label=0.7), 0)
    parquet.write_table(pa.table({"pair_id": ["p"]}), tmp_path / "preferences.parquet")
    with pytest.raises(DataError, match="not those of a release"):
        read_tables(tmp_path, 0)


@pytest.mark.parametrize(("kind", "strategy"), [("active", UNIFORM), ("production", "")])
def test_gold_pairs_of_a_round_are_those_of_its_audit(tmp_path, kind, strategy):
    path = tables(tmp_path, batch="active-001", kind="gold") / "judgments.parquet"
    gold = parquet.read_table(path).to_pylist()[0]
    parquet.write_table(pa.Table.from_pylist([gold, gold | {"pair_id": "without a label", "kind": kind}]), path)
    assert [(pair.kind, pair.strategy) for pair in read_tables(tmp_path, 0).pairs] == [("gold", strategy)]


def test_a_batch_with_a_note_like_an_adopted_ones_is_none():
    mine = Batch("production-001", "production", notes=[f"{ADOPTED_FROM}the lab next door."])
    assert not mine.adopted
    accepted = {"status": "accepted", "by": "maria", "at": "2026-03-01", "why": "looked at"}
    assert not replace(mine, decisions=[accepted]).adopted
    assert replace(mine, decisions=[accepted | {"why": AS_RELEASED}, accepted]).adopted


def test_features_are_taken_of_the_manifests_trajectories_alone(tmp_path, monkeypatch):
    (tmp_path / "work").mkdir()
    ws = SimpleNamespace(features=tmp_path / "work" / "features", config=SimpleNamespace(reward=Reward()))
    spec = SimpleNamespace(layout=SimpleNamespace(robots=(Robot("", 1, 1),)))
    monkeypatch.setattr(adopt, "encoder_settings", lambda _: None)
    rows = np.zeros((2, 1), np.float32)
    arrays = {"frames": rows, "actions": rows, "state": rows, "offsets": np.array([0, 1, 2])}
    np.savez(tmp_path / "features.npz", trajectory_ids=np.array(["d-1", "../../out"]), **arrays)
    adopt._put_features(ws, SimpleNamespace(folder=tmp_path, spec=spec), {"d-1"})
    assert [path.name.partition(".")[0] for path in tmp_path.rglob("*.npy")] == ["d-1"]
    np.savez(tmp_path / "features.npz", trajectory_ids=np.array([{}], dtype=object), **arrays)
    with pytest.raises(DataError, match="holds no features"):
        adopt._put_features(ws, SimpleNamespace(folder=tmp_path, spec=spec), {"d-1"})


def test_a_new_batch_is_none_of_a_releases_which_may_have_gaps():
    def after(*made):
        batches = [Batch(batch_id, kind, "accepted", "") for batch_id, kind in made]
        return next_id(SimpleNamespace(store=SimpleNamespace(batches=lambda: batches)), "production")

    assert (after(), after(("production-001", "production"))) == ("production-001", "production-002")
    assert after(("production-001", "production"), ("production-003", "production")) == "production-004"


def test_a_robot_that_only_the_release_has_keeps_its_columns(monkeypatch):
    arm, hand = Robot("arm", 2, 3), Robot("hand", 5, 1)
    spec = SimpleNamespace(layout=SimpleNamespace(robots=(arm, hand)), cameras=())
    store = SimpleNamespace(robot_of=lambda _: arm)
    monkeypatch.setattr(gather, "_columns_of", lambda *_: {"camera": "front"})
    monkeypatch.setattr(gather, "_columns_before", lambda _: {"hand": {"camera": "top", "robot": "hand"}})
    found = gather._columns(None, spec, ["t"], store)
    assert [(one["robot"], one["camera"]) for one in found["robots"]] == [("arm", "front"), ("hand", "top")]
    monkeypatch.setattr(gather, "_columns_before", lambda _: {})
    assert [one["robot"] for one in gather._columns(None, spec, ["t"], store)["robots"]] == ["arm"]


def test_a_project_with_fewer_cameras_than_its_release_keeps_the_releases(monkeypatch):
    own = Trajectory("o-1", "ours", 0, "expert", "reach")
    theirs = Trajectory("d-1", "theirs", 0, "expert", "reach", in_pool=False, clip_sha256="0" * 64)
    robot, columns = Robot("", 1, 1), SimpleNamespace(columns=SimpleNamespace(camera=["front"]))
    wide = {"o-1": 4, "d-1": 8}
    store = SimpleNamespace(
        robot_of=lambda _: robot, sizes_of=lambda name: {"frames": wide[name]}, encoder=None, paths={}
    )
    released = SimpleNamespace(cameras=("top", "wrist"))
    for name, found in (
        ("adopted_spec", ("theirs", released)), ("check_robot", None), ("find_dataset", columns),
        ("feature_names_of", {}),
    ):  # fmt: skip
        monkeypatch.setattr(description, name, lambda *_, found=found: found)
    ws = SimpleNamespace(config=SimpleNamespace(reward=Reward(), pool=None))
    spec = description.describe(ws, store, [own, theirs])
    assert (spec.cameras, spec.frame_size) == (("top", "wrist"), 8)


def test_simulated_people_of_a_release_do_not_keep_others_from_answering():
    people = [Annotator("d:bo", "", active=False, teacher="elsewhere"), Annotator("al", "", teacher="noisy")]
    store = SimpleNamespace(trajectories=list, annotators=lambda: people)
    ws = SimpleNamespace(store=store, config=SimpleNamespace(seed=0, pool=None))
    assert list(answering._teachers(ws)) == ["al"]


def test_a_manifest_is_read_as_it_was_written(tmp_path):
    """Also names that a spreadsheet would take for formulas."""
    there = [
        Trajectory("d-1", "=d", 0, "expert", "-pick", num_frames=7),
        Trajectory("d-2", "'d", 1, "novice", "re'ach"),
    ]
    write_manifest(tmp_path / "manifest.csv", there)
    read = read_manifest(tmp_path / "manifest.csv")
    assert [(t.dataset, t.task_type) for t in read] == [(t.dataset, t.task_type) for t in there]
    assert [t.num_frames for t in read] == [7, 0]


@pytest.mark.parametrize("questions", ["{", "[]", '{"al": 1}'])
def test_answers_to_questions_that_are_none_are_one_error(tmp_path, questions):
    folder = tables(tmp_path)
    (label,) = parquet.read_table(folder / "preferences.parquet").to_pylist()
    parquet.write_table(pa.Table.from_pylist([label | {"questions": questions}]), folder / "preferences.parquet")
    with pytest.raises(DataError):
        read_tables(folder, 0)
