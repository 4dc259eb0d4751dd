"""The two scripts for people who script: pairs of their own in, judgments out."""

import csv
import json
import subprocess
import sys

import pyarrow.parquet as pq
import pytest
from paths import ROOT
from plan_maker import certify, open_workspace, trajectories

from importer.pairs import batches
from importer.pairs.annotators import add_annotators
from importer.pairs.pair_file import read_pairs
from importer.studio.export import export_judgments
from preference.errors import DataError, NotReady, UserError
from preference.frames import RESPONSES
from preference.records import Judgment


def script(name, *arguments, cwd):
    command = [sys.executable, ROOT / "scripts" / name, *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def ws(tmp_path):
    workspace = open_workspace(tmp_path)
    workspace.store.put_trajectories(trajectories())
    add_annotators(workspace)
    certify(workspace)
    yield workspace
    workspace.store.close()


def two_of_a_task(ws, count=6):
    push = sorted((t.trajectory_id for t in ws.store.trajectories() if t.task_type == "push"), reverse=True)
    return list(zip(push[::2], push[1::2], strict=True))[:count]


def write_csv(path, rows):
    path.write_text("trajectory_a_id,trajectory_b_id,why\n" + "".join(f"{a},{b},x\n" for a, b in rows))
    return path


def test_chosen_pairs_become_a_batch_for_the_certified(ws, tmp_path):
    wanted = two_of_a_task(ws)
    run = script("import_pairs.py", write_csv(tmp_path / "pairs.csv", wanted), "--no-push", cwd=tmp_path)
    assert (run.returncode, run.stdout) == (0, "production-001: 6 pairs\n"), run.stderr
    made = ws.store.pairs("production-001")
    assert {(p.trajectory_a_id, p.trajectory_b_id) for p in made} == set(wanted)
    assert all((p.kind == "gold") == (p.stratum == "distant") for p in made)
    assert len(ws.store.assignments("production-001")) == 12
    again = script("import_pairs.py", tmp_path / "pairs.csv", "--no-push", "--force", cwd=tmp_path)
    assert again.returncode == 1 and "were asked before" in again.stderr and "Traceback" not in again.stderr


def test_json_lines_do_as_well(ws, tmp_path):
    (a, b), *_ = two_of_a_task(ws)
    (tmp_path / "pairs.jsonl").write_text(json.dumps({"trajectory_a_id": a, "trajectory_b_id": b}) + "\n\n")
    assert read_pairs(tmp_path / "pairs.jsonl") == [(a, b)]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("p.csv", "", "trajectory_a_id is missing; found an empty file"),
        ("p.csv", "trajectory_a_id,b\nx,y\n", "trajectory_b_id is missing"),
        ("p.csv", "trajectory_a_id,trajectory_b_id\n", "contains no pairs"),
        ("p.csv", "trajectory_a_id,trajectory_b_id\nx,\n", "row 2: expected"),
        ("p.csv", "trajectory_a_id,trajectory_b_id\nx,x\n", "row 2: x is compared with itself"),
        ("p.csv", "trajectory_a_id,trajectory_b_id\nx,y\ny,x\n", "row 3: y and x are already paired in row 2"),
        ("p.jsonl", "{\n", "line 1 is not JSON"),
        ("p.jsonl", "[1]\n", "row 1: expected"),
    ],
)
def test_a_wrong_file_of_pairs_names_its_line(tmp_path, name, text, said):
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=said):
        read_pairs(tmp_path / name)


def test_pairs_that_cannot_be_asked_are_refused_and_nothing_is_made(ws):
    ids = {t.task_type: t.trajectory_id for t in ws.store.trajectories()}
    for chosen in ([("nobody", ids["push"])], [(ids["push"], ids["pick"])]):
        with pytest.raises(UserError):
            batches.chosen_batch(ws, chosen)
    batches.chosen_batch(ws, two_of_a_task(ws, 2))
    with pytest.raises(NotReady, match="is open"):
        batches.chosen_batch(ws, two_of_a_task(ws, 4)[2:])


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_judgments_come_out_with_the_protocols_eight_columns(ws, tmp_path, suffix):
    batches.chosen_batch(ws, two_of_a_task(ws))
    views = [view.assignment for view in ws.store.assignments("production-001")]
    ws.store.put_judgments(
        Judgment(a.assignment_id, a.annotator_id, a.pair_id, "A", 4, 6000, 'It said "stop", ä') for a in views
    )
    file = tmp_path / f"judgments.{suffix}"
    run = script("export_judgments.py", file, cwd=tmp_path)
    assert (run.returncode, run.stdout) == (0, f"12 judgments in {file}\n"), run.stderr
    if suffix == "csv":
        with file.open(encoding="utf-8", newline="") as stream:
            rows = list(csv.DictReader(stream))
    elif suffix == "jsonl":
        rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    else:
        rows = pq.read_table(file).to_pylist()
    assert len(rows) == 12 and list(rows[0]) == list(RESPONSES)
    assert {(r["preference"], int(r["confidence"]), r["free_text_reason"]) for r in rows} == {
        ("A", 4, 'It said "stop", ä')
    }
    before = file.read_bytes()
    export_judgments(ws, file)
    assert file.read_bytes() == before


def test_another_form_of_file_is_refused(ws, tmp_path):
    run = script("export_judgments.py", "judgments.xlsx", cwd=tmp_path)
    assert run.returncode == 1 and "expected a name that ends in .csv" in run.stderr
    assert "--help" in script("import_pairs.py", "--help", cwd=tmp_path).stdout
