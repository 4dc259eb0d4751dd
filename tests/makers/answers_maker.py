"""A workspace with people, batches in which everybody is asked everything, and answers by a rule."""

from preference.config import Config
from preference.records import OPPOSITE, Annotator, Assignment, Batch, Judgment, Pair, Trajectory
from preference.workspace import Workspace

PEOPLE = ("alice", "bob", "carmen")
CYCLE = ("A", "B", "equal")


def workspace(folder):
    made = Workspace(Config.model_validate({"work": folder / "work", "quality": {"bootstrap": 100}}))
    made.store.put_trajectories([Trajectory(f"t{i}", "d", i, "expert", "push") for i in range(8)])
    people = [Annotator(name, f"{name}@example.org") for name in PEOPLE]
    made.store.put_annotators([*people, Annotator("chief", "chief@example.org", role="expert")])
    return made


def make_batch(ws, batch_id, people, pairs=12, kind="production"):
    """A batch in which everybody of `people` is asked every pair."""
    made = [
        Pair(f"{batch_id}-{i:02d}", f"t{i % 7}", f"t{i % 7 + 1}", "push", "same", kind, batch_id, dimension="grasp")
        for i in range(pairs)
    ]
    work = [
        Assignment(f"{pair.pair_id}-{name}", pair.pair_id, name, batch_id, i, "AB"[i % 2])
        for i, pair in enumerate(made)
        for name in people
    ]
    ws.store.put_pairs(Batch(batch_id, kind), made, work)


def answer(ws, batch_id, name, word=lambda i: CYCLE[i % 3], pairs=range(12), why=""):
    """`word(i)` is the answer to pair i."""
    ws.store.put_judgments(
        Judgment(f"{batch_id}-{i:02d}-{name}", name, f"{batch_id}-{i:02d}", word(i), 4, 9000, why) for i in pairs
    )


def opposite(i):
    return OPPOSITE[CYCLE[i % 3]]
