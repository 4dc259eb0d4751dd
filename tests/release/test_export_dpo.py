"""Chosen and rejected as JSON Lines: the people's word, ties left out, where each episode is."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from export_maker import add_model, make_workspace, put_labels
from lerobot_maker import Made, make_dataset
from typer.testing import CliRunner

from preference.config import Dataset
from preference.errors import NotReady, UserError
from preference.workspace import Workspace
from release.preferences import export_dpo

EPISODES = 12


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root = tmp_path_factory.mktemp("pool")
    pool = make_dataset(root / "sample", [Made(rows=40 + i, jerk=0.002 * i) for i in range(EPISODES)], size=(80, 60))
    return make_workspace(root / "work", Dataset(path=pool, name="sample"))


@pytest.fixture
def ws(made, tmp_path):
    """A copy that a test may spoil."""
    made.store.close()
    shutil.copytree(made.root, tmp_path / "work")
    return Workspace(made.config.model_copy(update={"work": tmp_path / "work"}))


def lines_of(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_each_line_has_the_better_one_as_chosen_and_ties_are_counted(ws, tmp_path):
    made = put_labels(ws, [1.0, 0.0, 0.5, None, 1.0])
    add_model(ws, "rm-0002", seed=2, split={"train": ["p0", "p1"], "test": ["p4"]})
    result = export_dpo(ws, tmp_path / "pairs.jsonl")
    assert (result.pairs, result.ties_left_out, result.model) == (3, 1, "rm-0002")
    rows = lines_of(result.path)
    assert [(r["pair_id"], r["chosen"], r["rejected"], r["split"]) for r in rows] == [
        ("p0", made[0].trajectory_a_id, made[0].trajectory_b_id, "train"),
        ("p1", made[1].trajectory_b_id, made[1].trajectory_a_id, "train"),
        ("p4", made[4].trajectory_a_id, made[4].trajectory_b_id, "test"),
    ]
    t = ws.store.trajectories()[0]
    assert rows[0]["prompt"] == t.task_type and rows[0]["confidence"] == 4.5
    assert rows[0]["chosen_episode"] == {
        "dataset": "sample", "episode_index": t.episode_index, "start_s": t.start_s, "end_s": t.end_s,
    }  # fmt: skip


def test_the_margin_is_the_models_and_may_be_against_the_people(ws, tmp_path):
    from ml_backend.loop.queue_order import rewards_in_use

    put_labels(ws, [1.0, 1.0, 1.0, 0.0, 0.0, 0.0])
    rewards = rewards_in_use(ws)
    rows = lines_of(export_dpo(ws, tmp_path / "pairs.jsonl").path)
    assert [r["margin"] for r in rows] == pytest.approx(
        [rewards[r["chosen"]] - rewards[r["rejected"]] for r in rows], abs=1e-5
    )
    assert any(r["margin"] < 0 for r in rows) and any(r["margin"] > 0 for r in rows)


def test_without_a_model_there_is_no_margin_and_the_pairs_are_there_all_the_same(ws, tmp_path):
    put_labels(ws, [1.0])
    record = ws.store.active_model()
    ws.store.put_model_version(type(record).from_dict({**record.to_dict(), "active": False}))
    result = export_dpo(ws, tmp_path / "pairs.jsonl")
    (row,) = lines_of(result.path)
    assert result.model == "" and row["margin"] is None and row["split"] is None and row["chosen"]


def test_what_cannot_be_exported_is_said(ws, tmp_path):
    with pytest.raises(NotReady, match="robopref resolve"):
        export_dpo(ws, tmp_path / "pairs.jsonl")
    put_labels(ws, [0.5, 0.5])
    with pytest.raises(UserError, match="All 2 labels are ties"):
        export_dpo(ws, tmp_path / "pairs.jsonl")
    put_labels(ws, [1.0])
    with pytest.raises(UserError, match="is a folder"):
        export_dpo(ws, tmp_path)
    assert not (tmp_path / "pairs.jsonl").exists()


def test_both_exports_are_commands(ws, tmp_path):
    from robopref.cli import app

    put_labels(ws, [1.0, 0.5])
    config = tmp_path / "robopref.toml"
    pool = ws.config.pool.dataset[0].path
    config.write_text(f'work = "{ws.root}"\n[[pool.dataset]]\npath = "{pool}"\nname = "sample"\n')
    run = CliRunner()
    pairs = run.invoke(app, ["export", "dpo", str(tmp_path / "p.jsonl"), "-c", str(config), "--json"])
    assert json.loads(pairs.stdout)["ties_left_out"] == 1
    folder = run.invoke(app, ["export", "lerobot", str(tmp_path / "out"), "-c", str(config), "--json"])
    assert json.loads(folder.stdout)["episodes"] == EPISODES
    assert run.invoke(app, ["export", "lerobot", str(pool), "-c", str(config)]).exit_code == 1
