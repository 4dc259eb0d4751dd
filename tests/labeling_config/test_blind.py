"""Nothing that an annotator's account can read tells repeats, gold pairs, sources or answers: on projects that `push`
made, a program that reads everything guesses no better than chance.

"No better" is a bound that could be missed: chance is not below the 99.9 % interval of the area, and the same program
on the same tasks is above it once it is given a hint that is right nine times in ten, or what a manager sees.
"""

import functools
import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from attack_maker import CHANCE, attack, columns, everything_readable, matched, with_history
from paths import ARTIFACTS
from studio_maker import sign_in

from importer.calibration import build as calibrate
from importer.pairs import batches
from importer.pairs.annotators import add_annotators
from importer.pool.quality import quartiles
from importer.studio.push import push
from importer.studio.users import admin_session
from preference.config import Config
from preference.records import Certification, Trajectory
from preference.workspace import Workspace

SOURCES = {"expert_demos": 40_000, "random_play": 70_000}
"""Dataset → bytes of its typical clip."""
SURE = 0.999
"""Chance lies within an interval of this level; what is reported has 95 %."""
PEOPLE = ("ann", "bob")


@pytest.fixture(scope="module")
def ws(label_studio):
    """Two people with calibration and production: 40 trajectories of two sources, a quarter of the pairs repeated."""
    root = label_studio.document_root / f"blind{os.getpid()}"
    (root / "clips").mkdir(parents=True)
    workspace = Workspace(Config.model_validate({
        "work": root, "seed": 5,
        "pairs": {"batch": 80, "duplicates": 0.25}, "active": {"bootstrap": 80},
        "calibration": {"pairs": 20, "training_pairs": 0},
        "annotators": {"expert": "rosa@blind.example", "people": [f"{name}@blind.example" for name in PEOPLE]},
        "label_studio": {"url": label_studio.url, "token": label_studio.token,
                         "document_root": str(label_studio.document_root)},
    }))  # fmt: skip
    workspace.store.put_trajectories(trajectories(root))
    add_annotators(workspace)
    calibrate.build(workspace)
    for name in PEOPLE:
        workspace.store.put_certification(Certification(name, "calibration-1", 1, 0.9, 0.8, 1.0, True, pairs=20))
    batches.next_batch(workspace)
    push(workspace)
    yield workspace
    workspace.store.close()


def trajectories(root):
    """Each with a file in place of its clip, whose size and time tell the source."""
    rng, made = np.random.default_rng(0), []
    for number, (source, size) in enumerate(SOURCES.items()):
        for index in range(20):
            key = f"{source}-{index:06d}"
            path = root / "clips" / f"{key}.mp4"
            path.write_bytes(rng.bytes(int(size * rng.uniform(0.7, 1.3))))
            os.utime(path, (1.7e9 + 1e6 * number + index,) * 2)
            quality = float(rng.normal(1.0 - number))
            made.append(Trajectory(key, source, index, source, "push", quality=quality, clip=f"clips/{key}.mp4"))
    ranks = quartiles(np.array([t.quality for t in made]))
    return [replace(t, quartile=int(rank)) for t, rank in zip(made, ranks, strict=True)]


@pytest.fixture(scope="module")
def read(ws):
    """Phase → accounts: everything that each person could read of each task, in the order served."""

    def walk(name):
        session, rng = sign_in(ws, name), np.random.default_rng(len(name))
        own = [view.assignment for view in ws.store.assignments() if view.assignment.annotator_id == name]
        projects = {a.batch_id: a.project_id for a in own}
        return {batch: everything_readable(ws, session, project, rng) for batch, project in projects.items()}

    with ThreadPoolExecutor(2) as pool:
        people = list(pool.map(walk, PEOPLE))
    return {batch: [account[batch] for account in people] for batch in people[0]}


@pytest.fixture(scope="module")
def truth(ws):
    """Task → what nobody may learn of it."""
    pool = {t.trajectory_id: t for t in ws.store.trajectories()}

    def about(view):
        ids = (view.pair.trajectory_a_id, view.pair.trajectory_b_id)
        left, right = (pool[key] for key in (ids if view.assignment.left == "A" else ids[::-1]))
        repeat, gold = view.assignment.duplicate_of is not None, view.pair.kind == "gold"
        return SimpleNamespace(repeat=repeat, gold=gold, left=left, right=right)

    return {view.assignment.task_id: about(view) for view in ws.store.assignments()}


WANTED = {
    "repeats": lambda t: t.repeat,
    "gold pairs": lambda t: t.gold,
    "the source of the left clip": lambda t: t.left.source == "expert_demos",
    "two clips of one source": lambda t: t.left.source == t.right.source,
    "which one is better": lambda t: t.left.quality > t.right.quality,
}


RIGHT = 0.9
"""How often a planted hint is right, among all the columns that say nothing."""
FEWEST = 15
"""Tasks of each kind: with fewer, an interval would hold chance whatever the program knew."""


def guess(accounts, truth, what, *, hinted=False):
    tasks = [(n, place, task) for n, account in enumerate(accounts) for place, task in enumerate(account)]
    labels = np.array([WANTED[what](truth[task]) for _, _, task in tasks])
    x = columns(accounts)
    if hinted:
        wrong = np.random.default_rng(7).random(len(labels)) > RIGHT
        x = np.hstack([x, (labels ^ wrong)[:, None]])
    first = np.array([n == 0 for n, _, _ in tasks])
    if what == "which one is better":
        x = with_history(x, labels, accounts)
    rows = matched([(n, place) for n, place, _ in tasks], labels) if what == "repeats" else np.arange(len(labels))
    return attack(x[rows], labels[rows], first[rows])


def test_every_task_was_read_with_both_of_its_clips(ws, read):
    asked = {v.assignment.task_id for v in ws.store.assignments() if v.assignment.annotator_id in PEOPLE}
    accounts = [account for group in read.values() for account in group]
    assert {task for account in accounts for task in account} == asked and len(asked) == 2 * (20 + 80 + 20)
    rows = [found for account in accounts for found in account.values()]
    places = ("left", "right", "task", "state", "answer")
    assert {row[f"{place} status"] for row in rows for place in places} == {200}
    assert columns(accounts).shape[1] > 20, "there is something to learn from"


@pytest.mark.parametrize("what", WANTED)
def test_there_is_enough_to_find_and_a_hint_would_be_found(read, truth, what):
    labels = [WANTED[what](truth[task]) for account in read["production-001"] for task in account]
    assert min(sum(labels), len(labels) - sum(labels)) >= FEWEST
    assert guess(read["production-001"], truth, what, hinted=True).interval(SURE)[0] > CHANCE


def test_no_name_of_a_trajectory_a_dataset_or_a_folder_is_sent(ws, read):
    sent = json.dumps(read)
    telling = {*SOURCES, "local-files", ws.root.name, *(t.trajectory_id for t in ws.store.trajectories())}
    assert [name for name in telling if name in sent] == []


@pytest.mark.parametrize("what", WANTED)
def test_a_program_that_reads_everything_guesses_no_better_than_chance(read, truth, what):
    found = guess(read["production-001"], truth, what)
    note(what, found)
    assert found.interval(SURE)[0] <= CHANCE, f"{what}: area {found.area:.2f}"


def test_nor_does_it_guess_the_answers_of_the_calibration(read, truth):
    found = guess(read["calibration-1"], truth, "which one is better")
    note("which one is better, in calibration", found)
    assert found.interval(SURE)[0] <= CHANCE


@pytest.fixture(scope="module")
def managers_view(ws, label_studio, read):
    """The production accounts with the addresses and sizes of the clips as a manager sees them."""
    url = ws.config.label_studio.url
    with admin_session(label_studio.url, label_studio.token) as manager:

        @functools.cache
        def size(address):
            return len(manager.get(url + address).content)

        shown = {}
        for project in {v.assignment.project_id for v in ws.store.assignments("production-001")}:
            tasks = manager.get(f"{url}/api/projects/{project}/tasks/?page_size=1000").json()
            shown |= {task["id"]: task["data"] for task in tasks}

        def seen(task):
            return shown[task] | {f"{side} bytes": size(shown[task][f"video_{side}"]) for side in ("left", "right")}

        return [{task: seen(task) for task in account} for account in read["production-001"]]


@pytest.mark.parametrize("what", ["repeats", "the source of the left clip", "two clips of one source"])
def test_the_same_program_finds_them_with_what_a_manager_sees(managers_view, truth, what):
    """So it could: what annotators are sent is why it fails."""
    assert guess(managers_view, truth, what).interval(SURE)[0] > 0.7


def note(what, found):
    """For people: tests/artifacts/blind.csv."""
    ARTIFACTS.mkdir(exist_ok=True)
    low, high = found.interval(0.95)
    with (ARTIFACTS / "blind.csv").open("a", encoding="utf-8") as file:
        file.write(f"{what},{found.area:.3f},{low:.3f},{high:.3f}\n")
