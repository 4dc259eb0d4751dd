"""A workspace behind the service, and what Label Studio would send to it."""

import base64

from labeling_config.contract import result_of
from preference.records import Annotator, Assignment, Batch, Pair, Trajectory
from preference.workspace import Workspace

SECRET, PASSWORD, CONSOLE_SECRET = "webhook-secret", "backend-password", "console-secret"
BASIC = {"Authorization": "Basic " + base64.b64encode(f"robopref:{PASSWORD}".encode()).decode()}
HEADER = {"X-Robopref-Secret": SECRET}
SECRETS = f"webhook_secret = '{SECRET}'\nconsole_secret = '{CONSOLE_SECRET}'\n"
TOML = f"[service]\npassword = '{PASSWORD}'\n{SECRETS}[annotators]\nexpert = 'e'\n"


def planned(folder, more="", url="http://127.0.0.1:9"):
    """A workspace in which alice has three tasks; its Label Studio is at `url`, by default nowhere."""
    (folder / "robopref.toml").write_text(more + TOML + f"[label_studio]\nurl = '{url}'\ntoken = 'x'\n")
    ws = Workspace.open(folder / "robopref.toml")
    ws.store.put_trajectories([Trajectory(f"t{i}", "d", i, "expert", "push") for i in range(4)])
    ws.store.put_annotators([Annotator("alice", "alice@example.org", studio_user_id=5)])
    pairs = [Pair(f"p{i}", f"t{i}", f"t{i + 1}", "push", "same", "production", "production-001") for i in range(3)]
    assignments = [
        Assignment(f"x{i}", f"p{i}", "alice", "production-001", i, "B", project_id=2, task_id=10 + i) for i in range(3)
    ]
    ws.store.put_pairs(Batch("production-001", "production"), pairs, assignments)
    return ws


def annotation(side="left", identifier=77, task=10):
    return {
        "id": identifier, "task": task, "completed_by": 5, "lead_time": 8.5, "was_cancelled": False,
        "created_at": "2026-01-01T10:00:00Z", "result": result_of(side, 4, "steadier"),
    }  # fmt: skip


def event(action, **rest):
    return {"action": action, **rest}
