"""Claim: with the plugin's settings, twelve annotators at once give 1,000 judgments to Label Studio on its own SQLite
without one error.

Against a real Label Studio, once with the plugin's settings and once as it comes from PyPI, in the same run. Each
simulated annotator has one project and does by HTTP what the screen does: ask for the next task, save a draft, submit.
They pause for nothing, so the rate is the server's; people need half a minute for a pair. What failed is not sent
again, so that every error counts once.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "makers")]

ANNOTATORS, JUDGMENTS = 12, 1_000
PATIENCE_S = 60.0


@dataclass
class Seen:
    """What one annotator met."""

    next_s: list[float] = field(default_factory=list)
    submit_s: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


def annotate(session: httpx.Client, url: str, project: int, tasks: int, seen: Seen) -> None:
    """Through the queue of `project` until it is empty, or for one try per task."""
    from labeling_config.contract import result_of

    for _ in range(tasks):
        task = timed(session, f"{url}/api/dm/actions/?id=next_task&project={project}", {}, seen.next_s, seen.errors)
        if task is None:
            continue
        answer = {"result": result_of("left", 4), "lead_time": 20.0}
        draft = timed(session, f"{url}/api/tasks/{task['id']}/drafts?project={project}", answer, [], seen.errors)
        answer |= {"draft_id": draft["id"]} if draft else {}
        timed(
            session, f"{url}/api/tasks/{task['id']}/annotations/?project={project}", answer, seen.submit_s, seen.errors
        )


def timed(session: httpx.Client, address: str, body: dict, took: list[float], errors: list[str]) -> dict | None:
    start = time.perf_counter()
    try:
        reply = session.post(address, json=body, timeout=PATIENCE_S)
    except httpx.HTTPError as error:
        errors.append(type(error).__name__)
        return None
    took.append(time.perf_counter() - start)
    if reply.status_code >= 400:
        errors.append(f"HTTP {reply.status_code}")
        return None
    return reply.json()


def measure(annotators: int, judgments: int, *, plugin: bool) -> dict[str, float]:
    from conftest import _clips
    from screen_maker import PASSWORD, annotations, make_project

    from importer.studio.users import annotator_session
    from robopref.studio import LabelStudioServer

    share = -(-judgments // annotators)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _clips(folder / "documents" / "clips")
        with LabelStudioServer(folder / "data", folder / "documents", plugin=plugin) as server:
            emails = [f"annotator-{n:02d}@example.com" for n in range(annotators)]
            projects = [make_project(server, email, email, tasks=share) for email in emails]
            sessions = [annotator_session(server.url, email, PASSWORD) for email in emails]
            seen = [Seen() for _ in emails]
            threads = [
                threading.Thread(target=annotate, args=(session, server.url, project, share, one))
                for session, project, one in zip(sessions, projects, seen, strict=True)
            ]
            start = time.perf_counter()
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            seconds = time.perf_counter() - start
            answers = [len(own) for project in projects for own in annotations(server, project).values()]
    saved = sum(answers)
    return {
        "judgments": saved,
        "per_s": saved / seconds,
        "next_p95_s": float(np.quantile([s for one in seen for s in one.next_s], 0.95)),
        "submit_p95_s": float(np.quantile([s for one in seen for s in one.submit_s], 0.95)),
        "unanswered_tasks": answers.count(0),
        "doubled_answers": sum(count - 1 for count in answers if count > 1),
        "errors": sum(len(one.errors) for one in seen),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--annotators", type=int, default=ANNOTATORS)
    parser.add_argument("--judgments", type=int, default=JUDGMENTS)
    asked = parser.parse_args()
    columns = ("judgments", "per_s", "next_p95_s", "submit_p95_s", "unanswered_tasks", "doubled_answers", "errors")
    print(f"{'':<24}" + "".join(f"{name:>18}" for name in columns))
    figures: dict[str, float] = {}
    for key, label in (("plugin", "the plugin's settings"), ("stock", "as it comes")):
        found = measure(asked.annotators, asked.judgments, plugin=key == "plugin")
        print(f"{label:<24}" + "".join(f"{found[name]:>18.2f}" for name in columns))
        figures |= {f"{key}_{name}": round(value, 3) for name, value in found.items()}
    met = (
        figures["plugin_errors"] == figures["plugin_doubled_answers"] == 0
        and figures["plugin_judgments"] >= asked.judgments
    )
    target = f"{asked.annotators} annotators give {asked.judgments} judgments without one error"
    print(json.dumps({"name": "annotators", "figures": figures, "target": target, "met": met}))
    sys.exit(0 if met else 1)


if __name__ == "__main__":
    main()
