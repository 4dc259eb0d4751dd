"""The database keeps what it is given, refuses what breaks its rules, and is the same on SQLite and PostgreSQL."""

import math
import sqlite3
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import sqlalchemy as sa

from preference.errors import NotReady, StoreError
from preference.records import (
    SETTLED,
    Activity,
    Annotator,
    Assignment,
    Batch,
    Certification,
    Judgment,
    ModelVersion,
    Pair,
    Preference,
    Rejection,
    Resolution,
    Review,
    Trajectory,
)
from preference.store import Store

BATCH = Batch("production-001", "production", created_at="2026-01-01T00:00:00Z")
PAIR = Pair("p1", "t1", "t2", "push", "adjacent", "production", batch_id=BATCH.batch_id)
FIRST = Assignment("x1", "p1", "alice", BATCH.batch_id, 0, "A")
AGAIN = Assignment("x2", "p1", "alice", BATCH.batch_id, 30, "B", duplicate_of="x1")


@pytest.fixture
def store(database_url):
    store = Store.open(database_url)
    store.put_trajectories([Trajectory(name, "d", i, "expert", "push") for i, name in enumerate(("t1", "t2"))])
    store.put_annotators([Annotator("alice", "alice@example.org")])
    store.put_pairs(BATCH, [PAIR], [AGAIN, FIRST])
    yield store
    store.close()


def judgment(**changes):
    return replace(Judgment("x1", "alice", "p1", "A", 4, 5200, annotation_id=7, raw={"id": 7}), **changes)


def test_records_come_back_as_they_went_in(store):
    assert [view.assignment for view in store.assignments()] == [FIRST, AGAIN]
    assert store.assignments()[0].pair == PAIR
    assert store.batches() == [BATCH]
    store.put_judgments([judgment()])
    assert store.judgments() == [judgment()]
    assert store.judgments()[0].raw == {"id": 7}


def test_a_project_draws_its_salt_once(store, database_url, tmp_path):
    with ThreadPoolExecutor(4) as pool:
        drawn = {*pool.map(lambda _: store.salt(), range(8))}
    other, elsewhere = Store.open(database_url), Store.open(f"sqlite:///{tmp_path / 'other.db'}")
    assert drawn == {other.salt()} != {elsewhere.salt()}
    assert next(iter(drawn)).bit_length() > 90
    other.close()
    elsewhere.close()


def test_nan_survives_the_database(store):
    assert math.isnan(store.trajectories()[0].true_return)


def test_writing_twice_changes_nothing(store):
    store.put_pairs(BATCH, [PAIR], [FIRST, AGAIN])
    assert store.put_judgments([judgment()]) == 1
    assert store.put_judgments([judgment()]) == 0
    assert len(store.assignments()) == 2
    assert len(store.judgments()) == 1


def test_an_answer_without_an_assignment_is_refused(store):
    with pytest.raises(StoreError, match="breaks its rules"):
        store.put_judgments([judgment(assignment_id="nobody")])


@pytest.mark.parametrize(
    "wrong", [{"confidence": 6}, {"confidence": 0}, {"preference": "left"}, {"response_time_ms": -1}]
)
def test_the_database_itself_guards_the_answers(store, wrong):
    with pytest.raises(StoreError, match="breaks its rules"):
        store.put_judgments([judgment(**wrong)])
    assert store.judgments() == []


def test_a_failed_batch_leaves_nothing_behind(store):
    other = Batch("production-002", "production")
    broken = replace(PAIR, pair_id="p2", batch_id=other.batch_id, trajectory_b_id="nowhere")
    with pytest.raises(StoreError):
        store.put_pairs(other, [broken], [])
    assert store.batches() == [BATCH]


def test_a_pair_goes_to_an_annotator_once_unless_it_is_a_duplicate(store):
    with pytest.raises(StoreError):
        store.put_pairs(BATCH, [], [Assignment("x3", "p1", "alice", BATCH.batch_id, 31, "A")])


def test_the_newest_annotation_of_an_assignment_wins(store):
    store.put_judgments([judgment()])
    store.put_judgments([judgment(preference="equal", annotation_id=8)])
    assert [(j.preference, j.annotation_id) for j in store.judgments()] == [("equal", 8)]


def test_only_the_latest_attempt_certifies(store):
    store.put_pairs(Batch("calibration-1", "calibration"), [], [])
    store.put_pairs(Batch("calibration-2", "calibration"), [], [])
    failed = Certification("alice", "calibration-1", 1, 0.4, 0.2, 0.6, certified=False, pairs=40)
    store.put_certification(failed)
    assert store.certified() == []
    store.put_certification(replace(failed, batch_id="calibration-2", attempt=2, kappa=0.8, certified=True))
    assert store.certified() == ["alice"]


def test_one_model_is_active(store):
    model = ModelVersion("rm-0001", "models/rm-0001", "2026-01-01", 100, 0.8, 0.7, "resnet18", "none")
    store.put_model_version(model)
    store.put_model_version(replace(model, version="rm-0002", created_at="2026-01-02"))
    assert [(m.version, m.active) for m in store.model_versions()] == [("rm-0001", False), ("rm-0002", True)]
    assert store.active_model().version == "rm-0002"


def test_models_are_in_the_order_of_their_numbers_whatever_the_clock_said(store):
    model = ModelVersion("rm-9999", "m", "2026-03-01", 100, 0.8, 0.7, "resnet18", "none")
    store.put_model_version(model)
    store.put_model_version(replace(model, version="rm-10000", created_at="2026-01-01"))
    assert [m.version for m in store.model_versions()] == ["rm-9999", "rm-10000"]


def test_a_batch_that_is_made_after_the_clock_was_set_back_is_still_the_newest(store):
    store.put_pairs(Batch("active-001", "active", created_at="2025-06-01T00:00:00+00:00"), [], [])
    assert [batch.batch_id for batch in store.batches()] == ["production-001", "active-001"]


def test_reading_does_not_wait_for_a_writer(store, database_url):
    """A webhook's status line, a scrape, a page: while the worker writes."""
    other = Store.open(database_url, patience_s=0.2)
    with store.together():
        store.put_judgments([judgment()])
        assert store.count_judgments() == 1
        assert (other.count_judgments(), other.judgments()) == (0, [])
    assert other.count_judgments() == 1
    other.close()


def test_a_writer_gives_up_after_its_patience(store, database_url):
    other = Store.open(database_url, patience_s=0.2)
    store.put_judgments([judgment()])
    with store.together():
        store.put_judgments([judgment(confidence=1)])
        with pytest.raises(StoreError):
            other.put_judgments([judgment(confidence=2)])
    assert store.judgments()[0].confidence == 1
    other.close()


def test_together_is_all_or_nothing(store):
    with pytest.raises(StoreError, match="breaks its rules"), store.together():
        store.put_judgments([judgment()])
        store.put_judgments([judgment(assignment_id="nobody", annotation_id=8)])
    assert store.judgments() == []
    store.put_judgments([judgment()])
    assert store.count_judgments() == 1


def test_counting_agrees_with_what_is_there(store):
    store.set_tasks([("x1", 1, 100), ("x2", 1, 101)])
    assert store.open_by_batch() == {"production-001": 2}
    store.put_judgments([judgment()])
    assert (store.open_by_batch(), store.answered()) == ({"production-001": 1}, {"x1"})
    store.put_judgments([], [Rejection(9, 101, "skipped: missing clip")])
    assert store.open_by_batch() == {}
    assert (store.count_assignments(), store.count_judgments(), store.count_rejections()) == (2, 1, 1)


def test_a_training_pair_that_was_closed_unasked_is_owed_by_nobody(store):
    batch = Batch("training", "calibration", created_at="2026-01-02T00:00:00Z")
    pairs = [replace(PAIR, pair_id=f"c{i}", kind="calibration", batch_id="training") for i in range(3)]
    own = [replace(FIRST, assignment_id=f"y{i}", pair_id=f"c{i}", batch_id="training", position=i) for i in range(3)]
    store.put_pairs(batch, pairs, own)
    store.set_tasks((a.assignment_id, 2, 200 + i) for i, a in enumerate(own))
    store.put_judgments([judgment(assignment_id="y0", pair_id="c0", annotation_id=20)])
    store.put_judgments([], [Rejection(21, 201, SETTLED), Rejection(22, 202, "skipped: missing clip")])
    assert {row[1]: row[2:] for row in store.progress_by_annotator()}["training"] == (1, 1)
    assert store.settled() == {"y1"}


def test_writers_wait_for_each_other_and_lose_nothing(store, database_url):
    """Eight threads, each with a store of its own, as webhook, pull and worker are."""
    people = [Annotator(f"a{i}", f"a{i}@example.org") for i in range(8)]
    store.put_annotators(people)
    store.put_pairs(
        BATCH, [], [Assignment(f"y{p.annotator_id}", "p1", p.annotator_id, "production-001", 0, "A") for p in people]
    )
    errors = []

    def write(person):
        own = Store.open(database_url)
        try:
            for i in range(10):
                own.put_judgments(
                    [judgment(assignment_id=f"y{person.annotator_id}", annotation_id=None, confidence=1 + i % 5)]
                )
        except StoreError as error:
            errors.append(error)
        finally:
            own.close()

    threads = [threading.Thread(target=write, args=(person,)) for person in people]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert len(store.judgments()) == 8


def test_the_view_has_the_protocols_eight_columns_for_any_sql_client(tmp_path):
    path = tmp_path / "r.db"
    Store.open(f"sqlite:///{path}").close()
    cursor = sqlite3.connect(path).execute("SELECT * FROM responses")
    assert [column[0] for column in cursor.description] == [
        "pair_id",
        "trajectory_a_id",
        "trajectory_b_id",
        "annotator_id",
        "preference",
        "confidence",
        "response_time_ms",
        "free_text_reason",
    ]


def test_a_database_of_a_newer_robopref_is_refused(tmp_path):
    path = tmp_path / "r.db"
    Store.open(f"sqlite:///{path}").close()
    connection = sqlite3.connect(path)
    connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.commit()
    connection.close()
    with pytest.raises(StoreError, match="version 9999"):
        Store.open(f"sqlite:///{path}")


@pytest.mark.parametrize("url", ["nonsense", "mysterydb://x/y"])
def test_a_wrong_url_is_one_clear_message(url):
    with pytest.raises(StoreError, match="database URL"):
        Store.open(url)


def test_a_database_server_that_is_away_is_one_clear_message_without_the_password():
    with pytest.raises(StoreError) as caught:
        Store.open("postgresql://someone:s3cret@127.0.0.1:1/x")
    assert "s3cret" not in str(caught.value)


def test_the_migrations_make_the_tables_that_the_code_uses(empty_database_url):
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    from preference.store.tables import metadata

    store = Store.open(empty_database_url)
    with store.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    store.close()


def at_revision(folder, revision, *statements):
    """URL of a database with that revision's tables, and what the statements put into them."""
    from alembic import command
    from alembic.config import Config as AlembicConfig

    from preference.store.migrate import MIGRATIONS

    url = f"sqlite:///{folder / 'old.db'}"
    settings = AlembicConfig()
    settings.set_main_option("script_location", str(MIGRATIONS))
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        settings.attributes["connection"] = connection
        command.upgrade(settings, revision)
        for statement in statements:
            connection.execute(sa.text(statement))
    engine.dispose()
    return url


def test_a_training_that_an_earlier_version_was_asked_for_is_still_asked_for(tmp_path):
    store = Store.open(at_revision(tmp_path, "0012", "INSERT INTO training_requests (request_id) VALUES (7)"))
    (request,) = store.requests(unfinished=True)
    assert request.kind == "train" and store.training_request() == request.request_id
    store.close()


def test_what_an_earlier_version_accepted_by_hand_stays_accepted_by_hand(tmp_path):
    url = at_revision(
        tmp_path,
        "0004",
        "INSERT INTO batches (batch_id, kind, status, created_at, reasons) VALUES "
        "('production-001', 'production', 'accepted', '', '[\"Alpha is low.\", \"Accepted by hand.\"]'), "
        "('production-002', 'production', 'held', '', '[\"Alpha is low.\"]')",
    )
    store = Store.open(url)
    first, second = store.batches()
    assert first.decisions[-1]["status"] == "accepted" and first.reasons == ["Alpha is low."]
    assert second.decisions == [] and second.reasons == ["Alpha is low."]
    store.close()


def test_nobody_waits_for_whom_a_review_left_out(store):
    waiting = store.open_by_batch()
    name = store.assignments()[0].assignment.annotator_id
    own = sum(view.assignment.annotator_id == name for view in store.assignments())
    store.put_review(Review("production-001", name, "leave_out", ["speed"], "maria", "", "did not watch"))
    assert store.open_by_batch().get("production-001", 0) == waiting["production-001"] - own
    assert store.reviews()[0].kinds == ["speed"]


def test_the_labels_of_a_resolution_replace_those_before(store):
    with pytest.raises(NotReady, match="Nothing has been resolved yet"):
        store.preferences()
    nothing = Preference("p1", "t1", "t2", None, math.nan, 0, math.nan, [], "unanswered")
    resolution = Resolution("vote", {"judgments": 0}, [])
    store.put_resolution(resolution, [])
    assert store.preferences() == [] and store.resolution() == resolution
    store.put_resolution(resolution, [nothing])
    (found,) = store.preferences()
    assert found.preference is None and math.isnan(found.agreement) and store.labelled() == []
    label = Preference("p1", "t1", "t2", 0.0, 3.5, 2, 1.0, ["al", "bo"], "unanimous")
    store.put_resolution(resolution, [label])
    assert store.preferences() == store.labelled() == [label]


def test_a_training_meets_the_requests_that_were_there_when_it_began(store):
    assert store.training_request() is None
    store.request_training()
    store.request_training()
    begun = store.training_request()
    store.request_training()
    store.training_done(begun)
    later = store.training_request()
    assert later is not None and later != begun
    store.training_done(later)
    assert store.training_request() is None


def test_requests_are_taken_in_order_and_a_form_that_arrives_twice_is_one(store):
    first = store.put_request("pairs", subject="production-002", by="maria", why="more", press="form-1")
    second = store.put_request("release", subject="1.0.0", detail={"a": 1})
    with pytest.raises(StoreError, match=r"UNIQUE|unique"):
        store.put_request("pairs", press="form-1")
    assert store.pressed("form-1").request_id == first and store.pressed("form-2") is None
    assert store.next_request().request_id == first
    store.set_request(second, "running")
    assert store.next_request().request_id == second, "what a killed worker left comes first"
    store.set_request(second, "done", "1.0.0 was built.")
    assert store.withdraw_request(first, "Withdrawn.") and not store.withdraw_request(first, "Withdrawn.")
    assert store.next_request() is None and store.requests(unfinished=True) == []
    newest = store.requests(newest=1)[0]
    assert (newest.kind, newest.state, newest.result, newest.detail) == (
        "release",
        "done",
        "1.0.0 was built.",
        {"a": 1},
    )


def test_one_activity_is_known_at_a_time_and_changes_no_pulse(store):
    before = store.pulse()
    store.put_activity(Activity("Round", "then", "now", "Training", 3, 60))
    store.put_activity(Activity("Round", "then", "now", "Training", 4, 60))
    assert store.activity().done == 4
    assert store.pulse() == before
    store.put_activity(None)
    assert store.activity() is None


def test_a_verdict_belongs_to_its_model(store):
    model = ModelVersion("rm-0001", "models/rm-0001", "", 20, 0.8, 0.7, "", "none")
    store.put_model_version(model)
    store.put_verdict("rm-0001", False, "Spearman is below 0.60.")
    assert store.active_model() == replace(model, trusted=False, verdict="Spearman is below 0.60.")


def test_calibration_can_be_left_out(store):
    batch = Batch("calibration-1", "calibration", created_at=BATCH.created_at)
    pair = replace(PAIR, pair_id="p0", kind="calibration", batch_id=batch.batch_id)
    store.put_pairs(batch, [pair], [replace(FIRST, assignment_id="x0", pair_id="p0", batch_id=batch.batch_id)])
    assert len(store.batches()) == len(store.pairs()) == 2 and len(store.assignments()) == 3
    assert store.batches(calibration=False) == [BATCH]
    assert store.pairs(calibration=False) == [PAIR]
    assert [view.assignment for view in store.assignments(calibration=False)] == [FIRST, AGAIN]


def test_nobody_else_on_the_machine_reads_the_database(tmp_path):
    """A new one, and one that an earlier version left open, with the files that SQLite keeps beside it."""
    store = Store.open(f"sqlite:///{tmp_path / 'robopref.db'}")
    store.put_annotators([Annotator("ann", "ann@example.org")])
    files = [tmp_path / name for name in ("robopref.db", "robopref.db-wal", "robopref.db-shm")]
    assert [stat.S_IMODE(file.stat().st_mode) for file in files] == [0o600] * 3
    for file in files:
        file.chmod(0o644)
    Store.open(f"sqlite:///{tmp_path / 'robopref.db'}").close()
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    store.close()
