"""`robopref batch` from the command line: who decided what, why, and what follows from it."""

import json
import sys
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from importer.studio import hand_over
from preference.records import Annotator, Assignment, Batch, Judgment, Pair, Trajectory
from preference.workspace import Workspace
from robopref import show
from robopref.cli import app

WORDS = ("A", "B", "equal")


@pytest.fixture
def config(tmp_path):
    """Alice and bob answer 30 pairs; eve says the same in a second each."""
    path = tmp_path / "robopref.toml"
    path.write_text("[quality]\nbootstrap = 50\n")
    ws = Workspace.open(path)
    ws.store.put_trajectories(Trajectory(f"t{i}", "d", i, "expert", "push") for i in range(31))
    people = ("alice", "bob", "eve")
    ws.store.put_annotators(Annotator(name, f"{name}@example.org") for name in people)
    pairs = [Pair(f"p{i:02d}", f"t{i}", f"t{i + 1}", "push", "same", "production", "production-001") for i in range(30)]
    work = [Assignment(f"{p.pair_id}-{who}", p.pair_id, who, "production-001", i, "AB"[i % 2])
            for i, p in enumerate(pairs) for who in people]  # fmt: skip
    ws.store.put_pairs(Batch("production-001", "production"), pairs, work)
    ws.store.put_judgments(
        Judgment(a.assignment_id, a.annotator_id, a.pair_id, WORDS[a.position % 3], 4, 900 if who == "eve" else 9000)
        for a in work
        for who in [a.annotator_id]
    )
    ws.store.close()
    return path


def robopref(config, *arguments, code=0):
    run = CliRunner().invoke(app, [*arguments, "-c", str(config)])
    assert run.exit_code == code, run.output
    return run


def listed(config):
    return json.loads(robopref(config, "batch", "list", "--json").stdout)["batches"][0]


def test_a_flag_holds_a_review_frees_and_both_are_listed(config):
    robopref(config, "qc", "--batch", "production-001")
    assert listed(config)["status"] == "held" and "eve answers in a median of 0.9 s" in listed(config)["reasons"][0]
    signed = ("--by", "maria", "--why", "watched them all")
    robopref(config, "batch", "review", "eve", "--keep", *signed)
    found = listed(config)
    assert found["status"] == "accepted" and found["decisions"] == []
    review = found["reviews"][0]
    assert (review["annotator_id"], review["verdict"], review["by"], review["why"]) == (
        "eve", "keep", "maria", "watched them all",
    )  # fmt: skip
    assert "production-001" in robopref(config, "batch", "list").output


def test_the_list_counts_answers_as_of_now_and_not_of_the_last_check(config):
    robopref(config, "qc", "--batch", "production-001")
    ws = Workspace.open(config)
    pair = ws.store.pairs()[0].pair_id
    ws.store.put_annotators([Annotator("zoe", "zoe@example.org")])
    late = Assignment("late", pair, "zoe", "production-001", 0, "A")
    ws.store.put_pairs(ws.store.batches()[0], [], [late])
    ws.store.close()
    found = listed(config)
    assert found["answered"] == found["assignments"] - 1
    assert f"{found['answered']} of {found['assignments']}" in robopref(config, "batch", "list").output


def test_a_person_holds_and_accepts_with_reasons_and_the_last_word_holds(config):
    robopref(config, "batch", "accept", "production-001", "--by", "maria", "--why", "good enough")
    assert listed(config)["status"] == "accepted" and listed(config)["reasons"][-1].startswith("Accepted by maria")
    robopref(config, "batch", "hold", "production-001", "--by", "otto", "--why", "the camera moved")
    robopref(config, "qc")
    found = listed(config)
    assert found["status"] == "held" and [d["by"] for d in found["decisions"]] == ["maria", "otto"]


def test_what_is_not_said_is_asked_for(config):
    robopref(config, "batch", "accept", "production-001", "--by", "maria", code=2)
    robopref(config, "batch", "review", "eve", "--by", "maria", "--why", "x", code=2)
    robopref(config, "batch", "hold", "production-007", "--by", "maria", "--why", "x", code=1)
    assert listed(config)["decisions"] == []


def test_whatever_is_decided_the_next_command_is_said(config):
    robopref(config, "qc", "--batch", "production-001")
    ws = Workspace.open(config)
    ws.store.put_trajectories([replace(t, quartile=1, clip="clips/x.mp4") for t in ws.store.trajectories()])
    ws.store.set_tasks((view.assignment.assignment_id, 1, 1 + i) for i, view in enumerate(ws.store.assignments()))
    ws.store.close()
    signed = ("--by", "maria", "--why", "watched them all")
    for command, follows in (
        (("batch", "list"), "robopref batch review eve --batch production-001"),
        (("batch", "review", "eve", "--keep", *signed), "robopref resolve"),
        (("batch", "hold", "production-001", *signed), "robopref batch accept production-001"),
        (("batch", "accept", "production-001", *signed), "robopref resolve"),
        (("certify", "list"), "robopref resolve"),
        (("models",), "robopref resolve"),
        (("annotators", "pause", "eve", *signed), "robopref resolve"),
    ):
        assert f"Next: `{follows}" in robopref(config, *command).stdout, command


def test_a_decision_as_json_is_one_object_whatever_waits_for_a_review(config):
    robopref(config, "qc", "--batch", "production-001")
    signed = ("--by", "maria", "--why", "watched them all")
    found = json.loads(robopref(config, "batch", "accept", "production-001", *signed, "--json").stdout)
    assert found["status"] == "accepted" and found["left_out"]["pending"] == ["eve"]
    assert "Left out until" in robopref(config, "batch", "accept", "production-001", *signed).stdout


def test_open_pairs_are_handed_over_before_anything_is_said(config, monkeypatch):
    """Whoever reads may go away, and then saying something ends the command."""
    done = []
    monkeypatch.setattr(hand_over, "hand_over", lambda ws: done.append(ws) or hand_over.HandedOver())
    monkeypatch.setattr(show, "say", lambda *_: sys.exit(1))
    robopref(config, "annotators", "pause", "eve", "--by", "maria", "--why", "ill", code=1)
    assert len(done) == 1
