"""A small workspace with pairs and assignments, whose clips a Label Studio of the tests can serve."""

import contextlib
import shutil
import sqlite3
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from paths import MAKERS
from shared_maker import make_once

import robopref.studio
from importer.studio.client import connect
from importer.studio.push import credentials
from importer.studio.queues import all_queues
from importer.studio.users import annotator_session
from labeling_config.contract import result_of
from preference.config import Config
from preference.records import Annotator, Assignment, Batch, Pair, Trajectory
from preference.workspace import Workspace
from robopref.studio import LabelStudioServer

SECRET = "quiet-otters"


def make_workspace(server, name, *, simulated=("ann",), expert=None, database=""):
    """A workspace in the server's document root: four trajectories with clips, the people, nothing planned."""
    root = Path(server.document_root) / name
    (root / "clips").mkdir(parents=True)
    for index in range(4):
        source = Path(server.document_root) / "clips" / ("ab"[index % 2] + ".mp4")
        shutil.copy(source, root / "clips" / f"d-{index:06d}.mp4")
    studio = {"url": server.url, "token": server.token, "document_root": str(server.document_root)}
    settings = {"work": root, "database": database, "label_studio": studio, "service": {"webhook_secret": SECRET}}
    ws = Workspace(Config.model_validate(settings))
    ws.store.put_trajectories(
        Trajectory(
            f"d-{i:06d}", "d", i, "expert", "push", quartile=i + 1, clip=f"clips/d-{i:06d}.mp4", true_return=float(i)
        )
        for i in range(4)
    )
    people = [Annotator(who, f"{who}.{name}@annotators.example", teacher="oracle") for who in simulated]
    if expert:
        people.append(Annotator(expert, f"{expert}.{name}@annotators.example", role="expert", teacher="expert"))
    ws.store.put_annotators(people)
    return ws


def plan(ws, batch_id, annotator, count, kind="production", start=0, tag="", dimension=""):
    """`count` pairs of this batch for the annotator; every second with B on the left, the third again at the end."""
    pairs, assignments = [], []
    for i in range(count):
        a, b = [(0, 1), (1, 2), (2, 3), (0, 2), (1, 3), (0, 3)][i % 6]
        pair = Pair(f"{batch_id}-{i}", f"d-{a:06d}", f"d-{b:06d}", "push", "distant", kind, batch_id, "B",
                    dimension=dimension)  # fmt: skip
        pairs.append(pair)
        key = f"{ws.root.name}-{annotator}-{tag or batch_id[:1]}-{i}"
        assignments.append(Assignment(key, pair.pair_id, annotator, batch_id, start + i, "AB"[i % 2]))
    if count > 2:
        again, side = assignments[2], "B" if assignments[2].left == "A" else "A"
        key = f"{again.assignment_id}-x"
        assignments.append(
            Assignment(key, again.pair_id, annotator, batch_id, start + count, side, again.assignment_id)
        )
    batch = Batch(
        batch_id,
        "production" if kind == "gold" else kind,
        created_at=f"2026-01-01T00:00:{len(ws.store.batches()):02d} {ws.root.name}",
    )
    known = {b.batch_id: b for b in ws.store.batches()}
    ws.store.put_pairs(known.get(batch_id, batch), pairs, assignments)
    return assignments


def tasks_in(ws):
    """`assignment_id` → ids of its tasks, of every project of the workspace, as Label Studio has them."""
    found = {}
    for queue in all_queues(ws):
        for key, ids in connect(ws).tasks(queue.project_id).items():
            found.setdefault(key, []).extend(ids)
    return found


def exactly_one_task_each(ws):
    kept = {v.assignment.assignment_id: [v.assignment.task_id] for v in ws.store.assignments()}
    return tasks_in(ws) == kept and None not in {task for (task,) in kept.values()}


def sign_in(ws, who):
    annotator = next(a for a in ws.store.annotators() if a.annotator_id == who)
    return annotator_session(ws.config.label_studio.url, annotator.email, credentials(ws)[annotator.email])


def serve(ws, session, project_id):
    """The next task as "Label All Tasks" asks for it."""
    answer = session.post(f"{ws.config.label_studio.url}/api/dm/actions/?id=next_task&project={project_id}", json={})
    return answer.json() if answer.is_success else None


def answer(ws, session, task_id, side="left", **body):
    body = {"result": result_of(side, 4), "lead_time": 5.0, **body}
    made = session.post(f"{ws.config.label_studio.url}/api/tasks/{task_id}/annotations/", json=body)
    assert made.status_code == 201, made.text
    return made.json()["id"]


class QuickStudio(LabelStudioServer):
    """Finds its tables made when it starts for the first time: migrating takes 20 s of CPU."""

    def _spawn(self):
        told = robopref.studio.environment(self.data_dir, self.document_root, {}, plugin=True)
        subprocess.run([sys.executable, MAKERS / "quick_studio.py"], env=told, check=True, timeout=300)
        super()._spawn()


def tables(data):
    """Of the database in the data folder: table → its columns, foreign keys and indices; and the migrations in it."""
    with contextlib.closing(sqlite3.connect(data / "label_studio.sqlite3")) as database:

        def rows(statement, *arguments):
            return sorted(map(repr, database.execute(statement, arguments)))

        names = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        columns = "SELECT name, type, [notnull], dflt_value, pk FROM pragma_table_info(?)"
        keys = "SELECT [table], [from], [to], on_update, on_delete FROM pragma_foreign_key_list(?)"
        indices = "SELECT i.[unique], i.partial, c.name FROM pragma_index_list(?) i, pragma_index_info(i.name) c"
        found = {name: [rows(statement, name) for statement in (columns, keys, indices)] for name in names}
        return found, rows("SELECT app, name FROM django_migrations")


def kept_studio(cache):
    """The data folder in `cache` of a Label Studio of this version that was started once and never used."""

    def make(folder):
        first = cache / "first"
        shutil.rmtree(first, ignore_errors=True)  # of a run that was killed
        with QuickStudio(first, cache / "documents"):
            copy_studio(first, folder)
        shutil.rmtree(first)

    return make_once(cache, version("label-studio"), make)


def copy_studio(data, target):
    """Copy the data folder of a Label Studio, which may be running, into the folder `target`."""
    target.mkdir(parents=True, exist_ok=True)
    with (
        contextlib.closing(sqlite3.connect(data / "label_studio.sqlite3")) as source,
        contextlib.closing(sqlite3.connect(target / "label_studio.sqlite3")) as copy,
    ):
        source.backup(copy)
    for name in ("credentials.json", ".env"):
        shutil.copy2(data / name, target)
    return target
