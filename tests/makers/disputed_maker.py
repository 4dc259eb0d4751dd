"""A batch that people dispute, and what an adjudicator says of it."""

from preference.records import Annotator, Assignment, Batch, Judgment, Pair, Trajectory
from preference.workspace import Workspace
from qc_reports.resolve import resolve_labels

SAID = {"ann": ("A", 5, "it let go"), "bob": ("B", 2, ""), "cy": ("equal", 3, "")}


def disputed_batch(folder, toml=""):
    """Two pairs on which three people say three things, and a third on which they agree."""
    (folder / "robopref.toml").write_text(toml)
    made = Workspace.open(folder / "robopref.toml")
    made.store.put_trajectories(
        Trajectory(f"t{i}", "d", i, "expert", "push", quartile=1, clip=f"clips/t{i}.mp4") for i in range(4)
    )
    made.store.put_annotators([Annotator(name, f"{name}@example.org") for name in SAID])
    made.store.put_annotators([Annotator("rosa", "rosa@example.org", role="expert")])
    pairs = [Pair(f"p{i}", f"t{i}", f"t{i + 1}", "push", "same", "production", "production-001") for i in range(3)]
    own = [Assignment(f"{name}-{i}", f"p{i}", name, "production-001", i, "A") for name in SAID for i in range(3)]
    made.store.put_pairs(Batch("production-001", "production"), pairs, own)
    made.store.put_judgments(
        Judgment(a.assignment_id, a.annotator_id, a.pair_id, said if a.pair_id != "p2" else "A", sure, 9000, why)
        for a in own for said, sure, why in [SAID[a.annotator_id]]
    )  # fmt: skip
    resolve_labels(made)
    return made


def decide(ws, assignment, decision, cause="slip", said="equal"):
    ws.store.put_judgments([Judgment(assignment.assignment_id, "rosa", assignment.pair_id, said, 4, 9000,
                                     questions={"decision": decision, "cause": cause})])  # fmt: skip
