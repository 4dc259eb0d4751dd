"""Asking: calibration sets, batches, and Label Studio in both directions."""

from __future__ import annotations

from typing import Annotated

import typer

from preference.workspace import Workspace
from robopref import show
from robopref.app import ASK, DEFAULT, ConfigPath, Json, Stages, app


@app.command(rich_help_panel=ASK)
def pairs(
    plan: Annotated[bool, typer.Option("--plan", help="Only say what it would ask of whom; nothing is made.")] = False,
    fill: Annotated[
        bool, typer.Option("--fill", help="Take what a stratum lacks from the nearest one that has it.")
    ] = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="Only as many as were lost, of the same strata; see `robopref resolve`.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Open a batch although the one before is not accepted; recorded.")
    ] = False,
    config: ConfigPath = DEFAULT,
    json: Json = False,
) -> None:
    """Make the next batch: stratified pairs, gold items, duplicates, and who gets which.

    Production pairs go to certified annotators only: `robopref calibration build` comes first. With `--replace` it
    makes up for pairs that were discarded as ambiguous, skipped by everybody, or left out by a review.
    """
    from importer.pairs import batches
    from importer.pairs.annotators import add_annotators

    ws = Workspace.open(config)
    if plan:
        show.draft(batches.draft(ws, fill=fill), json)
        return
    add_annotators(ws)
    if not replace:
        show.batches(ws, [batches.next_batch(ws, force=force, fill=fill)], json)
        return
    from qc_reports.resolve import lost

    made = batches.replacement_batch(ws, lost(ws), force=force, fill=fill)
    show.batches(ws, [made] if made else [], json)
    if made is None and not json:
        show.say("No pair was lost that is not replaced.")


calibration_app = typer.Typer(cls=Stages, no_args_is_help=True, help="What annotators learn from and are tested on.")
app.add_typer(calibration_app, name="calibration", rich_help_panel=ASK)


@calibration_app.command("build")
def calibration_build(
    config: ConfigPath = DEFAULT,
    json: Json = False,
) -> None:
    """Propose a training set and two test sets, and give them to whom they are due.

    The expert gets all three first. Run it again when the expert has answered the training set: then every annotator
    gets the training set, which shows the expert's answer and reasoning after their own, and the first test set.
    """
    from importer.calibration import build as calibrate
    from importer.pairs.annotators import add_annotators

    ws = Workspace.open(config)
    add_annotators(ws)
    made = calibrate.build(ws)
    show.batches(ws, made, json)
    if (waiting := calibrate.waiting_for_expert(ws)) and not json:
        show.say(f"Now `robopref push`. The expert answers {waiting} training pairs; then run this again.")


@app.command(rich_help_panel=ASK)
def push(
    repair: Annotated[
        bool, typer.Option("--repair", help="Make again what was deleted in Label Studio and is not answered yet.")
    ] = False,
    config: ConfigPath = DEFAULT,
    json: Json = False,
) -> None:
    """Bring everything planned into Label Studio: users, projects, tasks."""
    from importer.studio import push as studio
    from ml_backend.loop.queue_order import queue_scores

    ws = Workspace.open(config)
    show.record(studio.push(ws, repair=repair, scores=queue_scores(ws)), json)


@app.command(rich_help_panel=ASK)
def pull(
    config: ConfigPath = DEFAULT,
    json: Json = False,
) -> None:
    """Fetch the answers; what the webhook already brought is not fetched twice."""
    from importer.studio import pull as studio

    show.record(studio.pull(Workspace.open(config)), json)


@app.command(rich_help_panel=ASK)
def simulate(
    batch: Annotated[str, typer.Option(help="Only this batch; default: all open tasks.")] = "",
    config: ConfigPath = DEFAULT,
    json: Json = False,
) -> None:
    """Let the simulated annotators of robopref.toml answer their open tasks, through Label Studio's API."""
    from importer.simulate.answering import simulate as run

    show.record(run(Workspace.open(config), batch or None), json)
