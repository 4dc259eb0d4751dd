"""A project's tables as pandas DataFrames, for notebooks, scripts and every file that people read.

A workspace goes in, a frame with the columns of `FRAMES` comes out, also where there are no rows yet. The functions
that end in `_frame` do the same for records. What is not known is missing (`NaN`, `NaT` or `<NA>`), never 0 or "".
docs/python.md has the table of columns, generated from here and from the records' own docstrings.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import NoneType
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin, get_type_hints

from preference.records import Annotator, AssignmentView, Judgment, Pair, Preference, Record, Trajectory

if TYPE_CHECKING:
    import pandas as pd

    from preference.workspace import Workspace

MOMENT = "datetime64[ns, UTC]"
_DTYPES = {str: "string", int: "int64", float: "float64", bool: "bool"}
_NULLABLE = {"int64": "Int64", "bool": "boolean"}


def _columns(record: type[Record], *left_out: str) -> dict[str, str]:
    """Field of a record → dtype of its column."""
    hints = get_type_hints(record)
    return {name: _dtype(hint) for name, hint in hints.items() if name not in left_out}


def _dtype(hint: Any) -> str:
    options = get_args(hint)
    if NoneType in options:
        kept = _dtype(next(option for option in options if option is not NoneType))
        return _NULLABLE.get(kept, kept)
    return "string" if get_origin(hint) is Literal else _DTYPES.get(hint, "object")


RESPONSES = (
    "pair_id",
    "trajectory_a_id",
    "trajectory_b_id",
    "annotator_id",
    "preference",
    "confidence",
    "response_time_ms",
    "free_text_reason",
)
"""The protocol's eight columns of a judgment, as the database's view `responses` has them."""
_ASKED = {"task_type": "string", "stratum": "string", "kind": "string", "batch_id": "string"}
_COUNTS = {"assigned": "int64", "judged": "int64"}
_JUDGMENT = _columns(Judgment) | _columns(Pair)

FRAMES: Mapping[str, Mapping[str, str]] = {
    "trajectories": _columns(Trajectory),
    "pairs": _columns(Pair) | _COUNTS,
    "annotators": _columns(Annotator) | {"certified": "boolean", "kappa": "float64", "attempts": "int64"} | _COUNTS,
    "judgments": {name: _JUDGMENT[name] for name in RESPONSES}
    | {name: _JUDGMENT[name] for name in (*_ASKED, "expected", "assignment_id")}
    | {"left": "string", "is_duplicate": "bool", "third": "bool", "created_at": MOMENT},
    "preferences": _columns(Preference) | _ASKED,
}
"""Name of a function of this module → its frame's columns, each with its dtype."""
MEANINGS = {
    "trajectory_id": "Dataset and episode, such as `sample-000012`.",
    "episode_index": "Its number in the dataset.",
    "task_type": "Only trajectories of one task type are compared.",
    "environment_id": "Where it was recorded.",
    "success": "Whether the task was completed; missing if unknown.",
    "clip_sha256": "SHA-256 of the clip.",
    "pair_id": "The pair.",
    "trajectory_a_id": "Its first trajectory.",
    "trajectory_b_id": "Its second trajectory.",
    "stratum": "Distance of the two quality quartiles: `same`, `adjacent` or `distant`.",
    "kind": "`production`, `gold`, `calibration` or `active`.",
    "annotator_id": "The annotator.",
    "email": "Signs in to Label Studio with it.",
    "role": "`annotator` or `expert`.",
    "active": "Whether this person is given new pairs.",
    "studio_user_id": "Number of the account in Label Studio; missing before the first push.",
    "free_text_reason": "The annotator's own words; often empty.",
    "confidence_mean": "Mean confidence of the annotators, 1 to 5.",
    "num_annotators": "Annotators whose judgments the label rests on.",
    "annotator_ids": "Their ids, a list.",
    "reason": "How the label was found, or why there is none: see [quality.md](quality.md).",
    "assigned": "Assignments that were made, duplicates included.",
    "judged": "How many of them have a judgment.",
    "certified": "Whether the latest attempt passed; missing before the first.",
    "kappa": "Cohen's kappa against the expert in the latest attempt.",
    "attempts": "Attempts at a calibration set.",
    "is_duplicate": "Whether this is the second showing of a pair that this annotator had seen.",
    "created_at": "When the answer was given, UTC.",
}
"""Of the columns that no record's docstring explains."""


def trajectories(ws: Workspace) -> pd.DataFrame:
    """The pool, one row per trajectory, by id."""
    return trajectory_frame(ws.store.trajectories())


def pairs(ws: Workspace) -> pd.DataFrame:
    """One row per pair, calibration included, by id."""
    frame = _frame_of(ws.store.pairs(), list(_columns(Pair)))
    return _typed("pairs", frame.assign(**_counts(ws, frame["pair_id"])))


def annotators(ws: Workspace) -> pd.DataFrame:
    """One row per person, simulated ones and the expert included, by id."""
    frame = _frame_of(ws.store.annotators(), list(_columns(Annotator)))
    attempts = _frame_of(ws.store.certifications(), ("annotator_id", "certified", "kappa"))
    frame = frame.join(attempts.groupby("annotator_id").last(), on="annotator_id")
    frame["attempts"] = _count(frame["annotator_id"], attempts)
    return _typed("annotators", frame.assign(**_counts(ws, frame["annotator_id"])))


def judgments(ws: Workspace, batch_id: str | None = None) -> pd.DataFrame:
    """One row per judgment, duplicates and calibration included, by pair and annotator; of one batch, or of all."""
    return judgment_frame(ws.store.judgments(batch_id), ws.store.assignments(batch_id))


def preferences(ws: Workspace) -> pd.DataFrame:
    """One row per pair that is asked for a label, by id; `preference` is missing where it has none.

    Raises:
        NotReady: nothing has been resolved yet.
    """
    asked = _frame_of(ws.store.pairs(), ("pair_id", *_ASKED))
    return _typed("preferences", preference_frame(ws.store.preferences()).merge(asked, on="pair_id", how="left"))


def trajectory_frame(records: Iterable[Trajectory]) -> pd.DataFrame:
    """The columns of a `Trajectory`."""
    return _typed("trajectories", _frame_of(records, list(FRAMES["trajectories"])))


def preference_frame(records: Iterable[Preference]) -> pd.DataFrame:
    """The columns of a `Preference`."""
    return _typed("preferences", _frame_of(records, list(_columns(Preference))))


def judgment_frame(records: Iterable[Judgment], views: Iterable[AssignmentView]) -> pd.DataFrame:
    """Each judgment with its assignment and pair.

    Args:
        views: The assignments that were answered, at least.
    """
    views = list(views)
    names = ("pair_id", "trajectory_a_id", "trajectory_b_id", *_ASKED, "expected")
    asked = _frame_of([view.pair for view in views], names).drop_duplicates("pair_id")
    shown = _frame_of([view.assignment for view in views], ("assignment_id", "left", "duplicate_of", "third"))
    own = ("assignment_id", "annotator_id", "pair_id", "preference", "confidence", "response_time_ms",
           "free_text_reason", "created_at")  # fmt: skip
    frame = _frame_of(records, own).merge(asked, on="pair_id").merge(shown, on="assignment_id")
    frame["is_duplicate"] = frame["duplicate_of"].notna()
    order = ["pair_id", "annotator_id", "is_duplicate"]
    return _typed("judgments", frame).sort_values(order, kind="stable", ignore_index=True)


def _counts(ws: Workspace, keys: pd.Series) -> dict[str, pd.Series]:
    """How many assignments and judgments there are of each key; the name of `keys` is a field of both."""
    name = str(keys.name)
    assignments = [view.assignment for view in ws.store.assignments()]
    return {
        "assigned": _count(keys, _frame_of(assignments, (name,))),
        "judged": _count(keys, _frame_of(ws.store.judgments(), (name,))),
    }


def _count(keys: pd.Series, rows: pd.DataFrame) -> pd.Series:
    return keys.map(rows[keys.name].value_counts()).fillna(0)


def _frame_of(records: Iterable[Record], names: Sequence[str]) -> pd.DataFrame:
    import pandas as pd

    rows = [[getattr(record, name) for name in names] for record in records]
    return pd.DataFrame(rows, columns=list(names), dtype=object)


def _typed(name: str, frame: pd.DataFrame) -> pd.DataFrame:
    """Those columns of `name` that `frame` has, in their order and with their dtypes."""
    import pandas as pd

    dtypes = {column: dtype for column, dtype in FRAMES[name].items() if column in frame}
    frame = frame[list(dtypes)]
    if MOMENT in dtypes.values():
        frame = frame.assign(created_at=pd.to_datetime(frame["created_at"], utc=True, format="ISO8601"))
    return frame.astype(dtypes)
