"""People come and go: nobody waits for whoever is away, others get what they left open, and who decided it is kept."""

from collections import Counter
from dataclasses import replace

import pytest
from studio_maker import answer, exactly_one_task_each, make_workspace, plan, sign_in

from importer.pairs import batches
from importer.pairs.annotators import add_annotators
from importer.pairs.leave import add, leave, standings
from importer.studio.client import connect
from importer.studio.hand_over import hand_over
from importer.studio.owners import closed_projects, reopen_projects
from importer.studio.push import push
from labeling_config.contract import result_of
from preference.errors import UserError
from preference.records import Assignment, Batch, Certification, Judgment, Pair, Trajectory
from preference.workspace import Workspace
from qc_reports.certification import revoke

PEOPLE = ("ann", "bob", "carmen")
TOML = """
[annotators]
expert = "chief@example.org"
people = ["ann@example.org", "bob@example.org", "carmen@example.org"]
[pairs]
batch = 30
overlap = 2
duplicates = 0.1
duplicate_distance = 3
"""
MARIA = {"by": "maria", "why": "left"}


def certified(ws):
    first = Batch("calibration-1", "calibration", created_at=f"2025 {ws.root.name}")  # what marks a database as its own
    ws.store.put_pairs(first, [], [])
    for name in PEOPLE:
        ws.store.put_certification(Certification(name, "calibration-1", 1, 0.9, 0.8, 1.0, True, 40))


@pytest.fixture
def ws(tmp_path):
    """A batch of which ann has answered every second pair; nothing is in Label Studio."""
    (tmp_path / "robopref.toml").write_text(TOML)
    made = Workspace.open(tmp_path / "robopref.toml")
    made.store.put_trajectories(
        Trajectory(f"t{i:02d}", "d", i, "expert", "push", quality=i / 40, quartile=1 + i // 10, clip="x.mp4")
        for i in range(40)
    )
    add_annotators(made)
    certified(made)
    batches.next_batch(made)
    mine = [v.assignment for v in made.store.assignments(calibration=False) if v.assignment.annotator_id == "ann"]
    made.store.put_judgments(
        Judgment(a.assignment_id, "ann", a.pair_id, "A", 3, 9000)
        for a in mine[::2] if a.duplicate_of is None
    )  # fmt: skip
    yield made
    made.store.close()


def asked(ws):
    """Pair → who is asked, second showings aside."""
    found = {}
    for view in ws.store.assignments(calibration=False):
        if view.assignment.duplicate_of is None:
            found.setdefault(view.assignment.pair_id, []).append(view.assignment.annotator_id)
    return found


def test_open_pairs_go_to_certified_people_who_have_not_seen_them(ws):
    before, done = asked(ws), ws.store.answered()
    leave(ws, "ann", "Paused", **MARIA)
    result = hand_over(ws)
    assert result.moved > 0
    assert all(len(set(names)) == len(names) == 2 for names in asked(ws).values())
    assert set(asked(ws)) == set(before)
    left = [v.assignment for v in ws.store.assignments(calibration=False) if v.assignment.annotator_id == "ann"]
    assert {a.assignment_id for a in left} >= done
    assert {a.assignment_id for a in left} - done <= {a.assignment_id for a in left if a.duplicate_of in done}
    assert hand_over(ws).moved == 0
    positions = Counter((v.assignment.annotator_id, v.assignment.position) for v in ws.store.assignments())
    assert max(positions.values()) == 1


def test_no_round_waits_for_who_is_away_even_before_anything_is_handed_over(ws):
    everybody = sum(ws.store.open_by_batch().values())
    for name in PEOPLE:
        leave(ws, name, "Removed", **MARIA)
    assert (everybody > 0, ws.store.open_by_batch()) == (True, {})
    assert ws.store.certified() == []


def test_a_certificate_taken_back_frees_the_open_pairs_too(ws):
    revoke(ws, "ann", by="maria", why="copied")
    assert hand_over(ws).moved > 0
    ws.store.put_annotators([replace(a, active=False) for a in ws.store.annotators() if a.annotator_id == "bob"])
    hand_over(ws)  # carmen has seen some of bob's, which nobody gets
    done = ws.store.answered()
    still = {v.assignment.annotator_id for v in ws.store.assignments(calibration=False)
             if v.assignment.assignment_id not in done and v.assignment.duplicate_of not in done}  # fmt: skip
    assert still == {"carmen"}


def test_who_is_away_stays_away_whatever_the_file_says_and_comes_back_by_add(ws):
    leave(ws, "ann", "Paused", **MARIA)
    people = {a.annotator_id: a for a in add_annotators(ws)}
    assert (people["ann"].active, people["ann"].away.startswith("Paused by maria")) == (False, True)
    assert add(ws, "ann", by="maria", why="back").active
    assert {a.annotator_id: a.active for a in add_annotators(ws)}["ann"]
    add(ws, "Dan@example.org", by="maria", why="new")
    assert {a.annotator_id: a.active for a in add_annotators(ws)}["dan"], "the file does not name dan"
    states = {standing.annotator_id: standing for standing in standings(ws)}
    assert states["dan"].why.startswith("Added by maria") and not states["dan"].certified
    assert states["ann"].answered > 0


@pytest.mark.parametrize(
    ("do", "said"),
    [
        (lambda ws: leave(ws, "zoe", "Paused", **MARIA), "no annotator 'zoe'"),
        (lambda ws: leave(ws, "chief", "Paused", **MARIA), "is the expert"),
        (lambda ws: leave(ws, "ann", "Paused", by="maria", why=" "), "recorded"),
        (lambda ws: add(ws, "ann@elsewhere.org", **MARIA), "belongs to ann@example.org"),
        (lambda ws: add(ws, "nobody", **MARIA), "not an e-mail address"),
    ],
)
def test_mistakes_are_one_sentence(ws, do, said):
    with pytest.raises(UserError, match=said):
        do(ws)


def test_who_left_loses_all_projects_a_pause_none_and_a_revoked_certificate_production(ws):
    ws.store.put_pairs(
        Batch("calibration-1", "calibration"),
        [Pair("c", "t00", "t01", "push", "same", "calibration", "calibration-1")],
        [Assignment(f"c-{name}", "c", name, "calibration-1", 0, "A", project_id=n, task_id=900 + n)
         for n, name in enumerate(PEOPLE)],
    )  # fmt: skip
    first = {v.assignment.annotator_id: v.assignment.assignment_id for v in ws.store.assignments(calibration=False)}
    ws.store.set_tasks((first[name], 10 + n, 100 + n) for n, name in enumerate(PEOPLE))
    leave(ws, "ann", "Removed", **MARIA)
    leave(ws, "bob", "Paused", **MARIA)
    revoke(ws, "carmen", by="maria", why="copied")
    assert closed_projects(ws) == {0, 10, 12}
    ws.store.put_annotators([replace(a, active=False) for a in ws.store.annotators() if a.annotator_id == "carmen"])
    assert closed_projects(ws) == {0, 10, 2, 12}, "robopref.toml no longer names her"


def test_in_label_studio_who_was_removed_changes_no_answer_until_they_are_back(label_studio):
    ws = make_workspace(label_studio, "removed", simulated=PEOPLE)
    certified(ws)
    for name in ("ann", "bob"):
        plan(ws, f"production-{name}", name, 2)
    push(ws)
    own = {v.assignment.annotator_id: v.assignment for v in ws.store.assignments(calibration=False)}
    session = {name: sign_in(ws, name) for name in own}
    given = {name: answer(ws, session[name], own[name].task_id) for name in own}

    def change(name):
        address = f"{label_studio.url}/api/annotations/{given[name]}/"
        return session[name].patch(address, json={"result": result_of("right", 2), "lead_time": 9.0}).status_code

    leave(ws, "ann", "Removed", **MARIA)
    leave(ws, "bob", "Paused", **MARIA)
    assert (change("ann"), change("bob")) == (200, 200)
    hand_over(ws)
    assert change("bob") == 200
    assert change("ann") in (403, 404)
    assert session["ann"].get(f"{label_studio.url}/api/projects/").json()["results"] == []
    push(ws)
    assert change("ann") in (403, 404)
    assert [p.project_id for p in connect(ws).projects() if "former annotator: ann.removed@" in p.description] == [
        own["ann"].project_id
    ]
    add(ws, "ann", by="maria", why="back")
    reopen_projects(ws, "ann")
    assert change("ann") == 200
    revoke(ws, "ann", by="maria", why="copied")
    hand_over(ws)
    assert change("ann") in (403, 404)
    certified(ws)
    plan(ws, "production-003", "ann", 1, tag="more")
    push(ws)
    assert change("ann") == 200, "certified again"
    ws.store.close()


def test_in_label_studio_tasks_move_and_answers_stay(label_studio):
    ws = make_workspace(label_studio, "leaving", simulated=PEOPLE)
    certified(ws)
    plan(ws, "production-001", "ann", 4)
    push(ws)
    ann = sign_in(ws, "ann")
    mine = [view.assignment for view in ws.store.assignments(calibration=False)]
    answered = [answer(ws, ann, mine[n].task_id) for n in (0, 1)]  # not pulled yet
    leave(ws, "ann", "Removed", **MARIA)
    result = hand_over(ws)
    assert (result.moved, result.dropped) == (2, 1)
    assert sorted(j.annotation_id for j in ws.store.judgments()) == sorted(answered)
    push(ws)
    assert exactly_one_task_each(ws)
    assert sum(len(ids) for ids in connect(ws).tasks(mine[0].project_id).values()) == 2
    assert hand_over(ws).moved == 0
    ws.store.close()
