"""A whole release from a small real workspace: sample pool, a timm encoder, resolved answers, a trained model."""

from __future__ import annotations

import csv
import json
import re
import shutil
import sys
import tarfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fresh_environment import make_environment, run_in
from paths import SAMPLE_POOL
from preference_maker import put_preferences

from preference.config import Config, Dataset, SimulatedAnnotator
from preference.errors import NotReady, UserError
from preference.pages import render
from preference.records import Annotator, Assignment, Batch, Certification, Judgment, Pair
from preference.workspace import Workspace
from release import build_release, verify_release
from release.card import card_facts
from release.gather import gather

EMAIL = "carol.q@lab.example.org"
PEOPLE = {"al": "al@annotators.example", "bo": "bo@annotators.example", EMAIL: EMAIL}
ERRORS = {"al": 0.05, "bo": 0.2, EMAIL: 0.2}
"""Share of answers by chance; two who never differ would be taken for one who copies."""
TRAJECTORIES = 16
PAIRS = 60


def make_workspace(root: Path) -> Workspace:
    """A workspace up to and with a trained model, without Label Studio."""
    from importer.pool import read_pool
    from ml_backend.loop.train import train
    from qc_reports.resolve import resolve

    config = Config(name="sample", work=root, seed=3, workers=1)
    config.pool.dataset = [Dataset(path=SAMPLE_POOL, name="sample")]
    config.reward = config.reward.model_copy(
        update={"encoder": "test_resnet", "weights": "none", "members": 2, "epochs": 20, "learning_rate": 3e-3}
    )
    config.release = config.release.model_copy(update={"units": {"hand_dx": "m"}})
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
    """Three annotators answer every pair by its return, two with errors of their own, and a few pairs twice."""
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
            given = truth if rng.random() > ERRORS[person] else rng.choice(["A", "B", "equal"])
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
    return build_release(made, "1.0.0")


@pytest.fixture
def ws(made, tmp_path) -> Workspace:
    """A copy of the workspace that a test may spoil."""
    made.store.close()
    shutil.copytree(made.root, tmp_path / "work", ignore=shutil.ignore_patterns("releases"))
    return Workspace(made.config.model_copy(update={"work": tmp_path / "work"}))


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    """A Python that has numpy and onnxruntime and nothing else."""
    return make_environment(tmp_path_factory.mktemp("bare") / "env", "numpy", "onnxruntime", dependencies=False)


@pytest.fixture(scope="module")
def with_readers(tmp_path_factory):
    """The same with what video and LeRobot datasets need."""
    names = ("numpy", "onnxruntime", "av", "pyarrow")
    return make_environment(tmp_path_factory.mktemp("readers") / "env", *names, dependencies=False)


@pytest.fixture
def infer(built, tmp_path):
    def run(python: Path, *arguments: str) -> tuple[int, str, str]:
        script = str(built.path / "inference.py")
        return run_in(python, script, *arguments, cwd=tmp_path, log=tmp_path / "inference", timeout=120)

    return run


def few_episodes(folder: Path, count: int) -> Path:
    """The sample pool, listing its first episodes only."""
    from pyarrow import parquet

    shutil.copytree(SAMPLE_POOL, folder)
    table = folder / "meta/episodes/chunk-000/file-000.parquet"
    parquet.write_table(parquet.read_table(table).slice(0, count), table)
    return folder


@pytest.fixture(scope="module")
def examples(made):
    from release.gather import gather

    return gather(made).examples


@pytest.fixture(scope="module")
def model(built):
    sys.path.insert(0, str(built.path))
    try:
        import inference
    finally:
        sys.path.remove(str(built.path))
    return inference, inference.RewardModel.load(built.path, threads=1)


def rewards_of(folder: Path) -> dict[str, float]:
    with (folder / "rewards.csv").open(newline="") as file:
        return {row["trajectory_id"]: float(row["reward"]) for row in csv.DictReader(file)}


# -- contents ----------------------------------------------------------------------------------------------------------


def test_a_release_is_whole_as_folder_and_archive(built):
    assert verify_release(built.path).ok
    result = verify_release(built.archive)
    assert result.ok and result.sha256 == built.sha256
    assert built.archive.with_name(built.archive.name + ".sha256").read_text().startswith(built.sha256)


def test_the_released_labels_are_the_resolved_ones_and_every_pair_has_a_split(built, made):
    rows = [json.loads(line) for line in (built.path / "preferences.jsonl").read_text().splitlines()]
    resolved = {p.pair_id: p.preference for p in made.store.labelled()}
    assert {row["pair_id"]: row["preference"] for row in rows} == resolved
    assert {row["split"] for row in rows} == {"train", "validation", "test"}


def test_no_address_name_or_path_of_this_machine_is_anywhere_in_the_release(built, made):
    forbidden = [
        EMAIL.encode(),
        b"carol",
        b"annotators.example",
        str(made.root).encode(),
        str(SAMPLE_POOL.parent).encode(),
    ]
    forbidden += [sys.prefix.encode(), b"site-packages"]
    for path in built.path.rglob("*"):
        data = path.read_bytes() if path.is_file() else b""
        if path.suffix == ".parquet":
            from pyarrow import parquet

            data += repr(parquet.read_table(path).to_pylist()).encode()
        assert not [word for word in forbidden if word in data], path.name
        if path.suffix in (".html", ".json", ".jsonl"):
            assert not re.search(rb'"(al|bo)"|>(al|bo)<', data), path.name


def test_the_cards_header_is_one_that_the_hub_reads_and_its_figures_are_those_of_the_data(built, made):
    from huggingface_hub import DatasetCard

    card = DatasetCard.load(built.path / "README.md")
    header, text = card.data.to_dict(), card.text
    assert header["license"] == "apache-2.0" and header["size_categories"] == ["n<1K"]
    assert header["task_categories"] == ["robotics", "reinforcement-learning"]
    assert [config["config_name"] for config in header["configs"]] == ["preferences", "judgments"]
    for config in header["configs"]:
        assert (built.path / config["data_files"][0]["path"]).suffix == ".parquet"  # `datasets` wants one format
        assert (built.path / config["data_files"][0]["path"]).is_file()
    assert "| answers excluded from the labels | 0, from" in text
    assert f"| labelled pairs | {built.pairs}:" in text
    expected = {pair.pair_id: pair.expected for pair in made.store.pairs() if pair.expected}
    answers = {(j.pair_id, j.annotator_id): j.preference for j in reversed(made.store.judgments())}
    gold = [answer == expected[pair_id] for (pair_id, _), answer in answers.items() if pair_id in expected]
    assert f"| gold accuracy | {sum(gold) / len(gold):.3f} ({sum(gold)} of {len(gold)}) |" in text
    assert "**not ImageNet.**" in text
    assert "2 of the 3 annotators are simulated" in text
    assert "Krippendorff's alpha (ordinal) 0." in text and "95 % interval" in text
    assert "certified at Cohen's kappa ≥ 0.65" in text and "480x480 pixels at 15 frames per second" in text
    assert "nan" not in text
    for name in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (built.path / name).exists(), name


def test_a_model_of_other_settings_is_not_released_and_the_message_says_what_may_be_different(ws):
    record = ws.store.active_model()
    file = ws.root / record.path / "training.json"
    told = json.loads(file.read_text())
    del told["reward"]["quality_prior"]
    file.write_text(json.dumps(told))
    with pytest.raises(UserError, match=r"settings have changed since, or a version before this one trained it"):
        gather(ws)


def test_the_card_says_what_else_was_learned_from_and_claims_nothing_of_a_local_file(made):
    facts = card_facts(gather(made), version="1.0.0", parity=0.0, files={})

    def card(**changes: object) -> str:
        return render("release", "README.md.jinja", **(facts | changes))

    tuned, local = card(weights="0123.10.pt", finetuned=True), card(weights="resnet18.safetensors")
    assert "fine-tuned on the training pairs, then frozen" in tuned and "trained end to end" in tuned
    assert "(frozen)" in local and "What they were trained on is not recorded" in local
    for text in (tuned, local):
        assert "not ImageNet" not in text and "no ImageNet" not in text and "random weights" not in text
    assert "in the order of the pool's quality" not in card(weak={})
    weak = card(weak={"pairs": 200, "labels": 10.0, "contradicted": 0.31})
    assert "200 pairs in the order of the pool's quality quartiles count as 10 labels together" in weak
    assert "people are taken to contradict that order in 31 %" in weak
    assert facts["finetuned"] is False and "The encoder has random weights" in card()
    counted = replace(facts["model"], linear=False, progress=True)
    alone, both = (card(model=counted, network_counts=counts) for counts in (False, True))
    assert "linear in each step's progress, each part" in alone and "as likely that people prefer it" in alone
    assert "this is the whole reward" in alone and "this is the whole reward" not in both


def test_a_card_without_any_people_claims_no_human_preferences(made):
    source = gather(made)
    nobody = replace(source, annotators=[replace(a, teacher="good") for a in source.annotators])
    for given, human in ((source, True), (nobody, False)):
        facts = card_facts(given, version="1.0.0", parity=0.0, files={})
        card = render("release", "README.md.jinja", **facts)
        assert (facts["title"] == "sample: human preferences over robot trajectories") is human
        for name in ("README.md", "CITATION.cff"):
            assert ("- human" in render("release", f"{name}.jinja", **facts)) is human
        assert ("> **All 3 annotators are simulated**" in card) is not human


def test_a_license_that_the_hub_cannot_know_is_named_as_another(made):
    import yaml

    for name in ("LicenseRef-Lab-1", "for members of the lab"):
        own = made.config.release.model_copy(update={"license": name})
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(made.config, "release", own)
            facts = card_facts(gather(made), version="1.0.0", parity=0.0, files={})
        header = yaml.safe_load(render("release", "README.md.jinja", **facts).split("---")[1])
        assert (header["license"], header["license_name"], header["license_link"]) == ("other", name, "LICENSE")


def test_the_card_says_what_the_validation_found_and_the_page_is_beside_it(built, made):
    validation = json.loads((built.path / "validation.json").read_text())
    text = (built.path / "README.md").read_text()
    for check in validation["checks"]:
        word = "passed" if check["reached"] else "**failed**" if check["known"] else "**not yet known**"
        assert f"- {word}: {check['words']}" in text
    page = (built.path / "validation.html").read_text()
    assert page == (made.root / made.store.active_model().path / "validation.html").read_text()
    assert "<svg" in page and "data:image/jpeg;base64," in page and not re.search(r'(src|href)="http', page)
    assert json.loads((built.path / "reports/production-001/qc.json").read_text())["batch_id"] == "production-001"
    page = (built.path / "reports/production-001/report.html").read_text(encoding="utf-8")
    assert "robopref " not in page.split("What to do next")[1].split("</section>")[0], "whoever reads it has no project"
    assert (built.path / "reports/production-001/annotators.csv").is_file()


def test_every_file_of_the_release_is_named_in_the_card(built):
    text = (built.path / "README.md").read_text()
    shown = {path.relative_to(built.path).parts[0] for path in built.path.rglob("*")} - {"README.md"}
    assert not [name for name in shown if f"]({name}" not in text]


def test_the_share_of_answers_for_the_left_side_is_counted(built):
    from pyarrow import parquet

    rows = parquet.read_table(built.path / "judgments.parquet").to_pylist()
    left = sum(row["preference"] == row["left"] for row in rows)
    sides = sum(row["preference"] != "equal" for row in rows)
    assert f"| answers for the left side | {left / sides:.3f} ({left} of {sides})" in (
        (built.path / "README.md").read_text()
    )


def test_the_citation_has_what_the_citation_file_format_asks_for(built):
    import datetime

    import yaml

    found = yaml.safe_load((built.path / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors"} <= found.keys()
    assert found["cff-version"] == "1.2.0" and found["type"] == "dataset" and found["version"] == "1.0.0"
    assert isinstance(found["date-released"], str) and datetime.date.fromisoformat(found["date-released"])
    assert found["license"] == "Apache-2.0" and found["authors"] == [{"name": "The sample team"}]


def test_the_same_inputs_give_the_same_archive_elsewhere_on_another_day_and_releasing_again_changes_nothing(
    built, ws, monkeypatch
):
    shutil.copytree(built.path.parent, ws.releases)
    model = ws.root / ws.store.active_model().path
    for path in [model / "validation.html", *model.glob("graph.*.onnx")]:
        path.unlink()  # so that both are made here, and not taken over
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + 1e7)
    again = build_release(ws, "1.0.0")
    assert again.sha256 == built.sha256
    assert again.archive.read_bytes() == built.archive.read_bytes()
    assert {p.name for p in ws.releases.iterdir()} == {p.name for p in built.path.parent.iterdir()}


def test_a_version_older_than_the_newest_release_is_refused(built, ws):
    shutil.copytree(built.path.parent, ws.releases)
    with pytest.raises(UserError, match=r"Version 0\.9\.0 is older than 1\.0\.0"):
        build_release(ws, "0.9.0")
    assert not list(ws.releases.glob("*0.9.0*"))


def test_the_notebook_arrives_at_the_released_accuracy_from_the_unpacked_archive_alone(built, tmp_path):
    import nbformat
    from nbclient import NotebookClient

    with tarfile.open(built.archive) as archive:
        archive.extractall(tmp_path, filter="data")
    folder = tmp_path / built.path.name
    notebook = nbformat.read(folder / "reproduce.ipynb", as_version=4)
    nbformat.validate(notebook)
    NotebookClient(notebook, timeout=100, resources={"metadata": {"path": str(folder)}}).execute()
    result = json.loads(notebook.cells[-1].outputs[0].text)
    assert result["test_pairs"] > 0 and result["not_worse"], result


def test_load_dataset_reads_both_tables_that_the_card_names(built, tmp_path):
    """As from the hub, whose dataset repository is this folder; people's preferences are what it gives unasked."""
    datasets = pytest.importorskip("datasets", reason="Hugging Face's datasets is not installed")
    from pyarrow import parquet

    where, kept = str(built.path), str(tmp_path)
    names = datasets.get_dataset_config_names(where)
    rows = {name: datasets.load_dataset(where, name, split="full", cache_dir=kept).to_list() for name in names}
    assert rows == {name: parquet.read_table(built.path / f"{name}.parquet").to_pylist() for name in rows}
    assert rows.keys() == {"preferences", "judgments"}
    assert datasets.load_dataset(where, cache_dir=kept)["full"].to_list() == rows["preferences"]


def test_mlcroissant_reads_every_table_of_the_release(built):
    mlcroissant = pytest.importorskip("mlcroissant", reason="mlcroissant is not installed")
    from pyarrow import parquet

    dataset = mlcroissant.Dataset(jsonld=built.path / "croissant.json")
    assert not dataset.metadata.ctx.issues.errors
    for name in ("preferences", "judgments"):
        rows = parquet.read_table(built.path / f"{name}.parquet").to_pylist()
        found = list(dataset.records(name))
        assert len(found) == len(rows)
        assert {_text(r[f"{name}/pair_id"]) for r in found} == {row["pair_id"] for row in rows}
    labels = {
        _text(r["preferences/pair_id"]): float(r["preferences/preference"]) for r in dataset.records("preferences")
    }
    rows = parquet.read_table(built.path / "preferences.parquet").to_pylist()
    assert labels == {row["pair_id"]: row["preference"] for row in rows}
    first = next(iter(dataset.records("preferences")))
    assert [_text(one) for one in first["preferences/annotator_ids"]] == rows[0]["annotator_ids"]
    assert len(list(dataset.records("rewards"))) == TRAJECTORIES


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def test_croissant_lists_every_data_file_with_its_checksum(built):
    from preference.artifacts import sha256_of

    described = json.loads((built.path / "croissant.json").read_text())
    assert described["conformsTo"] == "http://mlcommons.org/croissant/1.0"
    for item in described["distribution"]:
        assert sha256_of(built.path / item["contentUrl"]) == item["sha256"]
    files = {item["@id"] for item in described["distribution"]}
    assert {f["source"]["fileObject"]["@id"] for r in described["recordSet"] for f in r["field"]} <= files


# -- the model ---------------------------------------------------------------------------------------------------------


def test_onnx_and_torch_agree_on_real_trajectories(built, model, examples):
    import torch

    from ml_backend.reward.encoder import load
    from ml_backend.reward.encoder_weights import resolve_weights
    from ml_backend.reward.model import RewardModel
    from release.onnx import WholePath

    assert built.parity <= 1e-4
    head = RewardModel.load(built.path / "reward_model.pt")
    whole = WholePath(head, load(resolve_weights(head.spec.encoder, head.spec.weights)))
    for example in examples:
        feed = example.feed(head.spec)
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


@pytest.mark.parametrize("content", [b"", b"hi", b"PK\x03\x04broken", None])
def test_a_file_that_is_no_npz_is_one_sentence_and_no_advice_to_load_it_unsafely(model, tmp_path, content):
    inference, _ = model
    path = tmp_path / "episode.npz"
    with pytest.raises(inference.InputError, match=r"episode\.npz cannot be read as npz: No such file"):
        inference.load_npz(path)
    if content is None:
        with path.open("wb") as file:
            np.save(file, np.zeros(3))
    else:
        path.write_bytes(content)
    with pytest.raises(inference.InputError, match="is damaged, or holds other things than numbers") as said:
        inference.load_npz(path)
    assert "pickle" not in str(said.value)


def test_inference_runs_where_there_is_numpy_and_onnxruntime_and_nothing_else(infer, bare, model, examples, tmp_path):
    for n, e in enumerate(examples[:2]):
        np.savez(tmp_path / f"{n}.npz", images=e.frames, actions=e.actions, state=e.state)
    code, said, errors = infer(bare, str(tmp_path), "--json")
    assert code == 0, errors
    rewards = [json.loads(line)["reward"] for line in said.splitlines()]
    expected = [model[1].score(e.frames, e.actions, e.state) for e in examples[:2]]
    assert rewards == pytest.approx(expected, abs=1e-5)
    assert "2/2" in errors
    code, said, errors = infer(bare, "--lerobot", str(SAMPLE_POOL), "--episode", "0")
    assert code == 1 and "pip install pyarrow" in errors and "Traceback" not in errors


def test_inference_scores_an_episode_of_the_source_dataset_as_the_workspace_does(infer, with_readers, built, made):
    t = made.store.trajectories()[0]
    span = ["--start", str(t.start_s)]
    code, said, errors = infer(
        with_readers, "--lerobot", str(SAMPLE_POOL), "--episode", str(t.episode_index), *span, "--json"
    )
    assert code == 0, errors
    rewards = rewards_of(built.path)
    # the cache that rewards.csv comes from holds half-precision features
    assert json.loads(said)["reward"] == pytest.approx(rewards[t.trajectory_id], abs=0.01 * np.std([*rewards.values()]))


def test_inference_scores_all_episodes_of_a_dataset_and_says_how_far_it_is(infer, with_readers, tmp_path):
    pool = few_episodes(tmp_path / "few", 3)
    code, said, errors = infer(with_readers, "--lerobot", str(pool), "--all")
    assert code == 0, errors
    assert [line.split("  ")[1] for line in said.splitlines()] == ["episode 0", "episode 1", "episode 2"]
    assert "3/3" in errors
    code, said, errors = infer(with_readers, "--lerobot", str(pool), "--episode", "7")
    assert code == 1 and "knows no episode 7" in errors and "Traceback" not in errors
    code, said, errors = infer(with_readers, "--lerobot", str(pool), "--episode", "1", "--camera", "wrist")
    assert code == 1 and "no camera 'wrist'; expected one of observation.images.front" in errors


def test_inference_scores_a_video_with_actions(infer, with_readers, model, examples, tmp_path):
    import av

    e = examples[0]
    with av.open(str(tmp_path / "clip.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=5)
        stream.height, stream.width = e.frames.shape[1:3]
        stream.pix_fmt, stream.options = "yuv444p", {"crf": "5"}
        for picture in e.frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    np.save(tmp_path / "actions.npy", e.actions)
    np.save(tmp_path / "state.npy", e.state)
    files = ["--video", "clip.mp4", "--actions", "actions.npy", "--state", "state.npy"]
    code, said, errors = infer(with_readers, *files, "--json")
    assert code == 0, errors
    expected, *others = (model[1].score(e.frames, e.actions, e.state) for e in examples)
    assert json.loads(said)["reward"] == pytest.approx(expected, abs=0.01 * np.std([expected, *others]))


def test_inference_takes_the_columns_that_the_model_was_trained_on(model, tmp_path):
    inference, reward_model = model
    columns = reward_model.contract["columns"]
    assert columns["camera"] == "observation.images.front" and columns["actions"] == [["action", [0, 1, 2, 3]]]
    other = {**columns, "state": [["observation.gripper", [0]], ["observation.state", [2, 0]]]}
    found = inference.load_lerobot(SAMPLE_POOL, 4, other)
    whole = inference.load_lerobot(SAMPLE_POOL, 4, columns)
    assert found["state"].shape == (150, 3)
    assert (found["state"][:, 1:] == whole["state"][:, [2, 0]]).all()
    with pytest.raises(inference.InputError, match=r"no column 'qpos'; the model was trained on action, qpos"):
        inference.load_lerobot(SAMPLE_POOL, 4, {**columns, "state": [["qpos", [0]]]})


def test_input_format_names_the_graphs_inputs_and_the_action_layout(built):
    text = (built.path / "INPUT_FORMAT.md").read_text()
    assert "(batch, time, height, width, 3)" in text and "| 3 | gripper_close |" in text
    assert re.search(r"\| 0 \| hand_dx \| .* \| m \|", text)
    assert re.search(r"\| 1 \| hand_dy \| .* \| as recorded in the source dataset \|", text)


# -- refusals ----------------------------------------------------------------------------------------------------------


def test_without_preferences_or_model_it_says_which_stage_comes_first(ws):
    with ws.store.engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM resolution")
    with pytest.raises(NotReady, match="robopref resolve"):
        build_release(ws, "1.0.0")
    put_preferences(ws, [])
    with pytest.raises(NotReady, match="robopref resolve"):
        build_release(ws, "1.0.0")


def test_without_a_model_training_comes_first(ws):
    ws.store.put_model_version(replace(ws.store.active_model(), active=False))
    with pytest.raises(NotReady, match="robopref train"):
        build_release(ws, "1.0.0")


def test_preferences_newer_than_the_model_are_refused(ws):
    first, known = ws.store.pairs()[0], ws.store.preferences()
    ws.store.put_pairs(Batch("production-001", "production"), [replace(first, pair_id="pair-9999")], [])
    put_preferences(ws, [*known, replace(known[0], pair_id="pair-9999", preference=1.0)])
    with pytest.raises(UserError, match="pair-9999"):
        build_release(ws, "1.0.0")


def test_labels_that_changed_after_training_are_refused(ws):
    first, *others = ws.store.preferences()
    put_preferences(ws, [replace(first, preference=1.0 - first.preference), *others])
    with pytest.raises(UserError, match="labels"):
        build_release(ws, "1.0.0")


def test_a_unit_of_a_number_that_is_not_there_is_refused_with_those_that_are(ws):
    ws.config.release = ws.config.release.model_copy(update={"units": {"hnad_dx": "m"}})
    with pytest.raises(UserError, match=r"release\.units names 'hnad_dx'.*hand_dx, hand_dy"):
        build_release(ws, "1.0.0")


def test_a_missing_clip_is_named(ws):
    clip = next(iter(sorted((ws.root / "clips").iterdir())))
    clip.unlink()
    with pytest.raises(UserError, match=clip.stem):
        build_release(ws, "1.0.0")


def test_another_release_of_the_same_version_is_refused_and_the_next_one_says_what_changed(built, ws):
    shutil.copytree(built.path.parent, ws.releases)
    ws.config.release = ws.config.release.model_copy(update={"license": "CC-BY-4.0"})
    with pytest.raises(UserError, match=r"released before.*same reward model.*1\.0\.1"):
        build_release(ws, "1.0.0")
    assert verify_release(ws.releases / "robopref-sample-1.0.0").ok
    result = build_release(ws, "1.0.1")
    changelog = (result.path / "CHANGELOG.md").read_text()
    assert result.suggested == "1.0.1" and changelog.index("## 1.0.1") < changelog.index("## 1.0.0")
    assert "Same pairs, same labels" in changelog


def test_a_failed_release_leaves_nothing_behind(ws, monkeypatch):
    from release import build

    def full(_source: object, _version: str, _changelog: str, folder: Path) -> float:
        (folder / "preferences.jsonl").write_text("half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(build, "write_contents", full)
    with pytest.raises(UserError, match="No space left"):
        build_release(ws, "1.0.0")
    assert not list(ws.releases.iterdir())
