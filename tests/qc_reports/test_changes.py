"""What is finished is finished: a batch whose answers change after its acceptance is held until somebody has looked."""

import pytest
from answers_maker import answer, make_batch, opposite, workspace

from preference.errors import UserError
from qc_reports.decisions import decide, leave_out_everywhere, review
from qc_reports.qc import check_batch, qc, reopen_changed
from qc_reports.resolve import resolve

BATCH = "production-001"


@pytest.fixture
def ws(tmp_path):
    ws = workspace(tmp_path)
    make_batch(ws, BATCH, ["alice", "bob"])
    for name in ("alice", "bob"):
        answer(ws, BATCH, name)
    assert qc(ws, BATCH).status == "accepted"
    yield ws
    ws.store.close()


def status(ws):
    (batch,) = ws.store.batches()
    return batch.status, " ".join(batch.reasons)


def labels(ws):
    return [preference.preference for preference in resolve(ws)]


def test_a_batch_is_reopened_when_its_answers_are_reversed_and_says_whose(ws):
    before = labels(ws)
    assert reopen_changed(ws) == []
    answer(ws, BATCH, "alice", opposite)
    assert reopen_changed(ws) == [BATCH]
    held, why = status(ws)
    assert held == "held"
    assert "answers were changed after it was accepted on" in why and "8 by alice" in why
    assert set(labels(ws)) == {None}, "no changed label reaches training"
    assert qc(ws, BATCH).status == "held", "looking again is no decision"
    answer(ws, BATCH, "alice")
    assert qc(ws, BATCH).status == "accepted"
    assert labels(ws) == before


def test_changed_answers_give_no_label_before_anybody_has_looked(ws):
    answer(ws, BATCH, "alice", opposite)
    assert status(ws)[0] == "accepted"
    assert set(labels(ws)) == {None}


def test_a_person_accepts_the_answers_as_they_are_now_and_only_those(ws):
    answer(ws, BATCH, "alice", opposite, pairs=[0])
    reopen_changed(ws)
    decide(ws, BATCH, "accepted", by="maria", why="a slip, corrected")
    assert status(ws)[0] == "accepted"
    assert reopen_changed(ws) == []
    answer(ws, BATCH, "alice", opposite)
    assert reopen_changed(ws) == [BATCH], "the earlier decision was about other answers"


def test_a_review_of_the_person_settles_it_too(ws):
    answer(ws, BATCH, "alice", opposite, pairs=[0])
    answer(ws, BATCH, "bob", opposite, pairs=[0])
    reopen_changed(ws)
    review(ws, BATCH, "alice", "keep", by="maria", why="told me")
    assert "1 by bob" in status(ws)[1] and "alice" not in status(ws)[1].partition("`")[0]
    review(ws, BATCH, "bob", "leave_out", by="maria", why="did not")
    assert status(ws)[0] == "accepted"


def test_answers_that_come_later_reopen_nothing_and_are_kept_watch_over(ws):
    make_batch(ws, BATCH, ["carmen"])
    answer(ws, BATCH, "carmen", pairs=range(3))
    assert reopen_changed(ws) == []
    answer(ws, BATCH, "carmen", opposite, pairs=[0])
    assert reopen_changed(ws) == [BATCH]


def test_an_answer_that_is_gone_reopens(ws):
    gone = ws.store.judgments(BATCH)[0]
    ws.store.put_judgments([])
    with ws.store.engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM judgments WHERE assignment_id = ?", (gone.assignment_id,))
    assert reopen_changed(ws) == [BATCH]


def test_anybody_can_be_left_out_with_a_reason_and_nobody_without(ws):
    with pytest.raises(UserError, match="no flag"):
        review(ws, BATCH, "alice", "keep", by="maria", why="?")
    with pytest.raises(UserError, match="recorded"):
        leave_out_everywhere(ws, "alice", by="maria", why=" ")
    assert leave_out_everywhere(ws, "alice", by="maria", why="left the lab") == [BATCH]
    assert {p.reason for p in resolve(ws)} == {"single"}
    assert leave_out_everywhere(ws, "carmen", by="maria", why="never came") == []
    with pytest.raises(UserError, match="no judgment"):
        review(ws, BATCH, "carmen", "leave_out", by="maria", why="never came")
    assert "left the lab" in " ".join(check_batch(ws, BATCH).report.reasons)
