"""The whole loop in a real Label Studio: killed half-way and run again, it arrives where it should."""

import csv
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from fresh_environment import make_environment, run_in
from paths import SAMPLE_POOL
from process_maker import PATIENCE_S, processes_of, until
from studio_maker import copy_studio

pytest.importorskip("label_studio", reason="needs `pip install robopref[studio]`")

TRAINING, TEST = 3, 14
"""Pairs of the training and of the first calibration set."""
SMALL = f"""
[clips]
size = 96
[pairs]
batch = 30
[calibration]
pairs = {TEST}
more_pairs = 6
training_pairs = {TRAINING}
[active]
pairs = 8
bootstrap = 30
[quality]
bootstrap = 200
[reward]
encoder = "tf_efficientnet_lite0"
image_size = 112
sample_fps = 0.5
members = 2
epochs = 10
"""
"""A smaller course than the demo's own, on the same pool and through the same stages."""

RUN = "import sys; from pathlib import Path; from robopref.demo import run_demo; \
run_demo(Path(sys.argv[1]), exit_=True, extra=sys.argv[2])"


def start(root):
    return subprocess.Popen(
        [sys.executable, "-c", RUN, str(root), SMALL], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def judgments(root):
    path = root / "work" / "robopref.db"
    if not path.exists():
        return 0
    try:
        return sqlite3.connect(path, timeout=30).execute("SELECT count(*) FROM judgments").fetchone()[0]
    except sqlite3.OperationalError:  # the tables are not there yet
        return 0


@pytest.fixture(scope="module")
def finished(tmp_path_factory, empty_studio):
    """The course, killed with kill -9 in the middle of calibration and run again."""
    root = tmp_path_factory.mktemp("demo") / "demo"
    copy_studio(empty_studio, root / "label_studio")
    first = start(root)
    until(lambda: judgments(root) >= 20 or first.poll() is not None, patience_s=600)
    assert first.poll() is None, first.stdout.read()
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    until(lambda: not processes_of(root))
    orphans = processes_of(root)
    second = start(root)
    output, _ = second.communicate(timeout=1200)
    return root, second.returncode, output, orphans


@pytest.fixture(scope="module")
def summary(finished):
    root, code, output, _ = finished
    assert code == 0, output
    return json.loads((root / "summary.json").read_text())


@pytest.mark.timeout(1500)
def test_a_killed_run_leaves_no_server_and_the_next_one_goes_on(finished, summary):
    root, _, _, orphans = finished
    assert orphans == []
    assert processes_of(root) == []
    assert summary["trajectories"] == summary["clips"] >= 72


def test_the_careless_and_the_biased_are_refused_and_the_good_are_certified(summary):
    certified = {annotator["id"]: annotator["certified"] for annotator in summary["annotators"]}
    assert certified == {"alice": True, "bo": True, "chidi": True, "dana": True, "hasty": False, "lefty": False}


def test_the_batch_keeps_the_strata_and_repeats_some_pairs(summary):
    assert summary["strata"] == {"adjacent": 12, "same": 9, "distant": 9}
    assert summary["duplicates"] > 0


def test_each_assignment_has_exactly_one_task_and_one_judgment(finished, summary):
    root, *_ = finished
    database = sqlite3.connect(root / "work" / "robopref.db")
    (assignments, tasks) = database.execute("SELECT count(*), count(DISTINCT task_id) FROM assignments").fetchone()
    settled = "SELECT task_id FROM rejected WHERE reason = 'skipped: right three times in a row'"
    unanswered = database.execute(
        "SELECT annotator_id, count(*) FROM assignments WHERE assignment_id NOT IN "
        f"(SELECT assignment_id FROM judgments) AND task_id NOT IN ({settled}) GROUP BY 1"
    ).fetchall()
    (closed,) = database.execute(f"SELECT count(DISTINCT task_id) FROM ({settled})").fetchone()
    assert assignments == tasks
    assert unanswered == [("you", TRAINING + TEST)]  # training and test wait for the person who sits down afterwards
    assert summary["judgments"] == assignments - closed - TRAINING - TEST
    studio = sqlite3.connect(root / "label_studio" / "label_studio.sqlite3")
    assert studio.execute("SELECT count(*) FROM task").fetchone()[0] == tasks


def test_only_the_certified_got_production_pairs(finished, summary):
    root, *_ = finished
    query = (
        "SELECT DISTINCT a.annotator_id FROM assignments a JOIN batches b ON b.batch_id = a.batch_id "
        "WHERE b.kind <> 'calibration' ORDER BY 1"
    )
    rows = sqlite3.connect(root / "work" / "robopref.db").execute(query).fetchall()
    assert [row[0] for row in rows] == ["alice", "bo", "chidi", "dana"]


def test_everybody_was_taught_with_the_experts_words_before_the_test(finished):
    root, *_ = finished
    database = sqlite3.connect(root / "work" / "robopref.db")
    taught = database.execute(
        "SELECT a.annotator_id, count(*), sum(p.reasoning <> '') "
        "FROM assignments a JOIN pairs p ON p.pair_id = a.pair_id "
        "WHERE a.batch_id = 'training' GROUP BY 1 ORDER BY 1"
    ).fetchall()
    people = ("alice", "bo", "chidi", "dana", "expert", "hasty", "lefty", "you")
    assert taught == [(name, TRAINING, TRAINING) for name in people]


def test_the_last_words_say_where_to_learn_and_where_to_be_tested(finished, capsys):
    from preference.workspace import Workspace
    from robopref.demo import _say_where

    root, *_ = finished
    ws = Workspace.open(root / "robopref.toml")
    _say_where(ws, {"username": "manager", "password": "secret"})
    said = capsys.readouterr().out
    assert f"practise on {TRAINING} pairs" in said
    assert f"then get certified on {TEST} pairs:\n  {ws.config.label_studio.url}/projects/" in said
    ws.store.close()


def test_the_active_round_asked_what_the_model_wanted_and_made_it_train_again(summary):
    assert summary["active"]["pairs"] == 8
    assert len(summary["models"]) == 2
    assert summary["models"][1]["preferences"] > summary["models"][0]["preferences"]


def test_the_release_is_whole_and_says_which_weights_were_used(finished, summary):
    from ml_backend.reward.encoder_weights import packaged_file
    from release import verify_release

    archive = Path(summary["release"]["path"])
    assert verify_release(archive).ok
    folder = archive.parent / archive.name.removesuffix(".tar.gz")
    with tarfile.open(archive) as packed:
        inside = {name.partition("/")[2] for name in packed.getnames()} - {""}
    assert inside == {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert {
        "README.md",
        "preferences.jsonl",
        "manifest.csv",
        "rewards.csv",
        "inference.py",
        "reproduce.ipynb",
    } <= inside
    weights = summary["weights"]
    assert weights == "imagenet" or (weights == "none" and packaged_file("tf_efficientnet_lite0") is None)
    card = (folder / "README.md").read_text()
    words = {"imagenet": "tf_efficientnet_lite0, weights: ImageNet |", "none": "weights: none (fixed random network) |"}
    assert {kind for kind, said in words.items() if said in card} == {weights}


def test_the_model_in_use_has_a_validation_page_and_the_story_its_verdict(finished, summary):
    told, output = summary["validation"], finished[2]
    assert Path(told["page"]).read_text().startswith("<!doctype html>")
    assert told["version"] in {model["version"] for model in summary["models"]}
    assert told["verdict"]
    answer = "" if told["verdict"].startswith("Not yet known") else "Yes. " if told["trusted"] else "No. "
    assert f"Can {told['version']} be trusted? {answer}{told['verdict']}" in output
    assert told["page"] in output


@pytest.fixture(scope="module")
def unpacked(finished, summary, tmp_path_factory):
    """The release in an empty folder, as somebody gets it who has nothing of Robopref."""
    archive = Path(summary["release"]["path"])
    folder = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(archive) as packed:
        packed.extractall(folder, filter="data")
    return folder / archive.name.removesuffix(".tar.gz")


def test_the_unpacked_release_scores_an_episode_in_a_fresh_environment(unpacked, tmp_path):
    python = make_environment(tmp_path / "env", "numpy", "onnxruntime", "av", "pyarrow", dependencies=False)
    with (unpacked / "manifest.csv").open(newline="") as file:
        row = next(csv.DictReader(file))
    with (unpacked / "rewards.csv").open(newline="") as file:
        rewards = {row["trajectory_id"]: float(row["reward"]) for row in csv.DictReader(file)}
    where = ["--lerobot", str(SAMPLE_POOL), "--episode", row["episode_index"]]
    where += ["--start", row["start_s"], "--end", row["end_s"]]
    code, said, errors = run_in(
        python, "inference.py", *where, "--json", cwd=unpacked, log=tmp_path / "inference", timeout=120
    )
    assert code == 0, errors
    spread = max(rewards.values()) - min(rewards.values())
    assert json.loads(said)["reward"] == pytest.approx(rewards[row["trajectory_id"]], abs=0.01 * spread)


RUN_NOTEBOOK = """
import nbformat, nbclient
notebook = nbformat.read("reproduce.ipynb", as_version=4)
nbclient.NotebookClient(notebook, timeout=300).execute()
print(notebook.cells[-1].outputs[0].text)
"""


def test_the_unpacked_release_s_notebook_arrives_at_the_card_s_accuracy_in_a_fresh_environment(unpacked, tmp_path):
    needed = ("numpy", "torch", "nbclient", "nbformat", "ipykernel")
    python = make_environment(tmp_path / "env", *needed, dependencies=True)
    code, said, errors = run_in(python, "-c", RUN_NOTEBOOK, cwd=unpacked, log=tmp_path / "notebook", timeout=300)
    assert code == 0, errors
    result = json.loads(said)
    line = next(x for x in (unpacked / "README.md").read_text().splitlines() if x.startswith("| ranking accuracy |"))
    stated = [float(figure) for figure in re.findall(r"\d\.\d{3}", line)]
    assert stated == pytest.approx([result["released_model"], *result["interval"]], abs=0.001)
    assert result["not_worse"], result


def test_verify_passes_the_good_archive_and_names_what_a_flipped_byte_damaged(summary, tmp_path):
    archive = Path(summary["release"]["path"])
    command = [sys.executable, "-m", "robopref", "release", "verify"]
    good = subprocess.run([*command, str(archive)], capture_output=True, text=True, timeout=120, check=False)
    assert good.returncode == 0 and "files are as released" in good.stdout
    damaged = bytearray(archive.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    (tmp_path / archive.name).write_bytes(damaged)
    bad = subprocess.run(
        [*command, str(tmp_path / archive.name)], capture_output=True, text=True, timeout=120, check=False
    )
    assert bad.returncode == 1 and "Traceback" not in bad.stderr
    assert "was changed" in bad.stdout or "damaged" in bad.stderr


def test_the_story_names_the_figures(finished, summary):
    output = finished[2]
    assert "What happened" in output
    assert f"{summary['trajectories']} trajectories" in output
    assert summary["models"][-1]["version"] in output


def test_a_port_that_is_taken_is_one_clear_message(tmp_path):
    import socket

    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        run = subprocess.run(
            [sys.executable, "-m", "robopref", "demo", "--exit", "--root", str(tmp_path / "d"), "--port", str(port)],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
    assert run.returncode == 1
    assert str(port) in run.stderr
    assert "Traceback" not in run.stderr


def test_somebody_elses_folder_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    run = subprocess.run(
        [sys.executable, "-m", "robopref", "demo", "--exit", "--fresh", "--root", str(tmp_path)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert run.returncode == 1
    assert "not a demo" in run.stderr
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_a_full_disk_is_said_before_anything_starts(tmp_path, monkeypatch):
    import shutil
    from collections import namedtuple

    from preference.errors import UserError
    from robopref.demo import run_demo

    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**12, 10**12, 10**6))
    with pytest.raises(UserError, match="1 MB are free"):
        run_demo(tmp_path / "demo", exit_=True)
    assert not (tmp_path / "demo").exists()


@pytest.mark.slow
def test_ctrl_c_while_clips_are_rendered_stops_everything_calmly(tmp_path, empty_studio):
    """As a terminal sends it: to the whole foreground group, worker processes included."""
    root = tmp_path / "demo"
    copy_studio(empty_studio, root / "label_studio")
    process = subprocess.Popen(
        [sys.executable, "-m", "robopref", "demo", "--root", str(root)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
        # a shell starts background jobs, and so perhaps the tests, deaf to SIGINT; a terminal's programs hear it
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    clips = root / "work" / "clips"
    until(lambda: len(list(clips.glob("*.mp4"))) >= 4 or process.poll() is not None)
    os.killpg(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130, output
    assert "Traceback" not in output
    assert "same command to continue" in output
    assert processes_of(root) == []
    kept = sorted(path.name for path in clips.iterdir())
    assert [name for name in kept if name.startswith(".")] == []  # nothing half-written
