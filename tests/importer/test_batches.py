"""The planning stages do what is missing and nothing twice, and refuse what the protocol forbids."""

from collections import Counter
from dataclasses import replace
from itertools import pairwise

import pytest
from plan_maker import GOOD, SETTINGS, certify, open_workspace, trajectories

from importer.calibration import build as calibrate
from importer.calibration.lessons import assign_refresher
from importer.pairs import batches
from importer.pairs.annotators import add_annotators
from importer.pairs.sampling import asked
from importer.pairs.strata import StratumError
from importer.pairs.third_opinions import ask_third
from importer.studio.queues import all_queues, task_of_view
from labeling_config.contract import place_of
from preference.errors import ConfigError, NotReady, UserError
from preference.records import Certification, Judgment
from preference.store import Store
from qc_reports.certification import certify as compare


@pytest.fixture(autouse=True)
def database(database_url, monkeypatch):
    """Every test here on SQLite and on PostgreSQL; it is named as in a real installation, by the environment."""
    monkeypatch.setenv("ROBOPREF_DATABASE_URL", database_url)


@pytest.fixture
def ws(tmp_path):
    workspace = open_workspace(tmp_path)
    workspace.store.put_trajectories(trajectories())
    add_annotators(workspace)
    yield workspace
    workspace.store.close()


def answer(ws, assignments, preference="A"):
    ws.store.put_judgments(
        Judgment(a.assignment_id, a.annotator_id, a.pair_id, preference, 3, 6000) for a in assignments
    )


def snapshot(ws):
    """Everything that was planned, but for the time of day."""
    return (
        [replace(batch, created_at="") for batch in ws.store.batches()],
        ws.store.pairs(),
        [view.assignment for view in ws.store.assignments()],
    )


# -- annotators --------------------------------------------------------------------------------------------------------


def test_annotators_come_from_the_settings_and_keep_their_ids(ws):
    people = {a.annotator_id: a for a in ws.store.annotators()}
    assert sorted(people) == ["alice", "bo", "chidi", "dana", "hasty", "rosa"]
    assert [a.annotator_id for a in people.values() if a.role == "expert"] == ["rosa"]
    assert people["hasty"].email == "hasty@annotators.example"
    assert people["hasty"].teacher == "careless"
    ws.store.put_annotators([replace(people["bo"], studio_user_id=12)])
    assert {a.annotator_id: a.studio_user_id for a in add_annotators(ws)}["bo"] == 12


def test_who_leaves_the_settings_becomes_inactive_and_may_come_back(ws, tmp_path):
    without = open_workspace(tmp_path, SETTINGS.replace('"bo@lab.example", ', ""))
    assert [a.annotator_id for a in add_annotators(without) if not a.active] == ["bo"]
    assert all(a.active for a in add_annotators(ws))


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ('"bo@lab.example"', '"alice@elsewhere.example"', "would both have the id 'alice'"),
        ('id = "hasty"', 'id = "dana"', "would both have the id 'dana'"),
        ('"bo@lab.example"', '"bo at lab"', "not an e-mail address"),
        ('"Rosa@lab.example"', '"rosa"', "neither an e-mail address nor the id of a simulated annotator"),
    ],
)
def test_annotators_who_cannot_be_told_apart_are_refused(tmp_path, before, after, message):
    with pytest.raises(ConfigError, match=message):
        add_annotators(open_workspace(tmp_path, SETTINGS.replace(before, after)))


def test_an_id_is_never_handed_to_another_person(ws, tmp_path):
    with pytest.raises(UserError, match=r"belongs to bo@lab.example.*bo@elsewhere.example"):
        add_annotators(open_workspace(tmp_path, SETTINGS.replace("bo@lab", "bo@elsewhere")))


def test_a_simulated_expert_is_an_expert(tmp_path):
    settings = SETTINGS.replace('"Rosa@lab.example"', '"expert"').replace(
        "simulated = [", 'simulated = [{ id = "expert", teacher = "expert" }, '
    )
    people = {a.annotator_id: a.role for a in add_annotators(open_workspace(tmp_path, settings))}
    assert people["expert"] == "expert"
    assert set(people.values()) == {"expert", "annotator"}


# -- calibration -------------------------------------------------------------------------------------------------------


def test_the_first_set_goes_to_everybody_and_the_second_to_the_expert(ws):
    made = calibrate.build(ws)
    assert [(b.batch_id, b.kind) for b in made] == [("calibration-1", "calibration"), ("calibration-2", "calibration")]
    first, second = (ws.store.pairs(b.batch_id) for b in made)
    assert len(first) == len(second) == 30, "ten are kept for those whom twenty do not decide"
    assert not asked(first) & asked(second)
    loads = Counter((v.assignment.batch_id, v.assignment.annotator_id) for v in ws.store.assignments())
    test = {("calibration-1", name): 20 for name in (*GOOD, "hasty")}
    assert loads == test | {("calibration-1", "rosa"): 30, ("calibration-2", "rosa"): 30}


def test_calibration_says_which_stage_before_it_is_missing(tmp_path):
    empty = open_workspace(tmp_path)
    add_annotators(empty)
    missing = [("There are no trajectories yet", "robopref pool", [])]
    pool = trajectories(6)
    missing += [
        (f"None of the {len(pool)} trajectories is ranked", "task_type", [replace(t, quartile=0) for t in pool])
    ]
    missing += [
        (
            f"None of the {len(pool)} ranked trajectories has a clip",
            "robopref clips",
            [replace(t, clip="") for t in pool],
        )
    ]
    for said, fix, found in missing:
        empty.store.put_trajectories(found)
        with pytest.raises(NotReady, match=said) as caught:
            calibrate.build(empty)
        assert fix in caught.value.fix
    empty.store.close()


def test_calibration_again_changes_nothing_and_a_newcomer_gets_the_first_set(ws, tmp_path):
    calibrate.build(ws)
    before = snapshot(ws)
    calibrate.build(ws)
    assert snapshot(ws) == before
    more = open_workspace(tmp_path, SETTINGS.replace('"bo@lab.example"', '"bo@lab.example", "eve@lab.example"'))
    add_annotators(more)
    calibrate.build(more)
    assert snapshot(more)[1] == before[1]
    loads = Counter((v.assignment.batch_id, v.assignment.annotator_id) for v in more.store.assignments())
    assert loads["calibration-1", "eve"] == 20
    assert loads["calibration-1", "alice"] == 20


def test_who_fails_gets_the_second_set_once_and_no_third(ws):
    certify(ws, ["alice", "bo"])
    certify(ws, ["hasty"], passed=False)
    assert {a.annotator_id for a in calibrate.retest(ws, ["hasty", "alice"])} == {"hasty"}
    assert calibrate.retest(ws, ["hasty"]) == []
    certify(ws, ["hasty"], passed=False, batch_id="calibration-2")
    assert calibrate.retest(ws, ["hasty"]) == []
    assert len([v for v in ws.store.assignments("calibration-2") if v.assignment.annotator_id == "hasty"]) == 20


def test_who_is_undecided_gets_the_rest_of_the_set_and_then_the_second(ws):
    calibrate.build(ws)
    record = Certification("bo", "calibration-1", 1, 0.7, 0.5, 0.9, False, 20, undecided=True)
    ws.store.put_certification(record)
    more = calibrate.retest(ws, ["bo"])
    assert {(a.batch_id, a.annotator_id) for a in more} == {("calibration-1", "bo")}
    own = [v.assignment for v in ws.store.assignments("calibration-1") if v.assignment.annotator_id == "bo"]
    assert len(more) == 10 and len({a.pair_id for a in own}) == 30 and own[20:] == more
    assert [a.part for a in own] == [0] * 20 + [1] * 10, "the first part stays finished"
    assert calibrate.retest(ws, ["bo"]) == [], "the ten come first"
    ws.store.put_certification(replace(record, pairs=30))
    second = calibrate.retest(ws, ["bo"])
    assert len(second) == 20 and {a.batch_id for a in second} == {"calibration-2"}


def test_a_retest_of_nobody_or_of_somebody_untested_is_refused(ws):
    calibrate.build(ws)
    with pytest.raises(UserError, match="'ghost'"):
        calibrate.retest(ws, ["ghost"])
    with pytest.raises(NotReady, match="dana has no result"):
        calibrate.retest(ws, ["dana"])


def test_without_annotators_it_says_that_they_come_first(tmp_path):
    empty = open_workspace(tmp_path)
    with pytest.raises(NotReady, match="expert and annotators"):
        calibrate.build(empty)


def test_people_wait_for_the_experts_training_answers_and_then_get_them_with_the_test(tmp_path):
    ws = open_workspace(tmp_path, SETTINGS.replace("training_pairs = 0", "training_pairs = 6"))
    ws.store.put_trajectories(trajectories())
    add_annotators(ws)
    made = calibrate.build(ws)
    assert [batch.batch_id for batch in made] == ["training", "calibration-1", "calibration-2"]
    assert {view.assignment.annotator_id for view in ws.store.assignments()} == {"rosa"}
    assert calibrate.waiting_for_expert(ws) == 6

    views = [view.assignment for view in ws.store.assignments("training")]
    ws.store.put_judgments(
        Judgment(a.assignment_id, a.annotator_id, a.pair_id, "B", 4, 5000, "It let go.") for a in views
    )
    calibrate.build(ws)
    calibrate.build(ws)
    tasks = Counter((v.assignment.annotator_id, v.pair.batch_id) for v in ws.store.assignments())
    assert tasks["alice", "training"] == 6 and tasks["alice", "calibration-1"] == 20
    assert ("alice", "calibration-2") not in tasks and tasks["rosa", "calibration-2"] == 30
    assert {(p.expected, p.reasoning) for p in ws.store.pairs("training")} == {("B", "It let go.")}
    assert {p.expected for p in ws.store.pairs("calibration-1")} == {None}
    pairs = [{pair.pair_id for pair in ws.store.pairs(name)} for name in ("training", "calibration-1", "calibration-2")]
    assert not pairs[0] & pairs[1] and not pairs[0] & pairs[2] and not pairs[1] & pairs[2]
    sides = {}
    for view in ws.store.assignments("training"):
        sides.setdefault(view.pair.pair_id, set()).add(view.assignment.left)
    assert all(len(found) == 1 for found in sides.values()), "the expert's words may speak of left and right"


def test_training_certifies_nobody(ws):
    with pytest.raises(NotReady, match="no calibration set 'training'"):
        compare(ws, "training")


# -- production --------------------------------------------------------------------------------------------------------


def test_a_production_batch_keeps_the_protocol_and_goes_to_the_certified(ws):
    certify(ws)
    batch = batches.next_batch(ws)
    pairs = ws.store.pairs(batch.batch_id)
    assert (batch.batch_id, batch.kind, batch.status) == ("production-001", "production", "open")
    assert Counter(pair.stratum for pair in pairs) == {"adjacent": 24, "same": 18, "distant": 18}
    assert all((pair.expected is not None) == (pair.kind == "gold") == (pair.stratum == "distant") for pair in pairs)
    views = ws.store.assignments(batch.batch_id)
    assert {v.assignment.annotator_id for v in views} == set(GOOD)
    assert Counter(v.assignment.pair_id for v in views if not v.assignment.duplicate_of) == dict.fromkeys(
        (pair.pair_id for pair in pairs), 2
    )
    assert sum(v.assignment.duplicate_of is not None for v in views) == 8
    assert any("4 annotators" in reason for reason in batch.notes)


def test_the_first_batch_ends_where_rounds_can_start_and_later_ones_have_their_own_size(ws, tmp_path):
    certify(ws)
    early = open_workspace(tmp_path, SETTINGS.replace("bootstrap = 60", "bootstrap = 30"))
    assert len(batches.draft(early).pairs) == 30 and len(batches.draft(early, pairs=50).pairs) == 50
    first = early.store.pairs(batches.next_batch(early).batch_id)
    assert Counter(pair.stratum for pair in first) == {"adjacent": 12, "same": 9, "distant": 9}
    early.store.set_batch_status("production-001", "accepted", [])
    assert len(early.store.pairs(batches.next_batch(early).batch_id)) == 60


def test_the_first_batch_is_never_too_small_for_a_model(ws, tmp_path):
    certify(ws)
    assert batches.usual_size(open_workspace(tmp_path, SETTINGS.replace("bootstrap = 60", "bootstrap = 1"))) == 25
    few = SETTINGS.replace("bootstrap = 60", "bootstrap = 1") + "[reward]\nmin_preferences = 40\n"
    assert batches.usual_size(open_workspace(tmp_path, few)) == 50


def test_a_bootstrap_of_more_than_a_batch_changes_no_batch(ws, tmp_path):
    certify(ws)
    protocol = open_workspace(tmp_path, SETTINGS.replace("bootstrap = 60", "bootstrap = 500"))
    assert len(batches.draft(protocol).pairs) == 60


def test_a_batch_opens_only_when_the_one_before_is_accepted_or_with_force(ws):
    certify(ws)
    batches.next_batch(ws)
    with pytest.raises(NotReady, match="production-001 is open"):
        batches.next_batch(ws)
    ws.store.set_batch_status("production-001", "held", ["Alpha is 0.31."])
    with pytest.raises(NotReady, match=r"production-001 is held, not accepted\. Alpha is 0\.31\."):
        batches.next_batch(ws)
    forced = batches.next_batch(ws, force=True)
    assert forced.batch_id == "production-002"
    assert "--force" in forced.notes[0]
    ws.store.set_batch_status("production-002", "held", ["Alpha is 0.2."])
    (kept,) = [b for b in ws.store.batches() if b.batch_id == "production-002"]
    assert "--force" in kept.notes[0], "QC forgot that it was forced"
    ws.store.set_batch_status("production-002", "accepted", [])
    assert batches.next_batch(ws).batch_id == "production-003"


def test_no_pair_is_ever_asked_in_two_batches(ws):
    certify(ws)
    for _ in range(4):
        batches.next_batch(ws, force=True)
    assert len(asked(ws.store.pairs())) == len(ws.store.pairs()) == 2 * 30 + 4 * 60


def test_trajectories_without_a_clip_are_not_asked(ws):
    hidden = [replace(t, clip="") for t in ws.store.trajectories()[::3]]
    ws.store.put_trajectories(hidden)
    certify(ws)
    batches.next_batch(ws)
    used = {i for key in asked(ws.store.pairs()) for i in key}
    assert used.isdisjoint(t.trajectory_id for t in hidden)


def test_a_draft_tells_what_a_batch_would_ask_and_writes_nothing(ws):
    before = snapshot(ws)
    draft = batches.draft(ws)
    assert snapshot(ws) == before
    assert "all 5 annotators; 0 are certified" in draft.batch.notes[0]
    certify(ws)
    before = snapshot(ws)
    draft = batches.draft(ws)
    assert snapshot(ws) == before
    assert set(draft.plan.loads) == set(GOOD) and draft.plan.pairs == 60
    made = batches.next_batch(ws)
    assert {p.pair_id for p in ws.store.pairs(made.batch_id)} == {p.pair_id for p in draft.pairs}


def test_a_draft_says_that_the_batch_before_is_not_accepted_and_how_many_batches_it_takes_to_share_enough(ws):
    certify(ws)
    batches.next_batch(ws)
    notes = batches.draft(ws).batch.notes
    assert "production-001 is open" in notes[0]
    assert any("share 10 pairs" in note and "10 batches like this one bring it to 100" in note for note in notes)


def test_one_annotator_for_two_per_pair_is_one_clear_message(tmp_path):
    alone = open_workspace(tmp_path, '[annotators]\nexpert = "rosa@lab.example"\npeople = ["bo@lab.example"]')
    alone.store.put_trajectories(trajectories())
    with pytest.raises(UserError, match="Each pair goes to 2 annotators, but only 1"):
        batches.draft(alone)
    assert alone.store.annotators() == []
    add_annotators(alone)
    certify(alone, ["bo"])
    with pytest.raises(NotReady, match=r"1 of 1 annotators is certified, and each pair goes to 2\."):
        batches.next_batch(alone)


def test_a_filled_batch_says_so_in_its_notes(ws):
    certify(ws)
    batch = batches.next_batch(ws, pairs=3000, fill=True)
    assert any("stand in for other strata" in note for note in batch.notes)


def test_too_few_certified_annotators_are_named_with_what_they_lack(ws):
    certify(ws, ["alice"])
    certify(ws, ["hasty"], passed=False)
    with pytest.raises(NotReady, match=r"1 of 5 annotators is certified.*bo \(not tested\).*hasty \(kappa 0.30\)"):
        batches.next_batch(ws, force=True)


def test_an_exhausted_pool_writes_nothing(ws):
    certify(ws)
    before = snapshot(ws)
    with pytest.raises(StratumError, match="are needed"):
        batches.next_batch(ws, pairs=4000)
    assert snapshot(ws) == before


# -- active batches and third opinions ---------------------------------------------------------------------------------


def choose(ws, count=10):
    """Pairs of neighbours that were not asked, as a ranking would return them."""
    by_task = {}
    for t in ws.store.trajectories():
        by_task.setdefault(t.task_type, []).append(t.trajectory_id)
    seen = asked(ws.store.pairs())
    chosen = [(a, b) for ids in by_task.values() for a, b in pairwise(ids) if frozenset((a, b)) not in seen]
    return chosen[:count]


def test_an_active_batch_asks_what_was_chosen_and_nothing_that_was_asked(ws):
    certify(ws)
    chosen = choose(ws)
    batch = batches.active_batch(ws, chosen, ["bald"] * 9 + ["uniform"])
    assert (batch.batch_id, batch.kind) == ("active-001", "active")
    assert asked(ws.store.pairs("active-001")) == {frozenset(ids) for ids in chosen}
    assert Counter(pair.strategy for pair in ws.store.pairs("active-001")) == {"bald": 9, "uniform": 1}
    with pytest.raises(NotReady, match="active-001 is open"):
        batches.active_batch(ws, choose(ws, 3), ["bald"] * 3)
    again = batches.active_batch(ws, [*chosen, *choose(ws, 3)], ["bald"] * 13, force=True)
    assert again.notes[0] == "Opened with --force: active-001 was open, not accepted."
    assert (again.batch_id, len(ws.store.pairs("active-002"))) == ("active-002", 3)
    with pytest.raises(NotReady, match="All 10 chosen pairs have been asked before"):
        batches.active_batch(ws, chosen, ["bald"] * 10, force=True)


def test_a_third_is_asked_once_in_the_pairs_own_batch(ws):
    certify(ws)
    batches.next_batch(ws)
    views = ws.store.assignments("production-001")
    contested = [pair.pair_id for pair in ws.store.pairs("production-001")[:12]]
    assert ask_third(ws, contested) == []  # nobody has answered yet
    answer(ws, [v.assignment for v in views])
    made = ask_third(ws, contested)
    had = {(v.assignment.pair_id, v.assignment.annotator_id) for v in views}
    last = Counter(v.assignment.annotator_id for v in views)
    assert sorted(a.pair_id for a in made) == sorted(contested)
    assert not had & {(a.pair_id, a.annotator_id) for a in made}
    assert {a.batch_id for a in made} == {"production-001"}
    assert all(a.position >= last[a.annotator_id] for a in made)
    loads = Counter(a.annotator_id for a in made)
    assert max(loads.values()) - min(loads.values()) <= 1
    assert ask_third(ws, contested) == []
    answer(ws, made, "equal")
    assert ask_third(ws, contested) == []


def test_thirds_of_several_batches_and_calls_do_not_collide(ws):
    certify(ws)
    for _ in range(2):
        batches.next_batch(ws, force=True)
    answer(ws, [v.assignment for v in ws.store.assignments() if v.pair.kind != "calibration"])
    ids = [pair.pair_id for pair in ws.store.pairs() if pair.kind != "calibration"]
    for start in range(0, 120, 24):
        assert len(ask_third(ws, ids[start : start + 24])) == 24
    assert len({v.assignment.assignment_id for v in ws.store.assignments()}) == len(ws.store.assignments())


# -- killed and run again ----------------------------------------------------------------------------------------------


class Killed(BaseException):
    """What a kill is to the code that it hits."""


@pytest.mark.parametrize("survives", range(5))
def test_a_stage_that_is_killed_at_any_write_ends_where_an_undisturbed_one_does(ws, tmp_path, monkeypatch, survives):
    other = tmp_path / "other"
    other.mkdir()
    monkeypatch.delenv("ROBOPREF_DATABASE_URL")
    calm = open_workspace(other)
    calm.store.put_trajectories(trajectories())
    add_annotators(calm)
    calibrate.build(calm)
    certify(calm)
    batches.next_batch(calm)

    writes, put = iter(range(100)), Store.put_pairs

    def dying(self, *args):
        if next(writes) == survives:
            raise Killed
        put(self, *args)

    monkeypatch.setattr(Store, "put_pairs", dying)
    for stage in (calibrate.build, batches.next_batch):
        try:
            stage(ws)
        except Killed:
            stage(ws)
        if stage is calibrate.build:
            certify(ws)
    assert snapshot(ws) == snapshot(calm)


def test_who_is_refused_gets_the_missed_pairs_with_the_experts_words_before_the_second_set(ws):
    calibrate.build(ws)
    expert = [view for view in ws.store.assignments("calibration-1") if view.assignment.annotator_id == "rosa"]
    ws.store.put_judgments(
        Judgment(v.assignment.assignment_id, "rosa", v.pair.pair_id, "A", 3, 6000, "It let go.") for v in expert
    )
    own = [view.assignment for view in ws.store.assignments("calibration-1") if view.assignment.annotator_id == "hasty"]
    wrong = {a.pair_id for a in own[:8]}
    answer(ws, own[:8], "B")
    answer(ws, own[8:], "A")
    (record,) = compare(ws)
    assert set(record.review) == wrong and not record.certified
    ws.store.put_certification(replace(record, undecided=False))
    made = calibrate.retest(ws, ["hasty"])
    lessons = [a for a in made if a.batch_id == "training-2"]
    assert Counter(a.batch_id for a in made) == {"training-2": len(lessons), "calibration-2": 20}
    assert wrong <= {a.pair_id for a in lessons} and len(wrong) < len(lessons) <= 16, "with others of their kind"
    dimension = {pair.pair_id: pair.dimension for pair in ws.store.pairs("calibration-1")}
    groups = [dimension[a.pair_id] for a in sorted(lessons, key=lambda a: a.position)]
    assert len([g for g, after in pairwise([*groups, ""]) if g != after]) == len(set(groups)), "grouped by dimension"
    seen, sides = {a.pair_id: a.assignment_id for a in own}, {v.pair.pair_id: v.assignment.left for v in expert}
    assert all((a.duplicate_of, a.left) == (seen.get(a.pair_id), sides[a.pair_id]) for a in lessons)
    assert calibrate.retest(ws, ["hasty"]) == []
    queues = {queue.phase: queue for queue in all_queues(ws) if queue.annotator.annotator_id == "hasty"}
    assert queues["training-2"].title == "Training 2 · hasty" and queues["training-2"].shows_expert
    pool = {t.trajectory_id: replace(t, clip=f"clips/{t.trajectory_id}.mp4") for t in ws.store.trajectories()}
    view = queues["training-2"].views[0]
    view = replace(view, pair=replace(view.pair, dimension="smoothness"))
    shown = task_of_view(view, pool, ws.config, shows_expert=True)
    assert shown["expert_answer"] == f"The expert: {'left' if sides[view.pair.pair_id] == 'A' else 'right'} is better"
    assert shown["expert_reasoning"] == "It let go. (This pair is about smoothness.)"
    second = [view for view in ws.store.assignments("calibration-2") if view.assignment.annotator_id == "rosa"]
    answer(ws, [view.assignment for view in second])
    refused = replace(record, batch_id="calibration-2", attempt=2, pairs=20, undecided=False)
    ws.store.put_certification(replace(refused, review=[second[0].pair.pair_id]))
    assert calibrate.retest(ws, ["hasty"]) == [], "no training that leads to no test"


def test_a_refresher_has_answered_pairs_the_missed_ones_among_them_and_is_opened_once_at_a_time(ws):
    calibrate.build(ws)
    with pytest.raises(NotReady, match="has answered no calibration pair"):
        assign_refresher(ws, "hasty")
    with pytest.raises(UserError, match="no annotator 'nobody'"):
        assign_refresher(ws, "nobody")
    expert = [view for view in ws.store.assignments("calibration-1") if view.assignment.annotator_id == "rosa"]
    answer(ws, [view.assignment for view in expert])
    own = [view.assignment for view in ws.store.assignments("calibration-1") if view.assignment.annotator_id == "hasty"]
    wrong = {a.pair_id for a in own[:5]}
    answer(ws, own[:5], "B")
    answer(ws, own[5:], "A")
    compare(ws)
    made = assign_refresher(ws, "hasty")
    assert {a.batch_id for a in made} == {"training-refresher-1"} and wrong <= {a.pair_id for a in made}
    assert len(made) == min(12, len(own)) and all(a.duplicate_of for a in made)
    assert {a.assignment_id for a in assign_refresher(ws, "hasty")} == {a.assignment_id for a in made}
    (queue,) = [queue for queue in all_queues(ws) if queue.phase == "training-refresher-1"]
    assert queue.title == "Training refresher 1 · hasty" and queue.shows_expert
    assert place_of(queue.phase) < place_of("production")
    answer(ws, made)
    assert {a.batch_id for a in assign_refresher(ws, "hasty")} == {"training-refresher-2"}
