"""The project's tables as DataFrames: their columns are what the docs say, with and without rows."""

import math
import re

import pytest
from pandas.testing import assert_frame_equal
from paths import ROOT

from preference import frames
from preference.artifacts import read_csv, write_csv
from preference.config import Config
from preference.records import (
    Annotator,
    Assignment,
    Batch,
    Certification,
    Judgment,
    Pair,
    Preference,
    Resolution,
    Trajectory,
)
from preference.workspace import Workspace


@pytest.fixture
def ws(tmp_path):
    workspace = Workspace(Config.model_validate({"work": tmp_path}))
    workspace.store.put_resolution(Resolution("vote", {}, []), [])
    yield workspace
    workspace.store.close()


@pytest.fixture
def filled(ws):
    """Two pairs; ann answered one of them twice, bo has answered nothing and failed the test once."""
    store = ws.store
    store.put_trajectories(Trajectory(key, "d", i, "expert", "push", quartile=i + 1) for i, key in enumerate("abc"))
    store.put_annotators([Annotator("ann", "ann@example.org", studio_user_id=7), Annotator("bo", "bo@example.org")])
    pairs = [Pair(k, "a", b, "push", "distant", "gold", "production-001", "A") for k, b in (("p", "b"), ("q", "c"))]
    assignments = [
        Assignment("1", "p", "ann", "production-001", 0, "A"),
        Assignment("2", "p", "ann", "production-001", 5, "B", duplicate_of="1"),
        Assignment("3", "q", "bo", "production-001", 0, "A"),
    ]
    store.put_pairs(Batch("production-001", "production"), pairs, assignments)
    store.put_judgments(
        Judgment(key, "ann", "p", answer, 4, 6000, created_at=f"2026-01-31T09:3{key}:00+00:00")
        for key, answer in (("2", "B"), ("1", "A"))
    )
    for attempt, passed in ((1, False), (2, True)):
        batch, kappa = f"calibration-{attempt}", 0.5 + attempt / 10
        store.put_pairs(Batch(batch, "calibration"), [], [])
        store.put_certification(Certification("ann", batch, attempt, kappa, 0.4, 0.9, passed, 40))
    labels = [
        Preference("p", "a", "b", 1.0, 4.0, 1, 1.0, ["ann"], "single"),
        Preference("q", "a", "c", None, math.nan, 0, math.nan, [], "unanswered"),
    ]
    store.put_resolution(Resolution("vote", {}, []), labels)
    return ws


@pytest.mark.parametrize("name", frames.FRAMES)
@pytest.mark.parametrize("project", ["ws", "filled"])
def test_a_frame_has_the_documented_columns_and_types_with_and_without_rows(name, project, request):
    frame = getattr(frames, name)(request.getfixturevalue(project))
    said = {column: str(dtype).replace("us,", "ns,") for column, dtype in frame.dtypes.items()}
    assert said == dict(frames.FRAMES[name])
    assert len(frame) == {"ws": 0, "filled": {"trajectories": 3}.get(name, 2)}[project]


@pytest.mark.parametrize("name", frames.FRAMES)
def test_the_docs_explain_every_column_and_no_other(name):
    page = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    section = page.partition(f"### `{name}(ws)`")[2].partition("\n#")[0].partition("<!--")[0]
    rows = re.findall(r"\| `(\w+)` \| (.*?) \| (.+?) \|\n", section)
    assert {column: dtype for column, dtype, _ in rows} == dict(frames.FRAMES[name])


def test_judgments_carry_their_pair_and_assignment_in_a_fixed_order(filled):
    frame = frames.judgments(filled)
    assert frame["assignment_id"].tolist() == ["1", "2"]  # the order of answering was the other way round
    assert frame["is_duplicate"].tolist() == [False, True]
    assert frame[["trajectory_b_id", "kind", "expected", "left"]].values.tolist() == [
        ["b", "gold", "A", "A"],
        ["b", "gold", "A", "B"],
    ]
    assert str(frame["created_at"].max()) == "2026-01-31 09:32:00+00:00"
    assert frames.judgments(filled, "other").empty


def test_people_and_pairs_are_counted_and_an_unknown_kappa_is_missing(filled):
    people = frames.annotators(filled).set_index("annotator_id")
    assert people.loc["ann", ["certified", "attempts", "assigned", "judged"]].tolist() == [True, 2, 2, 2]
    assert people.loc["ann", "kappa"] == pytest.approx(0.7)
    assert people.loc["bo", ["attempts", "assigned", "judged"]].tolist() == [0, 1, 0]
    assert people.loc["bo", ["certified", "kappa", "studio_user_id"]].isna().all()
    assert frames.pairs(filled).set_index("pair_id")["judged"].to_dict() == {"p": 2, "q": 0}


def test_a_pair_without_a_label_has_a_reason_and_no_number(filled):
    frame = frames.preferences(filled).set_index("pair_id")
    assert frame["preference"].isna().to_dict() == {"p": False, "q": True}
    assert frame.loc["p", "annotator_ids"] == ["ann"] and frame.loc["q", "reason"] == "unanswered"


def test_a_frame_survives_csv(filled, tmp_path):
    frame = frames.trajectories(filled)
    write_csv(tmp_path / "t.csv", frame)
    again = read_csv(tmp_path / "t.csv")
    assert again["in_pool"].tolist() == ["true"] * 3 and again["quality"].tolist() == [""] * 3
    assert_frame_equal(again[["trajectory_id", "source"]].astype("string"), frame[["trajectory_id", "source"]])
