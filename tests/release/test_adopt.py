"""Another team continues a release: what it was given stays as it was, and its own answers are added."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from cli_maker import robopref
from lerobot_maker import Made, make_dataset

from importer.pool import build_pool
from ml_backend.loop.spec import features_for
from ml_backend.loop.train import train
from ml_backend.reward.model import RewardModel
from preference.adjudicated import copy_of
from preference.config_file import load_config
from preference.errors import ConfigError, DataError, NotReady, UserError
from preference.records import Annotator, Assignment, Batch, Judgment, Pair, Review
from preference.workspace import Workspace
from qc_reports.qc import qc
from qc_reports.resolve import resolve
from release import adopt as adoption
from release import adopted_answers, build_release, verify_release
from release.archive import write_sums

CONFIG = """
name = "drawers"
seed = 5
workers = 1
[[pool.dataset]]
path = "theirs"
[quality]
flags = "protocol"
[reward]
encoder = "test_vit"
weights = "weights.pt"
image_size = 64
sample_fps = 2.0
epochs = 3
hidden = 4
members = 2
min_preferences = 6
"""
THEIRS, OURS, PAIRS = 9, 5, 26


def make_clips(ws):
    ws.clips.mkdir(exist_ok=True)
    here = [t for t in ws.store.trajectories() if t.in_pool]
    for t in here:
        (ws.clips / f"{t.trajectory_id}.mp4").write_bytes(b"a clip")
    ws.store.put_trajectories(replace(t, clip=f"clips/{t.trajectory_id}.mp4", clip_sha256="0" * 64) for t in here)


def answer(ws, batch_id, people, count):
    """Two people answer by the return; `cy`, whom a review leaves out, says the opposite."""
    here = [t for t in ws.store.trajectories() if t.in_pool]
    order = [(a, b) for i, a in enumerate(here) for b in here[:i]]
    pairs, assignments, judgments = [], [], []
    for n, k in enumerate(ws.rng(batch_id).permutation(len(order))[:count]):
        a, b = order[k] if n % 2 else order[k][::-1]
        pair = Pair(f"{batch_id}-{n}", a.trajectory_id, b.trajectory_id, "reach", "same", "production", batch_id)
        pairs.append(pair)
        truth = "A" if a.true_return > b.true_return else "B"
        for who in people:
            said = truth if who != "cy" else "B" if truth == "A" else "A"
            for again in (False, True) if n == 0 and who == "al" else (False,):
                key = f"{pair.pair_id}-{who}-{again}"
                first = f"{pair.pair_id}-{who}-False" if again else None
                assignments.append(Assignment(key, pair.pair_id, who, batch_id, 2 * n + again, "B", first))
                asked = {"outcome": {"A": "success"}} if n == 1 and not again else {}
                judgments.append(Judgment(key, who, pair.pair_id, said, 2 + n % 4, 5000 + n, "", questions=asked))
    ws.store.put_annotators(
        Annotator(who, f"{who}@lab.example", teacher="good" if who == "bo" else "") for who in people
    )
    ws.store.put_pairs(Batch(batch_id, "production", "accepted", "2026-03-01"), pairs, assignments)
    ws.store.put_judgments(judgments)
    return pairs


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    """A release with an adjudicated label, a tie of views, somebody left out, and an encoder from a file, for larger
    frames than it is given."""
    import timm
    import torch

    folder = tmp_path_factory.mktemp("theirs")
    make_dataset(folder / "theirs", [Made(rows=30 + 2 * i, still=5, jerk=0.01 * i) for i in range(THEIRS)])
    torch.manual_seed(1)
    torch.save(timm.create_model("test_vit", num_classes=0).state_dict(), folder / "weights.pt")
    (folder / "robopref.toml").write_text(CONFIG)
    ws = Workspace.open(folder / "robopref.toml")
    build_pool(ws)
    make_clips(ws)
    pairs = answer(ws, "production-001", ("al", "bo", "cy"), PAIRS)
    ws.store.put_review(Review("production-001", "cy", "leave_out", [], "maria", "2026-03-02", "guesses"))
    other = replace(pairs[2], pair_id=copy_of(pairs[2].pair_id), kind="calibration", batch_id="adjudication-001")
    ws.store.put_annotators([Annotator("di", "di@lab.example")])
    made = Assignment("decided", other.pair_id, "di", "adjudication-001", 0, "A")
    ws.store.put_pairs(Batch("adjudication-001", "calibration", created_at="2026-03-02"), [other], [made])
    said = {"decision": "equal"}
    ws.store.put_judgments([Judgment("decided", "di", other.pair_id, "A", 3, 4000, questions=said)])
    resolve(ws)
    train(ws)
    path = build_release(ws, "1.0.0").path
    ws.store.close()
    return path


@pytest.fixture(scope="module")
def adopted(released, tmp_path_factory):
    """A project that continues it with five episodes of its own, as the command leaves it."""
    folder = tmp_path_factory.mktemp("ours")
    make_dataset(folder / "ours", [Made(rows=34 + 2 * i, still=5, jerk=0.02 * i) for i in range(OURS)])
    said = robopref("adopt", released, "--dataset", "ours", "--json", cwd=folder)
    assert said.returncode == 0, said.stderr
    return folder, json.loads(said.stdout)


@pytest.fixture
def project(released, tmp_path):
    """A robopref.toml as `adopt` writes it, and what it is to be filled with."""
    from robopref.init import write_config

    received = adoption.open_release(released)
    write_config(tmp_path / "robopref.toml", "", received.config)
    ws = Workspace.open(tmp_path / "robopref.toml")
    yield ws, received
    ws.store.close()


def labels_of(folder: Path) -> dict:
    rows = map(json.loads, (folder / "preferences.jsonl").read_text().splitlines())
    return {row["pair_id"]: row for row in rows}


def test_labels_answers_and_model_are_those_of_the_release(adopted, released):
    folder, told = adopted
    labels = labels_of(released)
    assert (told["release"], told["pairs"], told["trajectories"]) == ("robopref-drawers-1.0.0", PAIRS, THEIRS)
    assert (told["people"], told["judgments"], told["known"]) == (3, 3 * PAIRS + 1, False)
    ws = Workspace.open(folder / "robopref.toml")
    resolved = {p.pair_id: p for p in ws.store.labelled()}
    assert {key: p.preference for key, p in resolved.items()} == {k: row["preference"] for k, row in labels.items()}
    assert 0.5 in {p.preference for p in resolved.values()}, "the adjudicated label is no vote's"
    for key, row in labels.items():
        people = [f"drawers-1.0.0:{name}" for name in row["annotator_ids"]]
        assert (resolved[key].annotator_ids, resolved[key].confidence_mean) == (people, row["confidence_mean"])
    assert sum(bool(j.questions.get("outcome")) for j in ws.store.judgments()) == 3
    assert not any(a.active for a in ws.store.annotators()), "nobody of the release is asked anything"
    assert sum(bool(a.teacher) for a in ws.store.annotators()) == 1
    assert ws.store.count_without_task() == 0
    record = ws.store.active_model()
    model = RewardModel.load(ws.root / record.path / "model.pt")
    store = features_for(ws, model.spec, ws.root / record.path)
    rewards = dict(zip(store, model.score(list(store.values()))[0], strict=True))
    rows = (released / "rewards.csv").read_text().splitlines()[1:]
    said = {name: float(value) for name, value in (row.split(",") for row in rows)}
    assert rewards == pytest.approx(said, abs=1e-4)
    split = json.loads((ws.root / record.path / "split.json").read_text())
    assert {key: name for name, keys in split.items() for key in keys} == {k: row["split"] for k, row in labels.items()}
    assert verify_release(Path(told["path"])).ok and verify_release(Path(f"{told['path']}.tar.gz")).ok
    ws.store.close()


def test_adopting_twice_changes_nothing(adopted, released):
    folder, told = adopted
    before = (folder / "robopref.toml").read_bytes()
    again = json.loads(robopref("adopt", released, "--dataset", "ours", "--json", cwd=folder).stdout)
    assert again == told | {"known": True}
    assert (folder / "robopref.toml").read_bytes() == before


def test_own_answers_are_added_and_the_next_release_says_so(adopted, released, tmp_path):
    shutil.copytree(adopted[0], tmp_path / "ours")
    text = (tmp_path / "ours" / "robopref.toml").read_text()
    (tmp_path / "ours" / "robopref.toml").write_text(text.replace(str(adopted[0]), str(tmp_path / "ours")))
    ws = Workspace.open(tmp_path / "ours" / "robopref.toml")
    with pytest.raises(NotReady, match="nothing new to learn"):
        train(ws)
    build_pool(ws)
    make_clips(ws)
    answer(ws, "production-002", ("eva", "finn"), 8)
    resolve(ws)
    record = train(ws)
    assert (record.version, record.preferences) == ("rm-0002", PAIRS + 8)
    spec = RewardModel.load(ws.root / record.path / "model.pt").spec
    assert spec.state_names == ("hand_x", "hand_y", "hand_z", "extra") and "frames" in spec.inputs
    rewards = (ws.root / record.path / "rewards.csv").read_text().splitlines()[1:]
    assert len(rewards) == THEIRS + OURS, "new episodes and old ones have features"
    split = json.loads((ws.root / record.path / "split.json").read_text())
    old = {key for key, row in labels_of(released).items() if row["split"] == "test"}
    assert old and old <= set(split["test"])
    ws.store.put_model_version(replace(record, active=True))
    made = build_release(ws, "1.1.0")
    assert made.suggested == "1.1.0" and verify_release(made.path).ok
    told = (made.path / "CHANGELOG.md").read_text()
    assert "8 pairs added." in told and "pairs relabelled" not in told and "pairs removed" not in told
    assert "16 answers added, 95 in all." in told and f"{OURS} episodes added, {THEIRS + OURS} in all." in told
    clear = sum(row["preference"] != 0.5 for key, row in labels_of(released).items() if key in old)
    assert f"of the {clear} test pairs of 1.0.0 that are no ties; before" in told
    assert "## 1.0.0" in told
    again = {key: row["split"] for key, row in labels_of(made.path).items()}
    assert all(again[key] == row["split"] for key, row in labels_of(released).items())
    ws.store.close()


STRICT = {
    "min_alpha": 1.0,
    "max_gold_disagreement": 0.0,
    "min_response_s": 60.0,
    "min_self_consistency": 1.0,
    "min_majority_agreement": 1.0,
    "min_answers": 1,
}


def test_no_setting_of_quality_changes_a_released_label(project, released):
    """Under these settings everybody is flagged, and no batch would pass."""
    ws, received = project
    adoption.adopt(ws, received)
    released_labels = {key: (row["preference"], row["num_annotators"]) for key, row in labels_of(released).items()}
    for resolution in ("vote", "dawid_skene", "weighted_bt"):
        changed = {**STRICT, "flags": "protocol", "resolution": resolution}
        strict = Workspace(ws.config.model_copy(update={"quality": ws.config.quality.model_copy(update=changed)}))
        report = qc(strict, "production-001")
        assert len({flag["annotator_id"] for flag in report.flags}) == 3 and report.status == "accepted"
        assert {p.pair_id: (p.preference, p.num_annotators) for p in resolve(strict)} == released_labels
        strict.store.close()


@pytest.mark.parametrize(
    ("module", "step"),
    [(adoption, "_put_features"), (adoption, "put_answers"), (adopted_answers, "put_reviews"), (adoption, "_recorded")],
    ids=lambda found: found if isinstance(found, str) else "",
)
def test_a_run_that_is_killed_is_run_again(project, module, step, monkeypatch):
    ws, received = project

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(module, step, killed)
        adoption.adopt(ws, received)
    assert ws.store.model_versions() == []
    made = adoption.adopt(ws, received)
    assert (made.pairs, made.known) == (PAIRS, False)
    assert len(ws.store.labelled()) == PAIRS and ws.store.count_judgments() == made.judgments + 1


def test_what_is_no_release_is_refused(released, tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(DataError, match="is not a folder"):
        adoption.open_release(released.with_name(f"{released.name}.tar.gz"))
    with pytest.raises(DataError, match="not a release: it has no SHA256SUMS"):
        adoption.open_release(tmp_path / "folder")
    shutil.copytree(released, tmp_path / "changed")
    with (tmp_path / "changed" / "preferences.jsonl").open("a") as file:
        file.write("\n")
    with pytest.raises(DataError, match=r"preferences\.jsonl was changed"):
        adoption.open_release(tmp_path / "changed")
    told = json.loads((tmp_path / "changed" / "training.json").read_text())
    del told["quality_prior"]
    (tmp_path / "changed" / "training.json").write_text(json.dumps(told))
    write_sums(tmp_path / "changed")
    assert adoption.open_release(tmp_path / "changed").config.reward.quality_prior is False, "none learned from it"
    del told["seed"]
    (tmp_path / "changed" / "training.json").write_text(json.dumps(told))
    write_sums(tmp_path / "changed")
    with pytest.raises(DataError, match="does not say how its model was trained"):
        adoption.open_release(tmp_path / "changed")


def test_a_workspace_with_something_else_is_refused(project):
    ws, received = project
    ws.store.put_pairs(Batch("production-001", "production", created_at="2026-01-01"), [], [])
    with pytest.raises(UserError, match="is not empty: it has the batch production-001"):
        adoption.adopt(ws, received)
    other = Workspace(ws.config.model_copy(update={"seed": 6}))
    with pytest.raises(ConfigError, match="seed: found 6; the release has 5"):
        adoption.adopt(other, received)


def test_another_robot_is_refused_when_the_project_begins(released, tmp_path):
    make_dataset(tmp_path / "wide", [Made(rows=30)])
    info = json.loads((tmp_path / "wide" / "meta" / "info.json").read_text())
    info["features"]["observation.state"]["names"] = ["hand_x", "hand_y", "hand_z", "torque"]
    (tmp_path / "wide" / "meta" / "info.json").write_text(json.dumps(info))
    said = robopref("adopt", released, "--dataset", "wide", cwd=tmp_path)
    assert said.returncode == 1 and "hand_z, torque; in the adopted release robopref-drawers-1.0.0" in said.stderr
    assert not (tmp_path / "robopref.toml").exists()


def test_another_episode_of_the_same_id_is_refused(adopted, tmp_path):
    """Both teams call their dataset the same."""
    make_dataset(tmp_path / "theirs", [Made(rows=70)])
    shutil.copytree(adopted[0] / "work", tmp_path / "work")
    text = (adopted[0] / "robopref.toml").read_text()
    text = text.replace(str(adopted[0] / "ours"), str(tmp_path / "theirs")).replace('name = "ours"', 'name = "theirs"')
    (tmp_path / "robopref.toml").write_text(text)
    ws = Workspace(load_config(tmp_path / "robopref.toml"))
    with pytest.raises(ConfigError, match="has this id for another episode"):
        build_pool(ws)
    ws.store.close()
