"""`robopref status` names the stage, who owes what and the next command; each command ends with its successor."""

import json
from dataclasses import replace

import pytest
from ml_maker import version
from preference_maker import put_preferences
from pydantic import SecretStr
from typer.testing import CliRunner

from importer.calibration.build import build, retest
from importer.pairs.annotators import add_annotators
from ml_backend.loop import train as stages
from preference.artifacts import write_json
from preference.config import Config
from preference.config_file import outside_protocol
from preference.errors import NotReady, UserError
from preference.records import Batch, Certification, Judgment, Pair, Preference, Review, Trajectory
from preference.workspace import Workspace
from qc_reports.certification import Effort
from release.gather import gather
from robopref.cli import app
from robopref.show_checks import certifications
from robopref.status import next_step, owed
from robopref.status import status as look

PEOPLE = '[annotators]\nexpert = "eve@example.org"\npeople = ["ann@example.org", "ben@example.org"]\n'
SMALL = "[calibration]\npairs = 4\nmore_pairs = 0\ntraining_pairs = 4\n"


def project(tmp_path, text=PEOPLE + SMALL):
    (tmp_path / "robopref.toml").write_text(text)
    return Workspace.open(tmp_path / "robopref.toml")


def fill_pool(ws, clips=True):
    ws.store.put_trajectories(
        Trajectory(
            f"t{i:02d}", "d", i, "expert", "push", quartile=1 + i // 5, quality=float(i), success=i > 4,
            clip=f"clips/t{i:02d}.mp4" if clips else "", smoothness=-float(i), duration_s=5.0 + i,
            path_efficiency=0.5, grasp_stability=1.0,
        )
        for i in range(20)
    )  # fmt: skip


def push(ws):
    """Give every assignment a task, as `robopref push` does."""
    views = [v.assignment for v in ws.store.assignments() if v.assignment.task_id is None]
    first = 1 + max((row[3] for row in ws.store.tasks()), default=0)
    ws.store.set_tasks((a.assignment_id, 1, first + i) for i, a in enumerate(views))


def answer(ws, *people, batch=None):
    answered = ws.store.answered()
    for view in ws.store.assignments(batch):
        a = view.assignment
        if a.annotator_id in people and a.assignment_id not in answered:
            said = Judgment(a.assignment_id, a.annotator_id, a.pair_id, "A", 4, 5000, annotation_id=a.task_id, raw={})
            ws.store.put_judgments([replace(said, task_id=a.task_id)])


def test_the_next_command_is_the_first_thing_that_is_missing(tmp_path):
    ws = project(tmp_path, SMALL)
    assert next_step(ws).command == "robopref pool" and "[[pool.dataset]]" in next_step(ws).why
    fill_pool(ws, clips=False)
    assert next_step(ws).command == "robopref clips"
    fill_pool(ws)
    assert "[annotators]" in next_step(ws).why
    ws = project(tmp_path)
    assert next_step(ws).command == "robopref calibration build"
    add_annotators(ws)
    build(ws)
    assert next_step(ws).command == "robopref up", "there is no Label Studio yet"
    ws.config.label_studio.token = SecretStr("t")
    assert next_step(ws).command == "robopref push"
    push(ws)
    assert next_step(ws).stage == "eve has to answer 4 training pairs first."
    answer(ws, "eve")
    assert next_step(ws).command == "robopref calibration build"
    build(ws)
    push(ws)
    assert next_step(ws).stage == "Calibration waits for ann, ben."
    assert {(o.annotator_id, o.project, o.open) for o in owed(ws)} == {
        ("ann", "Training · ann", 4), ("ann", "Calibration 1 · ann", 4),
        ("ben", "Training · ben", 4), ("ben", "Calibration 1 · ben", 4),
    }  # fmt: skip
    answer(ws, "ann", "ben")
    assert next_step(ws).command == "robopref certify"
    for name, certified in (("ann", True), ("ben", False)):
        ws.store.put_certification(Certification(name, "calibration-1", 1, 0.8, 0.7, 0.9, certified, 4))
    assert next_step(ws).command == "robopref certify --retest"
    ws.store.put_certification(Certification("ben", "calibration-1", 1, 0.8, 0.7, 0.9, True, 4))
    assert next_step(ws).command == "robopref pairs"
    pairs = [Pair(f"p{i}", f"t{i:02d}", f"t{i + 9:02d}", "push", "distant", "production", "production-001") for i in
             range(6)]  # fmt: skip
    ws.store.put_pairs(Batch("production-001", "production", status="held", reasons=["Alpha is low."]), pairs, [])
    assert "held. Alpha is low." in next_step(ws).stage
    assert next_step(ws).command.startswith("robopref batch accept production-001 "), "there is nobody to review"
    assert "robopref pull && robopref qc --batch production-001" in next_step(ws).why
    for pending, also in ((["ann", "ben"], True), (["ann"], False)):
        write_json(ws.reports / "production-001" / "qc.json", {"left_out": {"pending": pending}})
        assert next_step(ws).command.startswith("robopref batch review ann --batch production-001 --keep ")
        assert ("then the same for ben" in next_step(ws).why) == also
    ws.store.set_batch_status("production-001", "open", [])
    assert next_step(ws).command == "robopref qc --batch production-001"
    ws.store.set_batch_status("production-001", "accepted", [])
    assert next_step(ws).command == "robopref resolve"
    said = [Preference(p.pair_id, p.trajectory_a_id, p.trajectory_b_id, 1.0, 3.0, 2, 1.0, ["ann"], "unanimous") for p in
            pairs]  # fmt: skip
    put_preferences(ws, said)
    resolution = ws.store.resolution()
    asked = [{"batch_id": "production-001", "annotator_id": "ann", "kinds": ["gold", "speed"]}]
    ws.store.put_resolution(replace(resolution, left_out={**resolution.left_out, "reviews": asked}), said)
    command = "robopref batch review ann --batch production-001 --keep"
    assert next_step(ws).command.startswith(command)
    looked = Review("production-000", "ann", "keep", ["gold", "speed"], "maria", "2026-01-01", "watched")
    ws.store.put_pairs(Batch("production-000", "production", status="accepted"), [], [])
    for review in (looked, replace(looked, batch_id="production-001", kinds=["speed"])):
        ws.store.put_review(review)
        assert next_step(ws).command.startswith(command), "of another batch, or of another flag"
    ws.store.put_review(replace(looked, batch_id="production-001"))
    assert (next_step(ws).stage, next_step(ws).command) == ("All flags are reviewed.", "robopref resolve")
    ws.store.put_resolution(resolution, said)
    assert "a model needs 20" in next_step(ws).stage, "as few as `robopref train` takes"
    ws.config.reward.min_preferences = 5
    assert "rounds start at 40" in next_step(ws).stage and "`robopref train` works" in next_step(ws).why
    assert "Lost pairs" not in next_step(ws).why
    put_preferences(ws, [*said[:5], replace(said[5], preference=None, reason="ambiguous")])
    for least in (5, 20):
        ws.config.reward.min_preferences = least
        step = next_step(ws)
        assert step.command == "robopref pairs --replace" and "Lost pairs: 1; it asks" in step.why
    ws.config.reward.min_preferences = 5
    put_preferences(ws, said)
    ws.config.active.bootstrap = 5
    assert next_step(ws).command == "robopref train"
    ws.store.put_model_version(version(1, preferences=6))
    assert next_step(ws).command == "robopref validate"
    ws.store.put_model_version(version(1, preferences=6, verdict="It can be used."))
    assert next_step(ws).command == "robopref round"
    put_preferences(ws, [*said[:5], replace(said[5], preference=None)])
    assert next_step(ws).command == "robopref train"
    ws.store.close()


def test_status_is_a_page_for_people_and_json_for_scripts(tmp_path):
    ws = project(tmp_path, PEOPLE + SMALL + "[pairs]\nbatch = 40\n")
    fill_pool(ws)
    add_annotators(ws)
    build(ws)
    push(ws)
    ws.store.close()
    config = ["--config", str(tmp_path / "robopref.toml")]
    shown = CliRunner().invoke(app, ["status", *config], env={"COLUMNS": "200"})
    for said in ("20 trajectories", "Training · eve", "pairs.batch = 40", "Next: `robopref pull`"):
        assert said in shown.output
    found = json.loads(CliRunner().invoke(app, ["status", *config, "--json"]).stdout)
    assert found["next"] == "robopref pull" and found["owed"][0]["annotator_id"] == "eve"


def test_certify_before_anybody_is_done_says_how_far_each_is(tmp_path):
    ws = project(tmp_path)
    fill_pool(ws)
    add_annotators(ws)
    build(ws)
    push(ws)
    answer(ws, "eve")
    build(ws)
    push(ws)
    answer(ws, "ann", batch="training")
    ws.store.close()
    run = CliRunner().invoke(app, ["certify", "--config", str(tmp_path / "robopref.toml")])
    assert "Nobody has answered all of calibration-1: ann 0 of 4, ben 0 of 4." in run.output


def test_whoever_can_still_be_certified_is_named_although_enough_are_and_until_they_have_what_comes_next(tmp_path):
    ws = project(tmp_path, PEOPLE.replace("people = [", 'people = ["cy@example.org", "dora@example.org", ') + SMALL)
    ws.config.calibration.more_pairs = 2
    fill_pool(ws)
    add_annotators(ws)
    for _ in range(2):
        build(ws)
        push(ws)
        answer(ws, "eve")
    answer(ws, "ann", "ben", "cy", "dora")
    for name, kappa, low, high in (("ann", 0.9, 0.8, 1.0), ("ben", 0.9, 0.8, 1.0), ("cy", 0.6, 0.4, 0.8),
                                   ("dora", 0.0, -0.3, 0.2)):  # fmt: skip
        ws.store.put_certification(
            Certification(name, "calibration-1", 1, kappa, low, high, kappa > 0.7, 4, undecided=name == "cy")
        )
    said = "Not certified yet: cy, dora. `robopref certify --retest`"
    assert next_step(ws).command == "robopref pairs" and said in " ".join(look(ws).notes)
    retest(ws, ["cy", "dora"])
    assert look(ws).notes == outside_protocol(ws.config), "they have it by now"
    ws.store.close()
    run = CliRunner().invoke(app, ["status", "--config", str(tmp_path / "robopref.toml")])
    assert "--retest" not in run.output


@pytest.mark.parametrize("due", [["cy", "dora"], []])
def test_a_retest_is_offered_only_to_those_for_whom_there_is_something(due, capfd):
    cy = Certification("cy", "calibration-1", 1, 0.6, 0.4, 0.8, False, 40, undecided=True)
    dora = Certification("dora", "calibration-1", 1, 0.0, -0.3, 0.2, False, 40, review=["p1"])
    certifications([cy, dora], {}, Effort(2, 0, 1.0), due, as_json=False)
    said = capfd.readouterr().out
    assert ("Undecided about cy" in said, "shows dora these pairs again" in said) == (bool(due), bool(due))
    assert "dora missed 1 of 40 pairs." in said and ("--retest" in said) == bool(due)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[pairs]\nbatch = 100", "pairs.batch = 100"),
        ("[pairs]\nduplicates = 0.2", "0.05 to 0.1"),
        ("[pairs]\noverlap = 1", "outside the protocol's 2 to 3"),
        ("[calibration]\npairs = 20", "30 to 50"),
    ],
)
def test_settings_outside_the_protocols_ranges_are_said(tmp_path, text, said):
    assert said in " ".join(outside_protocol(project(tmp_path, text).config))
    assert outside_protocol(Config()) == []


def test_train_does_not_take_a_batch_that_is_still_open(labelled_pool):
    ws = labelled_pool
    stages.check_accepted(ws)
    ws.store.set_batch_status("production-001", "open", [])
    with pytest.raises(NotReady, match="production-001 is still open"):
        stages.check_accepted(ws)
    run = CliRunner().invoke(app, ["train", "--config", str(ws.root.parent / "robopref.toml")])
    assert run.exit_code == 3 and "robopref qc --batch production-001" in run.output and "--force" in run.output


def test_a_release_after_a_model_was_kept_back_names_the_way_out(labelled_pool, monkeypatch):
    ws = labelled_pool
    stages.train(ws)
    (ws.root / "clips").mkdir()
    for trajectory in ws.store.trajectories():
        (ws.root / trajectory.clip).touch()
    *others, last = ws.store.preferences()
    put_preferences(ws, [*others, replace(last, preference=None)])
    monkeypatch.setattr("ml_backend.loop.train.why_worse", lambda *_: "it loses 5 test pairs and wins 1")
    kept = stages.train(ws)
    with pytest.raises(UserError) as caught:
        gather(ws)
    assert "it loses 5 test pairs and wins 1" in caught.value.fix
    assert f"robopref models promote {kept.version}" in caught.value.fix
    ws.store.put_model_version(replace(ws.store.active_model(), verdict="It can be used."))
    assert "kept back (it loses 5 test pairs and wins 1)" in next_step(ws).why
    assert look(ws).counts["models"] == 2
