"""A whole release from a small real workspace: sample pool, a timm encoder, resolved answers, a trained model."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ml_backend.release import build_release, release, verify_release
from preference.config import Config, Dataset, SimulatedAnnotator
from preference.errors import NotReady, UserError
from preference.records import Annotator, Assignment, Batch, Certification, Judgment, Pair
from preference.workspace import Workspace

POOL = Path(__file__).parents[1] / "examples" / "pool"
EMAIL = "carol.q@lab.example.org"
PEOPLE = {"al": "al@annotators.example", "bo": "bo@annotators.example", EMAIL: EMAIL}
TRAJECTORIES = 16
PAIRS = 60

ONLY_NUMPY_AND_ONNXRUNTIME = """
import importlib.abc, runpy, sys
ALLOWED = {"numpy", "onnxruntime", "inference"} | set(sys.argv[1].split(",")) | set(sys.stdlib_module_names)
class Blocker(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in ALLOWED:
            raise ModuleNotFoundError(f"blocked: {name}", name=name)
sys.meta_path.insert(0, Blocker())
script = sys.argv[2]
sys.argv = sys.argv[2:]
runpy.run_path(script, run_name="__main__")
"""


def make_workspace(root: Path) -> Workspace:
    """A workspace up to and with a trained model, without Label Studio."""
    from importer.pool import read_pool
    from ml_backend.stages import train
    from qc_reports.stages import resolve

    config = Config(name="sample", work=root, seed=3, workers=1)
    config.pool.dataset = [Dataset(path=POOL, name="sample")]
    config.reward = config.reward.model_copy(
        update={"encoder": "test_resnet", "weights": "none", "members": 2, "epochs": 20, "learning_rate": 3e-3}
    )
    config.annotators.simulated = [SimulatedAnnotator(id="al"), SimulatedAnnotator(id="bo")]
    ws = Workspace(config)
    pool = read_pool(config.pool, config.clips).trajectories
    some = [t for t in pool if t.task_type == pool[0].task_type][:TRAJECTORIES]
    (root / "clips").mkdir(parents=True)
    for t in some:
        (root / "clips" / f"{t.trajectory_id}.mp4").write_bytes(b"a clip")
    ws.store.put_trajectories(replace(t, clip=f"clips/{t.trajectory_id}.mp4", clip_sha256="0" * 64) for t in some)
    answer(ws, some)
    resolve(ws)
    train(ws)
    return ws


def answer(ws: Workspace, trajectories: list) -> None:
    """Three annotators answer every pair by its return, the third with errors, and a few pairs twice."""
    rng = np.random.default_rng(0)
    order = [(i, j) for i in range(len(trajectories)) for j in range(i)]
    pairs, assignments, judgments = [], [], []
    for n, k in enumerate(rng.permutation(len(order))[:PAIRS]):
        a, b = (trajectories[i] for i in order[k])
        gold = n % 5 == 0
        truth = "A" if a.true_return > b.true_return else "B"
        kind = "gold" if gold else "production"
        expected = truth if gold else None
        ids = (f"pair-{n:04d}", a.trajectory_id, b.trajectory_id)
        pair = Pair(*ids, a.task_type, "same", kind, "production-001", expected=expected)
        pairs.append(pair)
        for person in PEOPLE:
            given = truth if person != EMAIL or rng.random() > 0.2 else rng.choice(["A", "B", "equal"])
            for again in (False, True) if n % 10 == 0 and person == "al" else (False,):
                name = f"{person}-{n}-{again}"
                first = f"{person}-{n}-False" if again else None
                assignments.append(Assignment(name, pair.pair_id, person, "production-001", 2 * n + again, "A", first))
                judgments.append(Judgment(name, person, pair.pair_id, str(given), int(rng.integers(2, 6)), 5200,
                                          f"write me at {EMAIL}" if n == 1 else "", annotation_id=len(judgments),
                                          created_at="2026-03-02T10:00:00+00:00"))  # fmt: skip
    ws.store.put_annotators(Annotator(k, v, teacher="good" if k != EMAIL else "") for k, v in PEOPLE.items())
    batch = Batch("production-001", "production", "accepted", "2026-03-01T00:00:00+00:00")
    ws.store.put_pairs(batch, pairs, assignments)
    ws.store.put_judgments(judgments)
    calibration = Batch("calibration-1", "calibration", "accepted", "2026-02-01T00:00:00+00:00")
    ws.store.put_pairs(calibration, [], [])
    for person, kappa in zip(PEOPLE, (0.91, 0.84, 0.7), strict=True):
        ws.store.put_certification(Certification(person, "calibration-1", 1, kappa, 0.6, 1.0, True, 40))


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Workspace:
    return make_workspace(tmp_path_factory.mktemp("made") / "work")


@pytest.fixture(scope="module")
def built(made):
    return release(made, "1.0.0")


@pytest.fixture
def ws(made, tmp_path) -> Workspace:
    """A copy of the workspace that a test may spoil."""
    made.store.close()
    shutil.copytree(made.root, tmp_path / "work", ignore=shutil.ignore_patterns("releases"))
    return Workspace(made.config.model_copy(update={"work": tmp_path / "work"}))


def run_inference(folder: Path, *arguments: str, allowed: str = "numpy") -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", ONLY_NUMPY_AND_ONNXRUNTIME, allowed, str(folder / "inference.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, env={**os.environ, "PYTHONPATH": ""})


@pytest.fixture(scope="module")
def examples(made):
    from ml_backend.release.gather import gather

    return gather(made).examples


@pytest.fixture(scope="module")
def model(built):
    sys.path.insert(0, str(built.path))
    try:
        import inference
    finally:
        sys.path.remove(str(built.path))
    return inference, inference.RewardModel.load(built.path, threads=1)


# -- contents ----------------------------------------------------------------------------------------------------------


def test_a_release_is_whole_as_folder_and_archive(built):
    assert verify_release(built.path).ok
    result = verify_release(built.archive)
    assert result.ok and result.sha256 == built.sha256
    assert built.archive.with_name(built.archive.name + ".sha256").read_text().startswith(built.sha256)


def test_the_released_labels_are_the_resolved_ones_and_every_pair_has_a_split(built, made):
    from qc_reports.stages import read_preferences

    rows = [json.loads(line) for line in (built.path / "preferences.jsonl").read_text().splitlines()]
    resolved = {p.pair_id: p.preference for p in read_preferences(made.preferences) if p.preference is not None}
    assert {row["pair_id"]: row["preference"] for row in rows} == resolved
    assert {row["split"] for row in rows} == {"train", "validation", "test"}


def test_no_address_name_or_path_of_this_machine_is_anywhere_in_the_release(built, made):
    forbidden = [EMAIL.encode(), b"carol", b"annotators.example", str(made.root).encode(), str(POOL.parent).encode()]
    forbidden += [sys.prefix.encode(), b"site-packages"]
    for path in built.path.rglob("*"):
        data = path.read_bytes() if path.is_file() else b""
        if path.suffix == ".parquet":
            from pyarrow import parquet

            data += repr(parquet.read_table(path).to_pylist()).encode()
        assert not [word for word in forbidden if word in data], path.name
        if path.suffix in (".html", ".json", ".jsonl"):
            assert not re.search(rb'"(al|bo)"|>(al|bo)<', data), path.name


def test_the_cards_header_parses_and_its_figures_are_those_of_the_data(built):
    import yaml

    text = (built.path / "README.md").read_text()
    header = yaml.safe_load(text.split("---\n")[1])
    assert header["license"] == "apache-2.0" and header["size_categories"] == ["n<1K"]
    for config in header["configs"]:
        assert (built.path / config["data_files"][0]["path"]).is_file()
    assert f"| labelled pairs | {built.pairs}:" in text
    assert "| gold accuracy | 0.9" in text or "| gold accuracy | 1.0" in text
    assert "**not ImageNet.**" in text
    assert "2 of the 3 annotators are simulated" in text
    assert "Krippendorff's alpha (ordinal) 0." in text and "95 % interval" in text
    assert "nan" not in text
    for name in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (built.path / name).exists(), name


def test_the_same_inputs_give_the_same_archive_and_releasing_again_changes_nothing(built, ws):
    shutil.copytree(built.path.parent, ws.releases)
    again = build_release(ws, "1.0.0")
    assert again.sha256 == built.sha256
    assert again.archive.read_bytes() == built.archive.read_bytes()
    assert {p.name for p in ws.releases.iterdir()} == {p.name for p in built.path.parent.iterdir()}


def test_the_notebook_is_valid_and_arrives_at_the_released_accuracy(built, tmp_path):
    import nbformat
    from nbclient import NotebookClient

    for name in ("reproduce.ipynb", "features.npz", "preferences.jsonl", "training.json", "rewards.csv"):
        shutil.copy(built.path / name, tmp_path)
    notebook = nbformat.read(tmp_path / "reproduce.ipynb", as_version=4)
    nbformat.validate(notebook)
    NotebookClient(notebook, timeout=100, resources={"metadata": {"path": str(tmp_path)}}).execute()
    result = json.loads(notebook.cells[-1].outputs[0].text)
    assert result["test_pairs"] > 0 and result["not_worse"], result


def test_croissant_lists_every_data_file_with_its_checksum(built):
    from ml_backend.release.archive import sha256_of

    described = json.loads((built.path / "croissant.json").read_text())
    assert described["conformsTo"] == "http://mlcommons.org/croissant/1.0"
    for item in described["distribution"]:
        assert sha256_of(built.path / item["contentUrl"]) == item["sha256"]
    files = {item["@id"] for item in described["distribution"]}
    assert {f["source"]["fileObject"]["@id"] for r in described["recordSet"] for f in r["field"]} <= files


# -- the model ---------------------------------------------------------------------------------------------------------


def test_onnx_and_torch_agree_on_real_trajectories(built, model, examples):
    import torch

    from ml_backend.encoder import load, settle
    from ml_backend.release.onnx_export import input_names, whole_path
    from ml_backend.reward_model import RewardModel

    assert built.parity <= 1e-4
    head = RewardModel.load(built.path / "reward_model.pt")
    whole = whole_path(head, load(settle(head.spec.encoder, head.spec.weights)))
    for example in examples:
        feed = example.feed(input_names(head.spec))
        with torch.inference_mode():
            expected = whole(*(torch.from_numpy(v) for v in feed.values()))[0].item()
        found = model[1].score(example.frames, example.actions, example.state)
        assert found == pytest.approx(expected, abs=1e-4)


def test_a_padded_batch_gives_the_rewards_of_its_members(model, examples):
    frames = [e.frames[:n] for e, n in zip(examples, (4, 7, 5, 7), strict=False)]
    longest = max(map(len, frames))
    session = model[1].session
    alone, feed = [], {"frames": [], "actions": [], "state": [], "mask": []}
    for shown, example in zip(frames, examples, strict=False):
        n = len(shown)
        alone.append(model[1].score(shown, example.actions[:n], example.state[:n]))
        for name, values in (("frames", shown), ("actions", example.actions[:n]), ("state", example.state[:n])):
            feed[name].append(np.pad(values, [(0, longest - n)] + [(0, 0)] * (values.ndim - 1)))
        feed["mask"].append(np.arange(longest) < n)
    together = session.run(None, {k: np.stack(v) for k, v in feed.items()})[0]
    assert together == pytest.approx(alone, abs=1e-4)


def test_the_pt_file_holds_the_encoder_and_loads_with_weights_only(built):
    import torch

    saved = torch.load(built.path / "reward_model.pt", weights_only=True)
    assert saved["encoder_state"] and saved["contract"]["actions"]["names"][0] == "hand_dx"


def test_float_images_score_as_their_uint8_twins(model, examples):
    e = examples[0]
    assert model[1].score(e.frames / 255.0, e.actions, e.state) == pytest.approx(
        model[1].score(e.frames, e.actions, e.state), abs=1e-6
    )


def test_images_of_another_size_are_taken(model, examples):
    e = examples[0]
    assert np.isfinite(model[1].score(e.frames[:, ::2, ::3], e.actions, e.state))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda e: {"images": e.frames.transpose(0, 3, 1, 2)}, "move them to the end"),
        (lambda e: {"images": e.frames.astype(np.float32)}, "expected 0-1"),
        (lambda e: {"images": e.frames.astype(np.int64)}, "expected uint8"),
        (lambda e: {"images": e.frames[0]}, r"expected \(T, H, W, 3\)"),
        (lambda e: {"actions": e.actions[:, :3]}, "hand_dx, hand_dy, hand_dz, gripper_close"),
        (lambda e: {"actions": e.actions[1:]}, "one row per image"),
        (lambda e: {"actions": e.actions * 1000}, "in the same units"),
        (lambda e: {"actions": e.actions * np.nan}, "nan or infinity"),
        (lambda e: {"state": None}, "state are missing; this model needs 14"),
        (lambda e: {"fps": 0.0}, "fps is 0.0"),
        (lambda e: {"fps": 5.0, "start_s": 99.0}, "holds no row"),
    ],
)
def test_wrong_input_is_refused_with_what_was_expected(model, examples, change, words):
    inference, reward_model = model
    e = examples[0]
    with pytest.raises(inference.InputError, match=words):
        reward_model.score(**({"images": e.frames, "actions": e.actions, "state": e.state} | change(e)))


def test_inference_runs_with_numpy_and_onnxruntime_alone(built, model, examples, tmp_path):
    for n, e in enumerate(examples[:2]):
        np.savez(tmp_path / f"{n}.npz", images=e.frames, actions=e.actions, state=e.state)
    done = run_inference(built.path, str(tmp_path), "--json")
    assert done.returncode == 0, done.stderr
    rewards = [json.loads(line)["reward"] for line in done.stdout.splitlines()]
    expected = [model[1].score(e.frames, e.actions, e.state) for e in examples[:2]]
    assert rewards == pytest.approx(expected, abs=1e-5)
    assert "2/2" in done.stderr


def test_inference_scores_an_episode_of_the_source_dataset_as_the_workspace_does(built, made):
    import csv

    t = made.store.trajectories()[0]
    with (built.path / "rewards.csv").open(newline="") as file:
        rewards = {row["trajectory_id"]: float(row["reward"]) for row in csv.DictReader(file)}
    span = ["--start", str(t.start_s), "--end", str(t.end_s)]
    lerobot = ["--lerobot", str(POOL), "--episode", str(t.episode_index), *span, "--json"]
    done = run_inference(built.path, *lerobot, allowed="av,pyarrow")
    assert done.returncode == 0, done.stderr
    # the cache that rewards.csv comes from holds half-precision features
    spread = np.std(list(rewards.values()))
    assert json.loads(done.stdout)["reward"] == pytest.approx(rewards[t.trajectory_id], abs=0.01 * spread)


def test_what_an_optional_package_would_read_is_said_when_it_is_missing(built):
    done = run_inference(built.path, "--lerobot", str(POOL), "--episode", "0")
    assert done.returncode == 1 and "pip install pyarrow" in done.stderr and "Traceback" not in done.stderr


def test_input_format_names_the_graphs_inputs_and_the_action_layout(built):
    text = (built.path / "INPUT_FORMAT.md").read_text()
    assert "(batch, time, height, width, 3)" in text and "| 3 | gripper_close |" in text


# -- refusals ----------------------------------------------------------------------------------------------------------


def test_without_preferences_or_model_it_says_which_stage_comes_first(ws):
    ws.preferences.rename(ws.root / "gone.jsonl")
    with pytest.raises(NotReady, match="robopref resolve"):
        build_release(ws, "1.0.0")
    (ws.root / "gone.jsonl").rename(ws.preferences)
    ws.store.put_model_version(replace(ws.store.active_model(), active=False))
    with pytest.raises(NotReady, match="robopref train"):
        build_release(ws, "1.0.0")


def test_preferences_newer_than_the_model_are_refused(ws):
    lines = ws.preferences.read_text().splitlines()
    ws.preferences.write_text("\n".join([*lines, lines[0].replace("pair-0000", "pair-9999")]) + "\n")
    with pytest.raises(UserError, match="pair-9999"):
        build_release(ws, "1.0.0")


def test_labels_that_changed_after_training_are_refused(ws):
    lines = [json.loads(line) for line in ws.preferences.read_text().splitlines()]
    lines[0]["preference"] = 1.0 - lines[0]["preference"]
    ws.preferences.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(UserError, match="labels"):
        build_release(ws, "1.0.0")


def test_a_missing_clip_is_named(ws):
    clip = next(iter(sorted((ws.root / "clips").iterdir())))
    clip.unlink()
    with pytest.raises(UserError, match=clip.stem):
        build_release(ws, "1.0.0")


def test_another_release_of_the_same_version_is_refused_and_the_next_one_says_what_changed(built, ws):
    shutil.copytree(built.path.parent, ws.releases)
    ws.config.release = ws.config.release.model_copy(update={"license": "CC-BY-4.0"})
    with pytest.raises(UserError, match=r"released already.*same reward model.*1\.0\.1"):
        build_release(ws, "1.0.0")
    assert verify_release(ws.releases / "robopref-sample-1.0.0").ok
    result = build_release(ws, "1.0.1")
    changelog = (result.path / "CHANGELOG.md").read_text()
    assert result.suggested == "1.0.1" and changelog.index("## 1.0.1") < changelog.index("## 1.0.0")
    assert "Same pairs, same labels" in changelog


def test_a_failed_release_leaves_nothing_behind(ws, monkeypatch):
    from ml_backend.release import build

    def full(_source: object, _version: str, _changelog: str, folder: Path) -> float:
        (folder / "preferences.jsonl").write_text("half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(build, "write_contents", full)
    with pytest.raises(UserError, match="No space left"):
        build_release(ws, "1.0.0")
    assert not list(ws.releases.iterdir())
