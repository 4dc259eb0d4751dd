"""Where a project stands, as a person reads it; and the line that each command ends with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from preference.workspace import Workspace
from robopref.show import print_json, say, table, warn

if TYPE_CHECKING:
    from importer.studio.pull import PullResult
    from importer.studio.push import PushResult
    from ml_backend.loop.status import Status, Step


def status(found: Status, as_json: bool) -> None:
    if as_json:
        print_json(found)
        return
    say(", ".join(f"{count} {name}" for name, count in found.counts.items()) + ".")
    if found.owed:
        rows = [[who.annotator_id, who.role, who.project, who.answered, who.open] for who in found.owed]
        table("\nOpen answers", ["annotator", "role", "project in Label Studio", "answered", "open"], rows)
    warn(found.notes)
    say(f"\n{found.stage}")
    then(found.next, found.why, as_json)


def follow(ws: Workspace, as_json: bool) -> None:
    """What comes next, at the end of a command's output for people."""
    if as_json:
        return
    from ml_backend.loop.status import next_step

    step: Step = next_step(ws)
    say(step.stage)
    then(step.command, step.why, as_json)


def then(command: str, why: str, as_json: bool) -> None:
    """The successor of a command, where the project's own state does not say it."""
    if not as_json:
        say(f"Next: `{command}`{f'. {why}' if why else ''}")


def pushed(ws: Workspace, result: PushResult, as_json: bool) -> None:
    """What push made, and what the manager tells people."""
    if as_json:
        print_json(result)
        return
    if result.users or result.projects or result.tasks:
        say(f"{result.users} accounts, {result.projects} projects and {result.tasks} tasks made.")
    else:
        say("Nothing was missing in Label Studio.")  # the worker may have pushed it already
    passwords = ws.root / "credentials.json"
    if result.tasks or passwords.exists():
        say(f"People sign in at {ws.config.label_studio.address} with their e-mail address.")
        if passwords.exists():
            say(f"Passwords of the accounts that Robopref made: {passwords} (only you can read it).")


def pulled(ws: Workspace, result: PullResult, as_json: bool) -> None:
    """What pull fetched; webhooks may have brought the rest before."""
    if as_json:
        print_json(result)
        return
    say(f"{result.new} answers fetched, {result.updated} changed, {result.rejected} rejected; "
        f"{ws.store.count_judgments()} in all, with those that webhooks brought.")  # fmt: skip
    warn(result.notes)


def unfinished(ws: Workspace, batch_id: str) -> None:
    """Why nobody could be certified on this set yet."""
    roles = {annotator.annotator_id: annotator.role for annotator in ws.store.annotators()}
    counts = [
        f"{name} {answered} of {answered + waiting}"
        for name, batch, answered, waiting in ws.store.progress_by_annotator()
        if batch == batch_id and roles[name] != "expert"
    ]
    say(f"Nobody has answered all of {batch_id}: {', '.join(counts) or 'no annotator has it yet'}.")
