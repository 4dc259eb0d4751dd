"""Claims: 10,000 assignments are pushed at no less than 0.8 of the rate of the bare bulk-import call; 10,000
annotations are pulled in one pass, with memory that does not grow with their number.

Against a real Label Studio of its own, on SQLite with the plugin's settings. The bare call sends the same 10,000 tasks
in one request to a project of its own. Pull runs in a process of its own, once for 1,000 annotations and once for
10,000, and reports its peak memory.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from preference.workspace import Workspace
    from robopref.studio import LabelStudioServer

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "makers")]

COUNT = 10_000
FEW = 3_000
"""More than two of the pages that pull reads."""
BATCH = 500
TRAJECTORIES = 200
PULL = "--pull"


def workspace(server: LabelStudioServer, name: str) -> Workspace:
    """A workspace with clips and one annotator, nothing planned."""
    from studio_maker import make_workspace

    from preference.records import Trajectory

    ws = make_workspace(server, name)
    ws.store.put_trajectories(
        Trajectory(f"d-{i:06d}", "d", i, "expert", "push", quartile=1 + i % 4, clip=f"clips/d-{i % 4:06d}.mp4")
        for i in range(TRAJECTORIES)
    )
    return ws


def plan(ws: Workspace, first: int, last: int) -> None:
    """Assignments number `first` up to `last`, in batches."""
    from preference.records import Assignment, Batch, Pair

    couples = [(i, j) for i in range(TRAJECTORIES) for j in range(i + 1, TRAJECTORIES)]
    for start in range(first, last, BATCH):
        name = f"production-{start:06d}"
        batch = Batch(name, "production", created_at=f"2026-01-01T00:{start:06d} {ws.root.name}")
        pairs, assignments = [], []
        for n in range(start, min(last, start + BATCH)):
            i, j = couples[n]
            key = f"{ws.root.name}-{n}"
            pairs.append(Pair(key, f"d-{i:06d}", f"d-{j:06d}", "push", "same", "production", name))
            assignments.append(Assignment(key, key, "ann", name, n, "A" if n % 2 else "B"))
        ws.store.put_pairs(batch, pairs, assignments)


def bare_seconds(ws: Workspace) -> float:
    """One request with the tasks that push would send."""
    from importer.studio.client import connect
    from importer.studio.queues import PLANNED, all_queues, task_of_view
    from labeling_config.contract import load_template

    (queue,) = all_queues(ws)
    trajectories = {t.trajectory_id: t for t in ws.store.trajectories()}
    body = [task_of_view(view, trajectories, ws.config) for view in queue.views]
    studio = connect(ws)
    project = studio.create_project("Bare", "", load_template("pair_compare"), "")
    start = time.perf_counter()
    studio.import_tasks(project, body, list(range(len(body))), PLANNED)
    return time.perf_counter() - start


def push_seconds(ws: Workspace) -> float:
    """The account and the project are there; what counts is the rate of tasks."""
    from importer.studio.push import push

    start = time.perf_counter()
    made = push(ws)
    if made.tasks != COUNT - 1:
        raise SystemExit(f"expected {COUNT - 1} tasks, found {made.tasks}")
    return time.perf_counter() - start


def annotate(ws: Workspace, count: int) -> None:
    """`count` tasks with an answer each, by the annotator, through Label Studio's import of annotations."""
    from importer.studio.client import connect
    from importer.studio.push import push
    from importer.studio.queues import all_queues, task_of_view
    from labeling_config.contract import result_of

    plan(ws, 0, 1)
    push(ws)  # the account and the project
    plan(ws, 1, count)
    (queue,) = all_queues(ws)
    trajectories = {t.trajectory_id: t for t in ws.store.trajectories()}
    user = ws.store.annotators()[0].studio_user_id
    said = {"result": result_of("left", 4, "It let go."), "completed_by": user, "lead_time": 6.0}
    body = [{"data": task_of_view(view, trajectories, ws.config), "annotations": [said]} for view in queue.waiting]
    path = f"api/projects/{queue.project_id}/import"
    made = connect(ws)._send("import tasks", "POST", path, json=body, params={"return_task_ids": "true"})
    ids = [view.assignment.assignment_id for view in queue.waiting]
    ws.store.set_tasks((key, queue.project_id, task) for key, task in zip(ids, made["task_ids"], strict=True))


def pull_figures(ws: Workspace, count: int) -> dict[str, float]:
    """Seconds and peak memory of a process that pulls everything."""
    settings = ws.config.label_studio
    config = ws.root / "robopref.toml"
    config.write_text(
        f'work = "{ws.root}"\n[label_studio]\nurl = "{settings.url}"\ntoken = "{settings.token.get_secret_value()}"\n'
    )
    done = subprocess.run(
        [sys.executable, __file__, PULL, str(config)], capture_output=True, text=True, check=True, cwd=ROOT
    )
    figures = json.loads(done.stdout.splitlines()[-1])
    if figures["new"] != count - 1:
        raise SystemExit(f"expected {count - 1} judgments, found {figures['new']}")
    return figures


def pull_in_this_process(config: Path) -> None:
    from importer.studio.pull import pull
    from preference.workspace import Workspace

    ws = Workspace.open(config)
    start = time.perf_counter()
    new = pull(ws).new
    seconds = time.perf_counter() - start
    print(json.dumps({"new": new, "seconds": seconds, "peak_mb": _peak_mb()}))


def _peak_mb() -> float:
    """On Linux not by getrusage, which counts the memory of the process that this one was forked from."""
    if sys.platform == "darwin":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    (peak,) = [line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line]
    return int(peak) / 1e3


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    from conftest import _clips

    from importer.studio.push import push
    from robopref.studio import LabelStudioServer

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _clips(folder / "documents" / "clips")
        with LabelStudioServer(folder / "data", folder / "documents") as server:
            ws = workspace(server, "push")
            plan(ws, 0, 1)
            push(ws)
            plan(ws, 1, COUNT)
            bare = bare_seconds(ws)
            ours = push_seconds(ws)
            figures = {"bare_s": bare, "push_s": ours, "ratio": bare / ours}
            print(f"{COUNT} tasks: bare bulk import {bare:.1f} s, push {ours:.1f} s, {bare / ours:.2f} of its rate")
            for count in (FEW, COUNT):
                pulled = workspace(server, f"pull{count}")
                annotate(pulled, count)
                found = pull_figures(pulled, count)
                figures |= {f"pull_{count}_s": found["seconds"], f"pull_{count}_peak_mb": found["peak_mb"]}
                print(f"{count} annotations pulled in {found['seconds']:.1f} s, peak memory {found['peak_mb']:.0f} MB")
    growth = figures[f"pull_{COUNT}_peak_mb"] - figures[f"pull_{FEW}_peak_mb"]
    met = figures["ratio"] >= 0.8 and growth <= 10
    target = "push ≥ 0.8 of the bare rate; pulling 10,000 annotations takes at most 10 MB more than 3,000"
    print(json.dumps({"name": "studio", "figures": figures, "target": target, "met": met}))
    sys.exit(0 if met else 1)


if __name__ == "__main__":
    if sys.argv[1:2] == [PULL]:
        pull_in_this_process(Path(sys.argv[2]))
    else:
        main()
