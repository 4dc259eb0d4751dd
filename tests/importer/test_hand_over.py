"""Nobody waits: open pairs of people who do not come go to others, and long queues are shared with who runs out."""

from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest

from importer.pairs import batches
from importer.pairs.annotators import add_annotators
from importer.pairs.pace import LOW, Loads, loads
from importer.studio import hand_over as module
from importer.studio.hand_over import hand_over
from preference.records import Batch, Certification, Judgment, Trajectory
from preference.workspace import Workspace

PEOPLE = ("ann", "bob", "carmen", "dora")
NOW = datetime.now(UTC)
TOML = f"""
[annotators]
expert = "chief@example.org"
people = {[f"{name}@example.org" for name in PEOPLE]}
[pairs]
batch = 40
overlap = 2
duplicates = 0.1
duplicate_distance = 3
"""


@pytest.fixture
def ws(tmp_path):
    """A batch that nobody has begun."""
    (tmp_path / "robopref.toml").write_text(TOML)
    made = Workspace.open(tmp_path / "robopref.toml")
    made.store.put_trajectories(
        Trajectory(f"t{i:02d}", "d", i, "expert", "push", quality=i / 40, quartile=1 + i // 10, clip="x.mp4")
        for i in range(40)
    )
    add_annotators(made)
    made.store.put_pairs(Batch("calibration-1", "calibration", created_at="2025"), [], [])
    for name in PEOPLE:
        made.store.put_certification(Certification(name, "calibration-1", 1, 0.9, 0.8, 1.0, True, 40))
    batches.next_batch(made)
    yield made
    made.store.close()


def queue(ws, name):
    done = ws.store.answered()
    return [v.assignment for v in ws.store.assignments(calibration=False)
            if v.assignment.annotator_id == name and v.assignment.assignment_id not in done]  # fmt: skip


def answer(ws, name, count, at=NOW):
    for a in sorted(queue(ws, name), key=lambda a: a.position)[:count]:
        ws.store.put_judgments(
            [Judgment(a.assignment_id, name, a.pair_id, "A", 3, 9000, created_at=at.isoformat(), task_id=a.task_id)]
        )


def asked_twice(ws):
    firsts = Counter(v.assignment.pair_id for v in ws.store.assignments(calibration=False)
                     if v.assignment.duplicate_of is None)  # fmt: skip
    return set(firsts.values()) == {2}


def test_what_somebody_left_for_a_day_goes_to_those_who_answer(ws):
    answer(ws, "ann", 4, NOW + timedelta(hours=29))
    answer(ws, "bob", 4, NOW + timedelta(hours=29))
    answer(ws, "carmen", 4, NOW)
    assert hand_over(ws, now=NOW + timedelta(hours=23)).moved == 0
    kept = {a.assignment_id for a in queue(ws, "carmen")}
    result = hand_over(ws, now=NOW + timedelta(hours=30))
    assert result.moved > 0 and asked_twice(ws)
    assert {a.assignment_id for a in queue(ws, "dora")} == {
        a.assignment_id for a in queue(ws, "dora") if {"ann", "bob"} <= seen(ws, a.pair_id) - {"dora"} or a.duplicate_of
    }, "only what both others have seen is still hers"
    assert {a.assignment_id for a in queue(ws, "carmen")} < kept
    assert hand_over(ws, now=NOW + timedelta(hours=31)).moved == 0, "what just went to them is not theirs for a day"


def seen(ws, pair_id):
    return {v.assignment.annotator_id for v in ws.store.assignments() if v.assignment.pair_id == pair_id}


def test_over_a_weekend_nothing_moves_and_zero_hours_switch_it_off(ws):
    answer(ws, "ann", 4)
    assert hand_over(ws, now=NOW + timedelta(hours=60)).moved == 0
    ws.config.annotators.hand_over_after_h = 0
    answer(ws, "bob", 4, NOW + timedelta(hours=60))
    assert hand_over(ws, now=NOW + timedelta(hours=60)).moved == 0


def test_whoever_runs_out_gets_pairs_from_the_ends_of_longer_queues(ws):
    answer(ws, "ann", len(queue(ws, "ann")) - LOW)
    answer(ws, "bob", 4)
    first = {name: sorted(queue(ws, name), key=lambda a: a.position)[:2] for name in PEOPLE}
    before = sum(len(queue(ws, name)) for name in PEOPLE)
    assert loads(ws, NOW).low == ["ann"]
    result = hand_over(ws, now=NOW)
    assert result.moved >= LOW and result.dropped == 0
    assert len(queue(ws, "ann")) == LOW + result.moved
    assert asked_twice(ws) and sum(len(queue(ws, name)) for name in PEOPLE) == before
    for name in PEOPLE:
        assert all(a in queue(ws, name) for a in first[name]), "the pair on the screen and the next stay"
    assert hand_over(ws, now=NOW).moved == 0


def test_fair_queues_are_in_proportion_to_the_pace_and_who_is_away_keeps_two():
    found = Loads({"fast": 1, "slow": 21, "away": 18}, {"fast": 30.0, "slow": 10.0})
    assert found.low == ["fast"]
    assert found.shift() == ({"slow": 12, "away": 16}, {"fast": 27})
    assert Loads({"a": 1, "b": 40, "away": 0}, {"a": 1.0, "b": 1.0}).shift() == ({"b": 21}, {"a": 18, "away": 2})
    assert Loads({"a": 1, "b": 4}, {}).shift() == ({}, {}), "nobody is at work"


class Studio:
    def __init__(self):
        self.deleted, self.down = [], False

    def delete_tasks(self, project_id, tasks):
        if self.down:
            raise KeyboardInterrupt
        self.deleted += [(project_id, task) for task in tasks]


def test_a_kill_between_the_change_and_label_studio_leaves_no_task_behind(ws, monkeypatch):
    studio = Studio()
    monkeypatch.setattr(module, "connect", lambda ws: studio)
    monkeypatch.setattr(module, "pull_tasks", lambda ws, studio, tasks: None)
    ws.store.set_tasks((a.assignment_id, 7, 100 * i + j) for i, name in enumerate(PEOPLE, 1)
                       for j, a in enumerate(queue(ws, name)))  # fmt: skip
    answer(ws, "ann", len(queue(ws, "ann")) - LOW)
    answer(ws, "bob", 4)
    studio.down = True
    with pytest.raises(KeyboardInterrupt):
        hand_over(ws, now=NOW)
    obsolete = ws.store.obsolete_tasks()[7]
    assert obsolete and not set(obsolete) & {task for _, _, _, task in ws.store.tasks()}
    studio.down = False
    hand_over(ws, now=NOW)
    assert studio.deleted == [(7, task) for task in obsolete] and ws.store.obsolete_tasks() == {}
