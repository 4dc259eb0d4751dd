"""A round that is killed at any step is finished by running it again; a dry run changes nothing; all with a real
database, training and ranking. Label Studio alone is played: it keeps what was pushed."""

import hashlib
import shutil
from dataclasses import replace
from types import SimpleNamespace

import pytest
from pool_maker import trained_pool
from preference_maker import put_preferences
from typer.testing import CliRunner

from ml_backend.loop import queue_order, rounds
from ml_backend.loop import train as stages
from ml_backend.loop.rounds import run_round
from ml_backend.ranking import pair_score
from preference.errors import NotReady
from preference.records import Judgment
from preference.workspace import Workspace
from robopref.cli import app


class Killed(BaseException):
    """What ends a process in the middle of a step."""


@pytest.fixture(scope="module")
def trained(run_folder, tmp_path_factory):
    """Twenty labelled pairs of eight trajectories, a model of them, and two certified annotators; to be copied."""
    return trained_pool(run_folder, tmp_path_factory.mktemp("trained"))


@pytest.fixture
def ws(trained, tmp_path, monkeypatch):
    """A Label Studio beside it that takes every task once."""
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    ws = Workspace.open(tmp_path / "robopref.toml")
    ws.studio = {"tasks": [], "order": None, "places": {}}

    def push(ws, scores=()):
        waiting = [v for v in ws.store.assignments() if v.assignment.task_id is None]
        ws.studio["places"] |= {v.assignment.assignment_id: dict(scores)[v.assignment.assignment_id] for v in waiting}
        ws.studio["tasks"] += [view.assignment.assignment_id for view in waiting]
        ws.store.set_tasks((v.assignment.assignment_id, 1, i) for i, v in enumerate(waiting, 1))

    monkeypatch.setattr(rounds, "pull", lambda ws, **_: None)
    monkeypatch.setattr(rounds, "resolve_labels", lambda ws: SimpleNamespace(preferences=ws.store.preferences()))
    monkeypatch.setattr(rounds, "push", push)
    monkeypatch.setattr(
        rounds, "out_of_order", lambda ws, version: ws.studio["tasks"] and ws.studio["order"] != version
    )
    monkeypatch.setattr(rounds, "rescore", lambda ws, scores, version: ws.studio.update(order=version))
    yield ws
    ws.store.close()


@pytest.mark.parametrize("step", ["pull", "resolve_labels", "active_batch", "push", "rescore"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_round_killed_at_any_step_is_finished_by_running_it_again(ws, monkeypatch, step, when):
    whole = getattr(rounds, step)

    def killed(*args, **kwargs):
        if when == "after":
            whole(*args, **kwargs)
        raise Killed

    monkeypatch.setattr(rounds, step, killed)
    with pytest.raises(Killed):
        run_round(ws)
    monkeypatch.setattr(rounds, step, whole)
    try:
        run_round(ws)
    except NotReady as error:  # the killed one had made its batch: now it waits for the answers
        assert "still waits for" in error.message
    batches = [batch for batch in ws.store.batches() if batch.kind == "active"]
    assert [batch.batch_id for batch in batches] == ["active-001"]
    assert len(ws.store.pairs("active-001")) == 4
    assigned = [view.assignment.assignment_id for view in ws.store.assignments("active-001")]
    assert sorted(ws.studio["tasks"]) == sorted(assigned)
    assert ws.studio["order"] == "rm-0001"


@pytest.mark.parametrize("step", ["push", "rescore"])
def test_new_tasks_are_in_the_models_order_though_the_round_was_killed_before_it_said_so(ws, monkeypatch, step):
    """The model was in use before, so that nothing tells the next look that the order is not yet its own."""
    ws.studio["order"] = "rm-0001"
    whole = getattr(rounds, step)

    def killed(*args, **kwargs):
        raise Killed

    monkeypatch.setattr(rounds, step, killed)
    with pytest.raises(Killed):
        run_round(ws)
    monkeypatch.setattr(rounds, step, whole)
    with pytest.raises(NotReady, match="still waits for"):
        run_round(ws)
    rewards = queue_order.rewards_in_use(ws)
    for name in ("x", "y"):
        own = [v for v in ws.store.assignments("active-001") if v.assignment.annotator_id == name]
        own = [v for v in own if v.assignment.duplicate_of is None]
        served = sorted(own, key=lambda view: ws.studio["places"][view.assignment.assignment_id])
        spread = [pair_score(rewards[v.pair.trajectory_a_id], rewards[v.pair.trajectory_b_id]) for v in served]
        assert len(spread) > 1 and spread == sorted(spread)


def fingerprint(ws):
    """Every file of the work folder but the encoder's cache, and every row of the database."""
    files = {
        str(path): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in ws.root.rglob("*")
        if path.is_file() and not path.name.startswith("robopref.db")
    }
    rows = [ws.store.batches(), ws.store.pairs(), ws.store.assignments(), ws.store.model_versions()]
    return files, repr(rows)


def test_a_dry_run_changes_nothing_and_says_what_a_round_would_ask(ws):
    before = fingerprint(ws)
    said = run_round(ws, dry_run=True)
    assert fingerprint(ws) == before
    assert ws.studio == {"tasks": [], "order": None, "places": {}}
    done = run_round(ws)
    assert [choice.trajectories for choice in said.chosen] == [choice.trajectories for choice in done.chosen]
    assert said.strategies == {"v_optimal": 3, "uniform": 1} == done.strategies
    loads = dict.fromkeys(("x", "y"), 0)
    for view in ws.store.assignments("active-001"):
        loads[view.assignment.annotator_id] += 1
    assert said.loads == loads


def test_a_dry_run_says_that_a_model_would_be_trained_first(ws):
    ws.store.put_model_version(replace(ws.store.active_model(), preferences=15))
    assert (
        "a model of 20 labelled pairs would be trained first: rm-0001 was trained on 15"
        in run_round(ws, dry_run=True).waiting_for
    )


def test_the_dry_run_is_a_table_for_people(ws):
    shown = CliRunner().invoke(app, ["round", "--dry-run", "-c", str(ws.root.parent / "robopref.toml")])
    assert shown.exit_code == 0, shown.output
    for words in ("P(tie)", "bits", "v_optimal", "uniform", "Tasks per annotator", "Would ask 4 pairs"):
        assert words in shown.output


def test_the_uniform_pairs_of_a_round_become_the_audit_of_the_next_model(ws):
    result = run_round(ws)
    assert result.model.metrics["audit"]["pairs"] == 0
    uniform = [pair for pair in ws.store.pairs("active-001") if pair.strategy == "uniform"]
    asked = {view.assignment.pair_id for view in ws.store.assignments("active-001")}
    assert {pair.pair_id for pair in uniform} < asked
    ws.store.put_judgments(
        Judgment(view.assignment.assignment_id, view.assignment.annotator_id, view.pair.pair_id, "A", 3, 9000)
        for view in ws.store.assignments("active-001")
    )
    before = ws.store.preferences()
    added = [
        replace(
            before[0],
            pair_id=p.pair_id,
            preference=1.0,
            trajectory_a_id=p.trajectory_a_id,
            trajectory_b_id=p.trajectory_b_id,
        )
        for p in ws.store.pairs("active-001")
    ]
    put_preferences(ws, [*before, *added])
    newest = stages.train(ws)
    assert newest.metrics["audit"]["pairs"] == len(uniform) == 1
