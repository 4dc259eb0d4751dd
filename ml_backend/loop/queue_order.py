"""Each open assignment's place in its annotator's queue: the score that Label Studio serves lowest first.

Older batches come first. A stratified batch keeps its planned order. In an active batch the pair that is most
informative to the model in use comes first, and a duplicate keeps its distance from its original.

`publish` writes the order to a small file, from which the label-studio-ml backend predicts without Robopref; the
Flask service answers from `QueueScores`, which is the same order kept in memory.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from typing import Any

from importer.pairs.assignments import spacing
from importer.studio.queues import PLANNED, score_of_place
from labeling_config.contract import ASSIGNMENT_ID
from ml_backend.ranking import pair_score
from preference.artifacts import confined, read_csv, read_json, write_json
from preference.errors import DataError
from preference.records import AssignmentView
from preference.workspace import Workspace

LAST = 1_000_000
"""The place of a task that is not ours, or is already answered: after everything else."""
PREDICTIONS = "predictions.json"
"""In the work folder: what `publish` writes and integrations/label_studio_ml reads."""

log = logging.getLogger("robopref.queue")

Informativeness = Callable[[AssignmentView], float]
"""The lower, the more worth asking."""


def queue_scores(ws: Workspace) -> dict[str, float]:
    """`assignment_id` → place in the annotator's queue, from 0, for every assignment without an answer."""
    answered = ws.store.answered()
    batch_order = {batch.batch_id: index for index, batch in enumerate(ws.store.batches())}
    kinds = {batch.batch_id: batch.kind for batch in ws.store.batches()}
    score = _informativeness(ws)
    queues: dict[str, dict[str, list[AssignmentView]]] = defaultdict(lambda: defaultdict(list))
    loads = Counter[tuple[str, str]]()
    for view in ws.store.assignments():
        loads[view.assignment.annotator_id, view.assignment.batch_id] += view.assignment.duplicate_of is None
        if view.assignment.assignment_id not in answered:
            queues[view.assignment.annotator_id][view.assignment.batch_id].append(view)
    scores: dict[str, float] = {}
    for name, by_batch in queues.items():
        place = 0
        for batch_id in sorted(by_batch, key=batch_order.__getitem__):
            views = by_batch[batch_id]
            if kinds[batch_id] == "active":
                distance = spacing(loads[name, batch_id], ws.config.pairs.duplicate_distance)
                views = informative_first(views, score, distance)
            for view in views:
                scores[view.assignment.assignment_id] = float(place)
                place += 1
    return scores


def informative_first(views: Iterable[AssignmentView], score: Informativeness, distance: int) -> list[AssignmentView]:
    """One annotator's open assignments of an active batch, best first, each duplicate `distance` after its original.

    Where the queue is too short for the distance, duplicates come at its end.
    """
    views = list(views)
    waiting = sorted((v for v in views if v.assignment.duplicate_of is None), key=score)
    duplicates = sorted((v for v in views if v.assignment.duplicate_of is not None), key=score)
    # An original that is already answered may have been answered just now.
    place_of = {v.assignment.duplicate_of: 0 for v in duplicates}
    place_of |= {v.assignment.assignment_id: len(views) for v in waiting}
    order: list[AssignmentView] = []
    while waiting or duplicates:
        due = next((v for v in duplicates if len(order) >= place_of[v.assignment.duplicate_of] + distance), None)
        if due is None:
            due = waiting[0] if waiting else duplicates[0]
        (waiting if due in waiting else duplicates).remove(due)
        place_of[due.assignment.assignment_id] = len(order)
        order.append(due)
    return order


def rewards_in_use(ws: Workspace) -> dict[str, float]:
    """trajectory_id → reward by the model in use, as its training wrote it; empty without a model.

    Raises:
        DataError: the file is missing or broken.
    """
    record = ws.store.active_model()
    if record is None:
        return {}
    path, fix = confined(ws.root, record.path) / "rewards.csv", "Run `robopref train` again."
    try:
        table = read_csv(path, fix=fix)
        return dict(zip(table["trajectory_id"], map(float, table["reward"]), strict=True))
    except (KeyError, ValueError) as error:
        raise DataError(f"{path} is broken: {error}.", fix=fix) from None


def _informativeness(ws: Workspace) -> Informativeness:
    """From the rewards of the model in use; the planned order where there is no model yet."""
    try:
        rewards = rewards_in_use(ws)
    except DataError as error:  # a truncated file: people can still be asked, and the worker replaces the model
        log.warning("%s The planned order is served meanwhile.", error.message)
        rewards = {}

    def score(view: AssignmentView) -> float:
        a, b = rewards.get(view.pair.trajectory_a_id), rewards.get(view.pair.trajectory_b_id)
        return float(view.assignment.position) if a is None or b is None else pair_score(a, b)

    return score


def publish(ws: Workspace) -> dict[str, float]:
    """Compute `queue_scores` and write them to work/predictions.json, by what a task can be recognised by.

    An assignment's id is opaque and part of its task's data. The file tells no pair, trajectory or reward, so it can
    lie wherever the backend runs.
    """
    version, count = version_in_use(ws), ws.store.count_assignments()
    places = queue_scores(ws)
    scores = {assignment_id: score_of_place(place) for assignment_id, place in places.items()}
    write_json(ws.root / PREDICTIONS, {"model_version": version, "assignments": count, "scores": scores})
    return places


def publish_if_changed(ws: Workspace) -> None:
    """`publish`, unless the file is of the model in use and of all assignments there are."""
    try:
        published = read_json(ws.root / PREDICTIONS)
    except DataError:
        published = {}
    if (published.get("model_version"), published.get("assignments")) != (
        version_in_use(ws),
        ws.store.count_assignments(),
    ):
        publish(ws)


def version_in_use(ws: Workspace) -> str:
    """The version of the model in use, or `planned`."""
    model = ws.store.active_model()
    return model.version if model else PLANNED


class QueueScores:
    """What /predict answers from; computed again when a model, or an assignment, is new. Safe to share by threads."""

    def __init__(self, ws: Workspace) -> None:
        self._ws = ws
        self._lock = threading.Lock()
        self._of: tuple[str, int] = ("", -1)
        self._scores: dict[str, float] = {}

    def of(self, tasks: list[dict[str, Any]]) -> tuple[str, list[float]]:
        """The model's version, and one score for each of Label Studio's tasks, in their order."""
        present = (version_in_use(self._ws), self._ws.store.count_assignments())
        with self._lock:
            if present != self._of:
                self._of, self._scores = present, queue_scores(self._ws)
            scores = self._scores
        return present[0], [score_of_place(scores.get(_assignment_id(task), LAST)) for task in tasks]


def _assignment_id(task: dict[str, Any]) -> str:
    data = task.get("data")
    found = data.get(ASSIGNMENT_ID) if isinstance(data, dict) else None
    return found if isinstance(found, str) else ""
