"""Where a project stands and a campaign's plan, as a person reads them; and the line that each command ends with."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from preference.formats import figure, number, share
from preference.workspace import Workspace
from robopref.show import print_json, say, table, warn

if TYPE_CHECKING:
    from importer.studio.pull import PullResult
    from importer.studio.push import PushResult
    from robopref.campaign import Campaign
    from robopref.status import Status, Step


def status(found: Status, as_json: bool) -> None:
    if as_json:
        print_json(found)
        return
    say(", ".join(f"{count} {name}" for name, count in found.counts.items()) + ".")
    if found.owed:
        rows = [[who.annotator_id, who.role, who.project, who.answered, who.open] for who in found.owed]
        table("\nOpen answers", ["annotator", "role", "project in Label Studio", "answered", "open"], rows)
    for note in found.notes:
        say(note, "yellow")
    say(f"\n{found.stage}")
    then(found.next, found.why, as_json)


def follow(ws: Workspace, as_json: bool) -> None:
    """What comes next, at the end of a command's output for people."""
    if as_json:
        return
    from robopref.status import next_step

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


def campaign(plan: Campaign, as_json: bool) -> None:
    """Pairs, people and hours; then what two, three or four people a pair change."""
    if as_json:
        print_json(plan)
        return
    least, most = plan.pairs
    rows = [
        ["labelled pairs", _between(least, most), f"accuracy {plan.target:.2f}: {plan.basis['pairs']}"],
        ["already labelled", number(plan.have), ""],
        ["batches", _between(*plan.batches), ""],
        ["reserve", _between(*plan.reserve), "pairs on top, for skips, discards and flags (15 to 20 %)"],
        [
            "annotators",
            str(plan.people),
            f"{plan.candidates} candidates to test, since 70 to 80 % pass" if plan.candidates else "all certified",
        ],
        ["calibration", f"{_between(*plan.calibration_h)} h", "training and tests of the candidates, 1 to 3 h each"],
        ["pace", f"{_between(*plan.hourly)} an hour", plan.basis["pace"]],
    ]
    table("Campaign", ["", "", "based on"], rows)
    paid = any(math.isfinite(row.cost[0]) for row in plan.table)
    columns = ["people a pair", "alpha", "95 % of campaigns", "pairs lost", "labels right", "answers", "hours"]
    lines = [
        [row.overlap, figure(row.alpha), f"{figure(row.alpha_low)} to {figure(row.alpha_high)}", share(row.lost),
         share(row.right), number(row.answers), _between(*row.hours), *([_between(*row.cost)] if paid else [])]
        for row in plan.table
    ]  # fmt: skip
    table(f"{number(most)} pairs, simulated", [*columns, *(["cost"] if paid else [])], lines)
    say(f"Simulated from {plan.basis['people']}. Two people a pair include a third opinion where they differ.")
    say(plan.next)


def _between(low: float, high: float) -> str:
    first, last = number(math.ceil(low)), number(math.ceil(high))
    return first if first == last else f"{first} to {last}"
