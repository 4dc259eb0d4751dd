"""Open pairs go to others: those of people who are away or lost their certificate, of people who have not answered for
a day, and, where somebody at work runs out of pairs, some from the end of longer queues.

In: the database and Label Studio. Out: these assignments have another annotator and wait for a task. They are gone
where somebody left for good and everybody who is certified has seen the pair, and so are second showings. Their former
tasks are noted with the change and deleted in Label Studio after it, so a kill at any moment leaves something that the
next run finishes.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from importer.pairs.annotators import certified_ids
from importer.pairs.assignments import choose_unseen
from importer.pairs.pace import KEEP, loads, since
from importer.studio.client import connect
from importer.studio.owners import close_projects
from importer.studio.pull import pull_tasks
from preference.locks import PUSH, exclusively
from preference.records import AssignmentView
from preference.workspace import Workspace

PATIENCE_S = 600.0
"""How long it waits for a push that is under way."""

Places = Callable[[], Mapping[str, float]]
"""`assignment_id` → place in its annotator's queue, asked for only where queues are shared out."""


@dataclass(frozen=True)
class HandedOver:
    """What became of open assignments that did not stay where they were."""

    moved: int = 0
    dropped: int = 0


@dataclass
class _Plan:
    """Who gets what; built up by the three reasons in turn."""

    moved: dict[str, tuple[AssignmentView, str]] = field(default_factory=dict)
    """Assignment → it and its next annotator."""
    dropped: dict[str, AssignmentView] = field(default_factory=dict)

    def __contains__(self, view: AssignmentView) -> bool:
        return view.assignment.assignment_id in self.moved.keys() | self.dropped.keys()

    def views(self) -> list[AssignmentView]:
        return [*(view for view, _ in self.moved.values()), *self.dropped.values()]


def hand_over(ws: Workspace, places: Places | None = None, now: datetime | None = None) -> HandedOver:
    """Give open pairs to certified annotators who have not seen them, and close the projects of those who will not be
    back.

    Args:
        places: Where each open pair stands in its queue; default: where it was planned.
        now: Default: the present.

    Raises:
        StudioError: Label Studio, which has their tasks, is down or refuses us; nothing was changed, or the former
            tasks are still there and the next run deletes them.
    """
    now = now or datetime.now(UTC)
    close_projects(ws)
    if not (_plan(ws, places, now).views() or ws.store.obsolete_tasks()):
        return HandedOver()
    with exclusively(ws, PUSH, patience_s=PATIENCE_S):
        found = _plan(ws, places, now).views()
        if tasks := [t for view in found if (t := view.assignment.task_id) is not None and t > 0]:
            pull_tasks(ws, connect(ws), tasks)  # what was answered up to now is theirs
        plan = _plan(ws, places, now)
        _store(ws, plan)
        for project_id, tasks in ws.store.obsolete_tasks().items():
            connect(ws).delete_tasks(project_id, tasks)
            ws.store.tasks_deleted(tasks)
    return HandedOver(len(plan.moved), len(plan.dropped))


def _plan(ws: Workspace, places: Places | None, now: datetime) -> _Plan:
    plan, gone, idle = _Plan(), _gone(ws), _idle(ws, now)
    gives, takes = loads(ws, now).shift()
    if not (gone or idle or (gives and takes)):
        return plan
    book = _Book(ws, gone)
    _of_those_gone(plan, book)
    _of_those_idle(plan, book, idle, now)
    if not plan.moved:  # what goes to others anyway may be enough
        _from_long_queues(plan, book, places, gives, takes)
    # second showings of what moved are of nobody
    plan.dropped |= {v.assignment.assignment_id: v for key, v in book.repeats().items() if key in plan.moved}
    return plan


class _Book:
    """What all three reasons look up."""

    def __init__(self, ws: Workspace, gone: set[str]) -> None:
        self.ws = ws
        views = ws.store.assignments(calibration=False)
        done = ws.store.answered() | ws.store.skipped().keys()
        # of somebody who answered the second showing, the first is not asked any more
        repeated = {v.assignment.duplicate_of for v in views if v.assignment.assignment_id in done}
        self.open = [v for v in views if v.assignment.assignment_id not in done | repeated]
        self.seen: dict[str, set[str]] = defaultdict(set)
        for view in views:
            self.seen[view.assignment.pair_id].add(view.assignment.annotator_id)
        self.left_out = ws.store.left_out()
        self.gone = gone
        self.people = sorted(set(certified_ids(ws)) - gone)

    def give(self, plan: _Plan, views: Sequence[AssignmentView], people: Collection[str], why: str) -> None:
        """Each to one of `people` who has not seen the pair and whose answers in its batch count, evenly; what nobody
        can get stays."""
        views = list(views)
        while views:
            # two views of one pair come one after the other: they may not go to the same person
            now = list({view.assignment.pair_id: view for view in views}.values())
            views = [view for view in views if view not in now]
            unwanted = [
                self.seen[a.pair_id] | {name for name in people if (a.batch_id, name) in self.left_out}
                for a in (view.assignment for view in now)
            ]
            keys = " ".join(sorted(view.assignment.assignment_id for view in now))
            chosen = choose_unseen(unwanted, sorted(people), self.ws.rng(f"{why} {keys}"))
            for view, name in zip(now, chosen, strict=True):
                if name is not None:
                    plan.moved[view.assignment.assignment_id] = view, name
                    self.seen[view.assignment.pair_id].add(name)

    def repeats(self) -> dict[str, AssignmentView]:
        """First showing → its open second one."""
        return {key: v for v in self.open if (key := v.assignment.duplicate_of) is not None}


def _gone(ws: Workspace) -> set[str]:
    """Annotators who are away, and those whose certificate was taken back."""
    latest = ws.store.latest_certifications()
    revoked = {name for name, record in latest.items() if record.revoked}
    people = [annotator for annotator in ws.store.annotators() if annotator.role == "annotator"]
    return {a.annotator_id for a in people if not a.active or a.annotator_id in revoked}


def _of_those_gone(plan: _Plan, book: _Book) -> None:
    left = [view for view in book.open if view.assignment.annotator_id in book.gone]
    book.give(plan, [view for view in left if view.assignment.duplicate_of is None], book.people, "hand over")
    plan.dropped |= {v.assignment.assignment_id: v for v in left if v not in plan}


def _idle(ws: Workspace, now: datetime) -> set[str]:
    """Certified people who have not answered for longer than the settings wait."""
    if not (hours := ws.config.annotators.hand_over_after_h):
        return set()
    last = ws.store.last_answers()
    return {name for name in certified_ids(ws) if since(last.get(name, ""), now) > timedelta(hours=hours)}


def _of_those_idle(plan: _Plan, book: _Book, people: set[str], now: datetime) -> None:
    """Of people who may be back: what nobody else can get stays theirs."""
    patience = timedelta(hours=book.ws.config.annotators.hand_over_after_h)
    mine = [view for view in book.open if view.assignment.annotator_id in people - book.gone]
    idle = [view for view in mine if since(view.assignment.given_at, now) > patience]
    present = set(book.people) - people
    if not idle or not present:
        return
    book.give(plan, [view for view in idle if view.assignment.duplicate_of is None], present, "idle")
    still_open = {view.assignment.assignment_id for view in book.open} - plan.moved.keys()
    repeats = [view for view in idle if view.assignment.duplicate_of is not None]
    plan.dropped |= {v.assignment.assignment_id: v for v in repeats if v.assignment.duplicate_of not in still_open}


def _from_long_queues(
    plan: _Plan, book: _Book, places: Places | None, gives: Mapping[str, int], takes: Mapping[str, int]
) -> None:
    """From the ends of queues that are longer than their owner's pace asks for to whoever is about to run out."""
    order = {batch.batch_id: index for index, batch in enumerate(book.ws.store.batches())}
    planned = sorted(book.open, key=lambda v: (order[v.assignment.batch_id], v.assignment.position))
    place = dict(places()) if places else {view.assignment.assignment_id: i for i, view in enumerate(planned)}
    repeated = book.repeats()
    queues: dict[str, list[AssignmentView]] = defaultdict(list)
    for view in sorted(planned, key=lambda v: place.get(v.assignment.assignment_id, math.inf)):
        queues[view.assignment.annotator_id].append(view)
    spare: list[AssignmentView] = []
    for name, count in sorted(gives.items(), key=lambda item: -item[1]):
        ends = [v for v in queues[name][KEEP:] if v.assignment.duplicate_of is None
                and v.assignment.assignment_id not in repeated]  # fmt: skip
        spare += ends[::-1][:count]
    for name, count in takes.items():
        mine = [view for view in spare if view not in plan and name not in book.seen[view.assignment.pair_id]]
        book.give(plan, mine[:count], [name], "share out")


def _store(ws: Workspace, plan: _Plan) -> None:
    places: dict[tuple[str, str], int] = defaultdict(int)
    for view in ws.store.assignments(calibration=False):
        a = view.assignment
        places[a.annotator_id, a.batch_id] = max(places[a.annotator_id, a.batch_id], a.position + 1)
    moves = []
    for key, (view, name) in plan.moved.items():
        place = name, view.assignment.batch_id
        moves.append((key, name, places[place]))
        places[place] += 1
    # second showings refer to the first
    repeats = {key for key, view in plan.dropped.items() if view.assignment.duplicate_of is not None}
    ws.store.reassign(moves, sorted(plan.dropped, key=lambda key: key not in repeats))
