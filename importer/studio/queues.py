"""What each annotator is asked, in which order, and what a task reveals: assignments in, queues and task data out.

One queue is one Label Studio project: each calibration set is one, all production and active batches together another.
A task shows its annotator the two clips, the question and an opaque id; nothing about gold, stratum, quality, source or
duplicate.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from importer.calibration.sets import DIMENSIONS
from labeling_config.contract import (
    EXPERT_ANSWER,
    EXPERT_REASONING,
    OTHERS,
    expert_data,
    final_line,
    is_training,
    mark_line,
    owner_line,
    side_of,
    task_data,
    watch_line,
)
from preference.adjudicated import ADJUDICATION
from preference.bucket import key_of
from preference.config import Config
from preference.errors import NotReady, StudioError
from preference.records import CALIBRATION, Annotator, AssignmentView, Batch, Trajectory
from preference.workspace import Workspace

PLANNED = "planned"
"""Model version of the planned order, before any model has scored."""
NO_REASON = "The expert gave no reason."
TAUGHT = set(DIMENSIONS) - {"contrast"}
"""Dimensions that say what to look at."""
STEP = 1e-6
"""Difference in score between two places of a queue."""


def score_of_place(place: float) -> float:
    """What Label Studio sorts by, lowest first. It lies between 0 and 1: Label Studio drops predictions with any other
    score, and answers 201 all the same."""
    return min(1.0, place * STEP)


@dataclass(frozen=True)
class Queue:
    """One annotator's project: their assignments of one phase, in the order in which they are to be asked."""

    annotator: Annotator
    phase: str
    """`calibration-1`, ..., or `production`, which the active batches belong to as well."""
    views: list[AssignmentView]

    @property
    def title(self) -> str:
        return title_of(self.phase, self.annotator.annotator_id)

    @property
    def shows_expert(self) -> bool:
        """In training the expert's answer and reason are shown after one's own."""
        return is_training(self.phase) and self.annotator.role != "expert"

    @property
    def waiting(self) -> list[AssignmentView]:
        """Those without a task; nothing waits for somebody who is away."""
        if not self.annotator.active:
            return []
        return [view for view in self.views if view.assignment.task_id is None]

    @property
    def tasks(self) -> list[int]:
        """Those that should be in Label Studio; a negative one is gone from there."""
        return [task for view in self.views if (task := view.assignment.task_id) is not None and task > 0]

    @property
    def project_id(self) -> int | None:
        return next((v.assignment.project_id for v in self.views if v.assignment.project_id is not None), None)

    @property
    def places(self) -> dict[str, int]:
        """`assignment_id` → planned place, from 0: what ranks it while no model has a say."""
        return {view.assignment.assignment_id: place for place, view in enumerate(self.views)}


@dataclass(frozen=True)
class Pushed:
    """What pull needs of a queue: a project and its tasks, not their content."""

    title: str
    project_id: int
    tasks: list[int]


def phases_of(batches: Iterable[Batch]) -> dict[str, str]:
    """Batch → phase: each calibration set is one, all production and active batches together another."""
    return {b.batch_id: b.batch_id if b.kind == CALIBRATION else "production" for b in batches}


def is_test(phase: str, annotator: Annotator) -> bool:
    """Whether it is a test of this annotator, which is answered once; the expert's answers are its truth."""
    return phase.startswith("calibration") and annotator.role != "expert"


def title_of(phase: str, annotator_id: str) -> str:
    return f"{phase.replace('-', ' ').capitalize()} · {annotator_id}"


def all_queues(ws: Workspace) -> list[Queue]:
    """Every queue, by annotator and phase; within one the older batch comes first, then the planned order."""
    batches = ws.store.batches()
    rank = {batch.batch_id: index for index, batch in enumerate(batches)}
    phases = phases_of(batches)
    people = {annotator.annotator_id: annotator for annotator in ws.store.annotators()}
    grouped: dict[tuple[str, str], list[AssignmentView]] = defaultdict(list)
    for view in ws.store.assignments():
        grouped[view.assignment.annotator_id, phases[view.assignment.batch_id]].append(view)
    for group in grouped.values():
        group.sort(key=lambda view: (rank[view.assignment.batch_id], view.assignment.position))
    return [Queue(people[who], phase, group) for (who, phase), group in sorted(grouped.items())]


def all_pushed(ws: Workspace) -> list[Pushed]:
    """Every project with its tasks."""
    phases = phases_of(ws.store.batches())
    found: dict[int, Pushed] = {}
    for annotator_id, batch_id, project_id, task_id in ws.store.tasks():
        pushed = Pushed(title_of(phases[batch_id], annotator_id), project_id, [])
        found.setdefault(project_id, pushed).tasks.append(task_id)
    return [found[project_id] for project_id in sorted(found)]


def database_mark(batches: Sequence[Batch]) -> str:
    """A short name for this database, from its first batch: two installations may share one Label Studio."""
    first = f"{batches[0].batch_id} {batches[0].created_at}" if batches else ""
    return hashlib.sha256(first.encode()).hexdigest()[:12]


def project_mark(queue: Queue, database: str) -> str:
    """A line of the project's description by which later runs recognize it, whatever becomes of its title."""
    return mark_line(database, queue.phase, queue.annotator.annotator_id)


def project_description(queue: Queue, database: str, *, watch_to_end: bool) -> str:
    """Title, owner (whom the plugin lets in), what the plugin enforces, and mark, a line each."""
    lines = [queue.title, owner_line(queue.annotator.email), watch_line(to_end=watch_to_end)]
    if is_test(queue.phase, queue.annotator):
        lines.append(final_line())
    return "\n".join([*lines, project_mark(queue, database)])


def task_of_view(
    view: AssignmentView, trajectories: Mapping[str, Trajectory], config: Config, *, shows_expert: bool = False
) -> dict[str, str | float]:
    """The data of the task: all that the annotator's browser gets to know.

    Args:
        shows_expert: It is a training task, which has the expert's answer and reason besides.

    Raises:
        NotReady: one of the two has no clip, or there is no answer to show yet.
        StudioError: a clip lies where Label Studio cannot serve it.
    """
    a, b = trajectories[view.pair.trajectory_a_id], trajectories[view.pair.trajectory_b_id]
    left, right = (a, b) if view.assignment.left == "A" else (b, a)
    task = task_data(
        view.assignment.assignment_id,
        clip_url(left, config),
        clip_url(right, config),
        fps=config.clips.fps,
        question=config.pairs.question,
    )
    if view.assignment.batch_id.startswith(ADJUDICATION):
        return {**task, EXPERT_ANSWER: OTHERS, EXPERT_REASONING: view.pair.reasoning}
    if not shows_expert:
        return task
    if view.pair.expected is None:
        raise NotReady("The expert has not answered the training set.", fix="Run `robopref calibration build` later.")
    said = side_of(view.pair.expected, view.assignment.left)
    about = f" (This pair is about {view.pair.dimension}.)" if view.pair.dimension in TAUGHT else ""
    return {**task, **expert_data(said, (view.pair.reasoning or NO_REASON) + about, view.pair.dimension)}


def clip_url(trajectory: Trajectory, config: Config) -> str:
    """Address of the trajectory's clip, as the task has it; Label Studio turns one that begins with s3:// into a link.

    Raises:
        NotReady: there is no clip.
        StudioError: it lies where Label Studio's local file serving does not look.
    """
    if not trajectory.clip:
        raise NotReady(f"{trajectory.trajectory_id} has no clip.", fix="Run `robopref clips`.")
    settings = config.label_studio
    name = Path(trajectory.clip).name
    if settings.clips == "url":
        return f"{settings.clips_url.rstrip('/')}/{quote(name)}"
    if settings.clips == "s3":
        return f"s3://{settings.s3.bucket}/{key_of(settings.s3, name)}"
    root = Path(settings.document_root or config.work).resolve()
    path = (config.work / trajectory.clip).resolve()
    if not path.is_relative_to(root):
        raise StudioError(
            f"label_studio.document_root is {root}, which does not hold the clip {path}.",
            fix="Name the folder that Label Studio was started with; the work folder must lie in it.",
        )
    return f"/data/local-files/?d={quote(str(path.relative_to(root)))}"
