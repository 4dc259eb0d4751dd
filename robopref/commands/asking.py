"""Asking: calibration sets, batches, and Label Studio in both directions."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from preference.config_file import outside_protocol
from preference.workspace import Workspace
from robopref import show, show_status
from robopref.app import ASK, DEFAULT, ConfigPath, Json, Stages, app
from robopref.show_status import follow


@app.command(rich_help_panel=ASK)
def pairs(
    plan: Annotated[bool, typer.Option("--plan", help="Only show the batch and each annotator's share.")] = False,
    fill: Annotated[
        bool, typer.Option("--fill", help="If a stratum has too few pairs, take them from the nearest one.")
    ] = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="Only replace lost pairs, from the same strata; see `robopref resolve`.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Even if the previous batch is not accepted; this is recorded.")
    ] = False,
    config: ConfigPath = DEFAULT,
    json: Json = False,
) -> None:
    """Create the next batch: stratified pairs, gold items, duplicates, and assignments.

    Only certified annotators get production pairs, so `robopref calibration build` comes first. `--replace` makes up
    for pairs that were discarded as ambiguous, skipped by everybody, or left out by a review.
    """
    from importer.pairs import batches
    from importer.pairs.annotators import add_annotators

    ws = Workspace.open(config)
    if plan:
        show.draft(batches.draft(ws, fill=fill), json)
        return
    add_annotators(ws)
    if not json:
        show.warn(outside_protocol(ws.config, "pairs"))
    if not replace:
        show.batches(ws, [batches.next_batch(ws, force=force, fill=fill)], json)
        follow(ws, json)
        return
    from qc_reports.resolve import lost

    made = batches.replacement_batch(ws, lost(ws), force=force, fill=fill)
    show.batches(ws, [made] if made else [], json)
    if made is None and not json:
        show.say("Nothing to replace: no pair was lost since the last replacement.")


@app.command(rich_help_panel=ASK)
def plan(
    target: Annotated[
        float, typer.Option(help="Accuracy on held-out pairs; default: 0.75, or 0.65 with several task types.")
    ] = 0.0,
    people: Annotated[int, typer.Option(help="Annotators; default: those certified, or those named.")] = 0,
    pairs: Annotated[int, typer.Option(help="Labelled pairs; default: what the target takes.")] = 0,
    wage: Annotated[float | None, typer.Option(help="Per hour, in any currency: shows costs.")] = None,
    config: ConfigPath = DEFAULT,
    json: Json = False,
) -> None:
    """Plan the campaign: pairs, people, hours and cost, and what two, three or four people a pair change.

    Before there are answers it goes by the protocol's figures and typical people. Later it simulates the people at
    hand and extrapolates the learning curve, and says whether to scale up.

    Example: `robopref plan --people 6 --wage 25`
    """
    from robopref.campaign import campaign

    ws = Workspace.open(config)
    show_status.campaign(campaign(ws, target=target, people=people, pairs=pairs, wage=wage), json)


calibration_app = typer.Typer(
    cls=Stages, no_args_is_help=True, help="Sets that annotators learn from and are tested on."
)
app.add_typer(calibration_app, name="calibration", rich_help_panel=ASK)


@calibration_app.command("build")
def calibration_build(config: ConfigPath = DEFAULT, json: Json = False) -> None:
    """Create a training set and two test sets, and assign them.

    The expert gets all three first. Run it again after the expert has answered the training set: every annotator then
    gets the training set, which shows the expert's answer and reasoning after their own, and the first test set.
    """
    from importer.calibration import build as calibrate
    from importer.pairs.annotators import add_annotators

    ws = Workspace.open(config)
    add_annotators(ws)
    made = calibrate.build(ws)
    show.batches(ws, made, json)
    if not json:
        show.warn(outside_protocol(ws.config, "calibration"))
    if (waiting := calibrate.waiting_for_expert(ws)) and not json:
        show.say(f"When the expert has answered {waiting} training pairs, run this again for the annotators.")
    follow(ws, json)


@app.command(rich_help_panel=ASK)
def push(
    repair: Annotated[
        bool, typer.Option("--repair", help="Recreate unanswered tasks and projects that were deleted in Label Studio.")
    ] = False,
    config: ConfigPath = DEFAULT,
    json: Json = False,
) -> None:
    """Create users, projects and tasks in Label Studio."""
    from importer.studio import push as studio
    from importer.studio.clip_check import clip_trouble
    from ml_backend.loop.queue_order import publish

    ws = Workspace.open(config)
    made = studio.push(ws, repair=repair, scores=publish(ws))
    trouble = clip_trouble(ws)
    show_status.pushed(ws, made, json)
    if trouble:
        raise trouble
    follow(ws, json)


@app.command(rich_help_panel=ASK)
def pull(config: ConfigPath = DEFAULT, json: Json = False) -> None:
    """Fetch answers from Label Studio that are not in the database yet."""
    from importer.studio import pull as studio

    ws = Workspace.open(config)
    show_status.pulled(ws, studio.pull(ws), json)
    follow(ws, json)


import_app = typer.Typer(cls=Stages, no_args_is_help=True, help="Import judgments made elsewhere.")
app.add_typer(import_app, name="import", rich_help_panel=ASK)


@import_app.command("judgments")
def import_judgments(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="CSV or JSON Lines.")],
    source: Annotated[str, typer.Option(help="Who asked; default: the name of the file.")] = "",
    config: ConfigPath = DEFAULT,
    json: Json = False,
) -> None:
    """Make a batch of judgments from elsewhere about trajectories of the pool.

    It goes through the same quality control, resolution and training as any other. Columns: trajectory_a_id,
    trajectory_b_id, annotator_id, preference (A, B, equal), and if known confidence, response_time_ms,
    free_text_reason, created_at, left. Answers that were imported before are skipped.

    Example: `robopref import judgments kitchen_study.csv --source kitchen-study`
    """
    from importer.pairs import imported

    ws = Workspace.open(config)
    show.record(imported.import_judgments(ws, file, source=source), json)
    follow(ws, json)


@app.command(rich_help_panel=ASK)
def simulate(
    batch: Annotated[str, typer.Option(help="Only this batch; default: all open tasks.")] = "",
    config: ConfigPath = DEFAULT,
    json: Json = False,
) -> None:
    """Let simulated annotators answer their open tasks through Label Studio's API.

    They need a dataset with the simulator's return, and are named under [annotators] in robopref.toml, such as
    `simulated = [{ id = "ann", teacher = "good" }]`; the expert may be one of them. Teachers: expert, good, oracle,
    mistake, noisy, skip, myopic, equal, careless, left_biased.
    """
    from importer.simulate.answering import simulate as run

    ws = Workspace.open(config)
    show.record(run(ws, batch or None), json)
    follow(ws, json)
