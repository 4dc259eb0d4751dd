"""What was lost is asked anew in its own stratum; and who does not count is no third opinion."""

from collections import Counter

import numpy as np
import pytest

from importer.pairs import batches
from importer.pairs.third_opinions import ask_third
from importer.pool.quality import quartiles
from preference.errors import NotReady
from preference.records import Annotator, Batch, Certification, Judgment, Trajectory
from preference.workspace import Workspace
from qc_reports.decisions import decide
from qc_reports.resolve import lost, resolve, resolve_labels

PEOPLE = ("alice", "bob", "carmen", "dan")
SETTINGS = """
salt = 1  # in some draws of who gets which pair, these answers make somebody look careless
[pairs]
batch = 40
overlap = 3
[quality]
bootstrap = 0
"""


@pytest.fixture
def ws(tmp_path):
    (tmp_path / "robopref.toml").write_text(SETTINGS)
    workspace = Workspace.open(tmp_path / "robopref.toml")
    quality = np.random.default_rng(0).random(40)
    workspace.store.put_trajectories(
        Trajectory(f"t{i:02d}", "d", i, "expert", "push", quality=float(q), quartile=int(k), clip="x.mp4")
        for i, (q, k) in enumerate(zip(quality, quartiles(quality), strict=True))
    )
    workspace.store.put_annotators(Annotator(name, f"{name}@example.org") for name in PEOPLE)
    workspace.store.put_pairs(Batch("calibration-1", "calibration"), [], [])
    for name in PEOPLE:
        workspace.store.put_certification(Certification(name, "calibration-1", 1, 0.9, 0.8, 1.0, True, 40))
    yield workspace
    workspace.store.close()


def answer(ws, batch_id, divided=()):
    """All who are asked say A; on the pairs of `divided` they say three different things."""
    said = Counter()
    for view in ws.store.assignments(batch_id):
        a = view.assignment
        word = ("A", "equal", "B")[said[a.pair_id] % 3] if a.pair_id in divided else "A"
        said[a.pair_id] += a.duplicate_of is None
        ws.store.put_judgments([Judgment(a.assignment_id, a.annotator_id, a.pair_id, word, 3, 9000)])
    decide(ws, batch_id, "accepted", by="maria", why="a test")
    resolve(ws)


def test_lost_pairs_are_replaced_once_in_their_own_strata(ws):
    batches.next_batch(ws)
    first = ws.store.pairs("production-001")
    gone = [pair for pair in first if pair.stratum != "distant"][:7] + [p for p in first if p.stratum == "distant"][:2]
    answer(ws, "production-001", {pair.pair_id for pair in gone})
    assert {pair.pair_id for pair in lost(ws)} == {pair.pair_id for pair in gone}
    made = batches.replacement_batch(ws, lost(ws))
    fresh = ws.store.pairs(made.batch_id)
    assert Counter(p.stratum for p in fresh) == Counter(p.stratum for p in gone)
    assert {p.strategy for p in fresh} == {"replacement"} and not {p.pair_id for p in fresh} & {
        p.pair_id for p in first
    }
    assert "Replaces 9 lost pairs." in made.notes
    answer(ws, made.batch_id)
    assert batches.replacement_batch(ws, lost(ws)) is None, "nothing is replaced twice"


def test_a_replacement_that_is_lost_too_is_replaced(ws):
    batches.next_batch(ws)
    answer(ws, "production-001", {pair.pair_id for pair in ws.store.pairs("production-001")[:5]})
    batches.replacement_batch(ws, lost(ws))
    again = ws.store.pairs("production-002")[0]
    answer(ws, "production-002", {again.pair_id})
    made = batches.replacement_batch(ws, lost(ws))
    assert [p.stratum for p in ws.store.pairs(made.batch_id)] == [again.stratum]


def test_replacements_wait_for_the_gate_and_for_labels(ws):
    with pytest.raises(NotReady, match="Nothing has been resolved"):
        lost(ws)
    batches.next_batch(ws)
    answer(ws, "production-001", {pair.pair_id for pair in ws.store.pairs("production-001")[:5]})
    decide(ws, "production-001", "held", by="maria", why="a test")
    gone = lost(ws)
    with pytest.raises(NotReady, match="production-001 is held"):
        batches.replacement_batch(ws, gone)
    resolve(ws)
    assert lost(ws) == [], "held is not lost"


def test_somebody_who_does_not_count_leaves_the_third_place_free_and_gets_no_further_pair(ws):
    ws.config.pairs.overlap = 2
    batches.next_batch(ws)
    divided = {pair.pair_id for pair in ws.store.pairs("production-001")}
    words = Counter()
    for view in ws.store.assignments("production-001"):
        a = view.assignment
        words[a.pair_id] += 1
        word = "AB"[words[a.pair_id] % 2] if a.duplicate_of is None else "A"
        ws.store.put_judgments([Judgment(a.assignment_id, a.annotator_id, a.pair_id, word, 3, 9000)])
    out = {("production-001", "dan")}
    made = ask_third(ws, sorted(divided), out)
    assert all(a.third for a in made)
    assert {a.pair_id for a in made} == divided and "dan" not in {a.annotator_id for a in made}
    seen = {pair: {v.assignment.annotator_id for v in ws.store.assignments("production-001")
                   if v.assignment.pair_id == pair} for pair in divided}  # fmt: skip
    with_dan = sorted(pair for pair, who in seen.items() if "dan" in who)
    ws.store.put_judgments(Judgment(a.assignment_id, a.annotator_id, a.pair_id, "equal", 3, 9000) for a in made)
    # dan's voice does not count, so these have two, and the fourth person may be asked
    fourth = ask_third(ws, sorted(divided), out)
    assert sorted(a.pair_id for a in fourth) == with_dan
    assert ask_third(ws, sorted(divided), out) == []


def test_nobody_is_left_out_where_nobody_is_flagged(ws):
    batches.next_batch(ws)
    assert resolve_labels(ws).left_out == set()
