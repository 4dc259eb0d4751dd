"""What training cannot use is one clear error on the command line: what, where, what to do, and nothing is lost."""

import contextlib
import io
import json
import shlex
import shutil
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from disk_maker import full, small_disk
from lerobot_maker import Made, make_dataset, video_path
from pool_maker import pool_of_eight
from preference_maker import put_preferences
from typer.testing import CliRunner

from importer.pool.build import build_pool
from ml_backend.loop.features import encode_pool
from ml_backend.reward.features import read_features
from ml_backend.reward.model import RewardModel
from preference.workspace import Workspace
from robopref.cli import app


@pytest.fixture(scope="module")
def encoded(run_folder, tmp_path_factory):
    """Eight trajectories with cached features, and twenty answered pairs; not to be changed."""
    folder = tmp_path_factory.mktemp("encoded")
    ws = pool_of_eight(run_folder, folder)
    encode_pool(ws, ws.store.trajectories())
    ws.store.close()
    return folder


@pytest.fixture
def project(encoded, tmp_path):
    return shutil.copytree(encoded, tmp_path / "project")


def robopref(project, command="train"):
    """Exit code and what was said, in this process, as torch takes seconds to import; a traceback fails the test."""
    run = CliRunner().invoke(app, [command, "--config", str(project / "robopref.toml")], catch_exceptions=False)
    return run.exit_code, run.stderr


def set_to(project, old, new):
    path = project / "robopref.toml"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


def labels(project, change):
    """Relabel the pairs, each by `change(number, preference)`; those for which it gives None go."""
    ws = Workspace.open(project / "robopref.toml")
    with contextlib.closing(ws.store):
        put_preferences(ws, filter(None, (change(*item) for item in enumerate(ws.store.preferences()))))


def models(project):
    ws = Workspace.open(project / "robopref.toml")
    with contextlib.closing(ws.store):
        return [model.version for model in ws.store.model_versions()]


def test_fewer_labels_than_asked_for_are_counted_before_anything_is_encoded(project):
    set_to(project, "min_preferences = 10", "min_preferences = 20")
    labels(project, lambda number, row: row if number < 19 else None)
    shutil.rmtree(project / "work" / "features")
    assert robopref(project) == (
        3,
        "robopref: 19 pairs have a label; training needs at least 20.\n"
        "Ask more pairs, or lower reward.min_preferences.\n",
    )
    assert not (project / "work" / "features").exists()


@pytest.mark.parametrize(
    ("label", "said"),
    [
        (lambda number: 1.0, "All 20 labelled pairs say A: that says nothing"),
        (lambda number: 0.0 if number % 4 else 0.5, "All 15 labelled pairs say B (5 ties aside)"),
        (lambda number: 0.5, "All 20 labelled pairs are ties"),
    ],
)
def test_labels_of_one_class_are_refused(project, label, said):
    labels(project, lambda number, row: replace(row, preference=label(number)))
    code, told = robopref(project)
    assert code == 3 and said in told
    assert "swap the sides" in told or "differ more" in told


def test_a_compared_trajectory_without_features_is_named_with_what_is_wrong_with_it(project):
    rewrite(project, lambda table: table.filter(pa.compute.not_equal(table["episode_index"], 3)))
    code, told = robopref(project)
    assert code == 1
    assert "1 compared trajectories have no features. The first is tiny-000003 (tiny, episode 3: " in told
    assert "file-000.parquet" in told
    assert "tiny,3," in (project / "work" / "features" / "failures.csv").read_text()
    assert models(project) == []


@pytest.mark.parametrize("damage", ["missing", "cut short"])
def test_a_video_that_cannot_be_read_is_named(project, damage):
    shutil.rmtree(project / "work" / "features")
    video = video_path(project / "data")
    video.unlink() if damage == "missing" else video.write_bytes(video.read_bytes()[:3000])
    code, told = robopref(project)
    assert code == 1
    assert f"None of 8 trajectories could be encoded. The first: tiny, episode 0: {video}" in told


def test_values_that_are_no_numbers_are_named_with_their_trajectory_and_field(project):
    def spoilt(table):
        state = [list(row) for row in table["observation.state"].to_pylist()]
        first = table["episode_index"].to_pylist().index(2)
        for row in state[first : first + 44]:
            row[1] = float("nan")
        return table.set_column(table.column_names.index("observation.state"), "observation.state", pa.array(state))

    rewrite(project, spoilt)
    code, told = robopref(project)
    assert code == 1
    assert "The first is tiny-000002 (tiny, episode 2: " in told
    assert "observation.state: row 0 of the episode is not finite (44 such rows)" in told


def test_an_input_that_is_the_same_everywhere_is_named(project):
    def still(table):
        same = pa.array([[1.0, 1.0]] * table.num_rows)
        return table.set_column(table.column_names.index("action"), "action", same)

    rewrite(project, still)
    code, told = robopref(project)
    assert code == 1
    assert "actions: the same in every step of all 8 trajectories." in told
    assert "leave actions out of reward.inputs" in told


def test_a_model_of_one_robot_says_that_it_does_not_know_another_and_the_next_training_learns_both(project):
    assert robopref(project)[0] == 0
    other_robot(project)
    code, told = robopref(project, "rank")
    assert code == 0, told
    assert (
        "trajectories are of robots that" in told and "the first of a robot with 3 actions and 4 state values" in told
    )
    assert "Their rewards go by the pictures alone." in told
    set_to(project, "[reward]", '[reward]\ninputs = ["actions", "state"]')
    code, told = robopref(project)
    assert code == 0 and models(project) == ["rm-0001", "rm-0002"]
    spec = RewardModel.load(project / "work" / "models" / "rm-0002" / "model.pt").spec
    assert [size for _, *size in spec.robots] == [[3, 4], [2, 4]]


def other_robot(project):
    folder = make_dataset(project / "arm", [Made(rows=44, still=10)])
    (table,) = folder.glob("data/*/*.parquet")
    rows = pq.read_table(table)
    three = pa.array([[*row, 0.1 * i] for i, row in enumerate(rows["action"].to_pylist())], pa.list_(pa.float32()))
    pq.write_table(rows.set_column(rows.column_names.index("action"), "action", three), table)
    info = json.loads((folder / "meta" / "info.json").read_text())
    info["features"]["action"]["shape"] = [3]
    (folder / "meta" / "info.json").write_text(json.dumps(info))
    set_to(project, "[reward]", '[[pool.dataset]]\npath = "arm"\nname = "arm"\n[reward]')
    ws = Workspace.open(project / "robopref.toml")
    with contextlib.closing(ws.store):
        build_pool(ws)


def test_a_checkpoint_of_another_configuration_is_named_and_nothing_else_is_touched(project, monkeypatch):
    from ml_backend.reward import train

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(train.Trained, "__init__", killed)
        assert robopref(project)[0] == 130
        set_to(project, "hidden = 8", "hidden = 16")
        assert robopref(project)[0] == 130
    checkpoints = project / "work" / "checkpoints"
    one, two = sorted(checkpoints.iterdir(), key=lambda path: path.stat().st_mtime)
    shutil.copy(one, two)
    code, told = robopref(project)
    assert code == 1
    assert f"{two} is the checkpoint of another configuration: expected '" in told
    assert f"Delete {two} and train again." in told
    two.write_bytes(two.read_bytes()[:1000])
    code, told = robopref(project)
    assert code == 1 and f"{two} is not a checkpoint, or is truncated" in told
    two.unlink()
    assert robopref(project)[0] == 0
    assert list(checkpoints.iterdir()) == [one]


def test_a_model_of_another_configuration_is_named(project):
    assert robopref(project)[0] == 0
    file = project / "work" / "models" / "rm-0001" / "model.pt"
    saved = torch.load(file, weights_only=True)
    saved["spec"]["hidden"] = 16
    torch.save(saved, file)
    code, told = robopref(project, "rank")
    assert code == 1 and f"{file}: weights and description differ" in told
    torch.save({"format": 1}, file)
    code, told = robopref(project, "rank")
    assert code == 1 and "expected a reward model of format 4, found 1" in told


def test_cache_files_that_were_cut_short_are_made_again_with_a_word(project):
    files = sorted((project / "work" / "features").glob("*.npy"))
    whole = [np.array(read_features(file).frames) for file in files]
    for file, size in zip(files[:4], (0, 40, 200, 1000), strict=True):
        file.write_bytes(file.read_bytes()[:size])
    code, told = robopref(project)
    assert code == 0
    assert "4 feature files were truncated; their trajectories are encoded again." in told
    assert all(np.array_equal(read_features(file).frames, values) for file, values in zip(files, whole, strict=True))


@pytest.mark.parametrize("place", ["features", "checkpoints", "curves", "models"])
def test_a_full_disk_is_said_wherever_it_is_met_and_with_space_it_goes_on(project, place):
    folder = project / "work" / place
    shutil.rmtree(folder, ignore_errors=True)
    with small_disk(folder, 1 << 20) as mounted:
        with full(folder, mounted):
            code, told = robopref(project)
        assert code == 1
        assert f"No space left on the disk for {folder}" in told and "Free some and run again." in told
        assert models(project) == []
        assert [
            path for path in folder.rglob("*") if path.is_file() and path.stat().st_size and place != "curves"
        ] == []
        assert robopref(project)[0] == 0
        assert models(project) == ["rm-0001"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("restnet18", "timm has no network 'restnet18'.\nDid you mean resnet18, "),
        ("vit_smal_patch16_224", "Did you mean vit_small_patch16_224, "),
        ("ResNet18", "Did you mean resnet18, "),
        ("qqq", "timm has no network 'qqq'.\nList more: python -c "),
        ("resnet18.a9_in1k", "none with the tag 'a9_in1k'.\nLeave out the tag, or use one of: resnet18.a1_in1k, "),
    ],
)
def test_an_encoder_that_timm_does_not_know_is_named_with_those_close_to_it(project, name, said):
    set_to(project, '"resnet10t"', f'"{name}"')
    code, told = robopref(project)
    assert code == 2 and said in told


def test_the_way_to_list_encoders_works_as_it_is_said(project):
    set_to(project, '"resnet10t"', '"resnet10s"')
    python, option, program = shlex.split(robopref(project)[1].split("List more: ")[1])
    assert (python, option) == ("python", "-c")
    with contextlib.redirect_stdout(io.StringIO()) as listed:
        exec(program, {})
    assert {"resnet10t", "resnet18"} <= set(listed.getvalue().split())


def test_a_name_with_the_hubs_tag_is_the_same_network():
    from ml_backend.reward.encoder import load
    from ml_backend.reward.encoder_weights import resolve_weights

    frame = np.random.default_rng(0).integers(0, 255, (1, 60, 80, 3), dtype=np.uint8)
    tagged, plain = (load(resolve_weights(name, "none")).encode(frame) for name in ("resnet10t.c3_in1k", "resnet10t"))
    assert np.array_equal(tagged, plain)


@pytest.mark.parametrize("damage", ["cut short", "another network", "code"])
def test_encoder_weights_that_do_not_fit_are_one_error_and_no_code_is_run(project, damage):
    file = project / "weights.pt"
    from ml_backend.reward.encoder import load
    from ml_backend.reward.encoder_weights import resolve_weights

    name = "resnet18" if damage == "another network" else "resnet10t"
    torch.save(load(resolve_weights(name, "none")).module.network.state_dict(), file)
    if damage == "cut short":
        file.write_bytes(file.read_bytes()[:9999])
    if damage == "code":
        torch.save({"conv1.weight": Made}, file)
    set_to(project, 'weights = "none"', f'weights = "{file}"')
    code, told = robopref(project)
    assert code == 1
    assert f"robopref: {file}: not weights of resnet10t" in told
    assert "weights_only" not in told and "reward.weights" in told


def test_a_model_that_had_no_pair_to_validate_on_can_be_validated(project):
    assert robopref(project)[0] == 0
    file = project / "work" / "models" / "rm-0001" / "split.json"
    split = json.loads(file.read_text())
    file.write_text(
        json.dumps({"train": split["train"] + split["validation"], "validation": [], "test": split["test"]})
    )
    assert robopref(project, "validate")[0] == 0
    file.write_text(json.dumps(split | {"test": ["p77"]}))
    code, told = robopref(project, "validate")
    assert code == 1 and f"{file}: the pairs of this model no longer have labels." in told


def rewrite(project, change):
    """Another version of the dataset's rows."""
    (file,) = (project / "data").glob("data/*/*.parquet")
    pq.write_table(change(pq.read_table(file)), file)
