"""Claims: 10,000 assignments are pushed at no less than 0.8 of the rate of the bare bulk-import call; 10,000
annotations are pulled in one pass, with memory that does not grow with their number.

Against a real Label Studio of its own, on SQLite with the plugin's settings. The bare call sends the same 10,000 tasks
in one request to a project of its own. Pull runs in a process of its own, once for 1,000 annotations and once for
10,000, and reports its peak memory.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tests"))

COUNT = 10_000
FEW = 1_000
BATCH = 500
PULL = "--pull"


def workspace(server, name: str, count: int):
    """`count` assignments of one annotator, in batches."""
    from studio_maker import make_workspace

    from preference.records import Assignment, Batch, Pair, Trajectory

    ws = make_workspace(server, name)
    size = 200
    ws.store.put_trajectories(
        Trajectory(f"d-{i:06d}", "d", i, "expert", "push", quartile=1 + i % 4, clip=f"clips/d-{i % 4:06d}.mp4")
        for i in range(size)
    )
    couples = [(i, j) for i in range(size) for j in range(i + 1, size)][:count]
    for start in range(0, count, BATCH):
        batch = Batch(f"production-{start // BATCH:03d}", "production", created_at=f"2026-01-01T00:{start:06d} {name}")
        pairs, assignments = [], []
        for n, (i, j) in enumerate(couples[start : start + BATCH]):
            key = f"{name}-{start + n}"
            pairs.append(Pair(key, f"d-{i:06d}", f"d-{j:06d}", "push", "same", "production", batch.batch_id))
            assignments.append(Assignment(key, key, "ann", batch.batch_id, n, "AB"[n % 2]))
        ws.store.put_pairs(batch, pairs, assignments)
    return ws


def bare_seconds(server, ws) -> float:
    """One request with the tasks that push would send."""
    from importer.queues import PLANNED, task_of_view
    from importer.studio_connection import all_queues, connect
    from labeling_config.contract import load_template

    (queue,) = all_queues(ws)
    trajectories = {t.trajectory_id: t for t in ws.store.trajectories()}
    body = [task_of_view(view, trajectories, ws.config) for view in queue.views]
    studio = connect(ws)
    project = studio.create_project("Bare", "", load_template("pair_compare"), "")
    start = time.perf_counter()
    studio.import_tasks(project, body, list(range(len(body))), PLANNED)
    return time.perf_counter() - start


def push_seconds(ws) -> float:
    from importer.studio_stages import push

    start = time.perf_counter()
    made = push(ws)
    if made.tasks != COUNT:
        raise SystemExit(f"expected {COUNT} tasks, found {made.tasks}")
    return time.perf_counter() - start


def annotate(server, ws) -> None:
    """An answer to every task, by the annotator, through Label Studio's import of annotations."""
    from importer.queues import task_of_view
    from importer.studio_connection import all_queues, connect
    from importer.studio_stages import push
    from labeling_config.contract import result_of

    (queue,) = all_queues(ws)
    trajectories = {t.trajectory_id: t for t in ws.store.trajectories()}
    keep = queue.views[0].assignment.assignment_id
    ws.store.set_tasks((view.assignment.assignment_id, 1, 10**9 + n) for n, view in enumerate(queue.views[1:]))
    push(ws)  # the account and the project, with one task
    studio, (made,) = connect(ws), [v.assignment for v in ws.store.assignments() if v.assignment.assignment_id == keep]
    user = ws.store.annotators()[0].studio_user_id
    said = {"result": result_of("left", 4, "It let go."), "completed_by": user, "lead_time": 6.0}
    body = [{"data": task_of_view(view, trajectories, ws.config), "annotations": [said]} for view in queue.views[1:]]
    path = f"api/projects/{made.project_id}/import"
    tasks = studio._send("import tasks", "POST", path, json=body, params={"return_task_ids": "true"})["task_ids"]
    ids = [view.assignment.assignment_id for view in queue.views[1:]]
    ws.store.set_tasks((key, made.project_id, task) for key, task in zip(ids, tasks, strict=True))


def pull_figures(ws, count: int) -> dict[str, float]:
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
    from importer.studio_stages import pull
    from preference.workspace import Workspace

    ws = Workspace.open(config)
    start = time.perf_counter()
    new = pull(ws).new
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    print(json.dumps({"new": new, "seconds": time.perf_counter() - start, "peak_mb": peak}))


def main() -> None:
    from conftest import _two_clips

    from robopref.studio import LabelStudioServer

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _two_clips(folder / "documents" / "clips")
        with LabelStudioServer(folder / "data", folder / "documents") as server:
            ws = workspace(server, "push", COUNT)
            bare = bare_seconds(server, ws)
            ours = push_seconds(ws)
            figures = {"bare_s": bare, "push_s": ours, "ratio": bare / ours}
            print(f"{COUNT} tasks: bare bulk import {bare:.1f} s, push {ours:.1f} s, {bare / ours:.2f} of its rate")
            for count in (FEW, COUNT):
                pulled = workspace(server, f"pull{count}", count)
                annotate(server, pulled)
                found = pull_figures(pulled, count)
                figures |= {f"pull_{count}_s": found["seconds"], f"pull_{count}_peak_mb": found["peak_mb"]}
                print(f"{count} annotations pulled in {found['seconds']:.1f} s, peak memory {found['peak_mb']:.0f} MB")
    growth = figures[f"pull_{COUNT}_peak_mb"] - figures[f"pull_{FEW}_peak_mb"]
    met = figures["ratio"] >= 0.8 and growth < 40
    target = "push ≥ 0.8 of the bare rate; pulling 9,000 annotations more takes less than 40 MB more"
    print(json.dumps({"name": "studio", "figures": figures, "target": target, "met": met}))
    sys.exit(0 if met else 1)


if __name__ == "__main__":
    if sys.argv[1:2] == [PULL]:
        pull_in_this_process(Path(sys.argv[2]))
    else:
        main()
