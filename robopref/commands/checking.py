"""Checking: who may annotate, whether a batch is good, and one label per pair."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from preference.config import Config
from preference.config_file import load_config
from preference.errors import NotReady
from preference.workspace import Workspace
from robopref import show, show_checks, show_status
from robopref.app import CHECK, DEFAULT, ConfigPath, Json, Stages, app
from robopref.show_status import follow, then

certify_app = typer.Typer(cls=Stages)
app.add_typer(certify_app, name="certify", rich_help_panel=CHECK)
Person = Annotated[str, typer.Argument(help="Id of the annotator.")]
By = Annotated[str, typer.Option("--by", help="Who decides; required and recorded.")]
Why = Annotated[str, typer.Option("--why", help="The reason; required and recorded.")]


@certify_app.callback(invoke_without_command=True)
def certify(
    context: typer.Context,
    batch: Annotated[str, typer.Option(help="The calibration set.")] = "calibration-1",
    retest: Annotated[
        bool,
        typer.Option(
            "--retest",
            help="Give those not certified what comes next: more pairs, or a second training and the second set.",
        ),
    ] = False,
    config: ConfigPath = DEFAULT,
    json: Json = False,
) -> None:
    """Certify annotators by Cohen's kappa with the expert, and list what the others should review.

    The interval decides: certified, refused, or undecided. `--retest` gives the undecided the rest of their set, and
    after that the second set. Whoever was refused gets a second training, with the missed pairs and the expert's
    answers, and then the second set.
    """
    from importer.calibration import build as calibrate
    from qc_reports import certification

    if context.invoked_subcommand is not None:
        return
    ws = Workspace.open(config)
    results = certification.certify(ws, batch)
    if retest and (failed := [r.annotator_id for r in results if not r.certified]):
        calibrate.retest(ws, failed)
    links = {r.annotator_id: certification.review_links(ws, r) for r in results if not r.certified}
    again = [] if json else [r.annotator_id for r in calibrate.to_retest(ws)]
    show_checks.certifications(results, links, certification.effort(ws), again, json)
    if not results and not json:
        show_status.unfinished(ws, batch)
    follow(ws, json)


@certify_app.command("list")
def certify_list(config: ConfigPath = DEFAULT, json: Json = False) -> None:
    """List all attempts with their set, date, template and managers' decisions."""
    from qc_reports.certification import template_version

    ws = Workspace.open(config)
    show_checks.certificates(ws.store.certifications(), template_version(), json)
    follow(ws, json)


@certify_app.command("allow")
def certify_allow(annotator: Person, by: By = "", why: Why = "", config: ConfigPath = DEFAULT) -> None:
    """Allow an annotator who failed twice another attempt, on a new set.

    Example: `robopref certify allow bob --by maria --why "was ill during the second session"`
    """
    from importer.calibration import build as calibrate
    from qc_reports import certification

    ws = Workspace.open(config)
    attempt = certification.allow_attempt(ws, annotator, by=by, why=why)
    calibrate.further_set(ws, annotator, attempt.attempt)
    show.say(f"{annotator} may try {attempt.batch_id}. Next: `robopref push`; the expert answers the set first.")


@certify_app.command("revoke")
def certify_revoke(annotator: Person, by: By = "", why: Why = "", config: ConfigPath = DEFAULT) -> None:
    """Revoke a certificate: no new pairs, and open ones go to others with the next round. Past answers stay.

    Example: `robopref certify revoke bob --by maria --why "copied answers in production-002"`
    """
    from qc_reports import certification

    ws = Workspace.open(config)
    record = certification.revoke(ws, annotator, by=by, why=why)
    show.say(f"{annotator} is no longer certified ({record.revoked}).")
    follow(ws, as_json=False)


@app.command(rich_help_panel=CHECK)
def qc(
    batch: Annotated[str, typer.Option(help="Default: the newest batch.")] = "",
    judgments: Annotated[
        Path | None, typer.Option("--judgments", help="Check this CSV file instead; needs no project.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="With --judgments: folder for the report.")] = None,
    config: ConfigPath = DEFAULT,
    json: Json = False,
) -> None:
    """Check a batch (agreement, gold items, speed, self-consistency), write its report, and accept or hold it.

    A file of judgments from elsewhere needs the columns pair_id, annotator_id and preference (A, B, equal). Optional:
    confidence, response_time_ms, gold, duplicate_of, left, created_at, stratum, task_type.

    Example: `robopref qc --judgments judgments.csv --out report`
    """
    if judgments is not None:
        if batch:
            raise typer.BadParameter("give one of the two", param_hint="--batch / --judgments")
        from qc_reports.report.judgments_file import check_file

        settings = load_config(config) if config.exists() or config != DEFAULT else Config()
        rng = np.random.default_rng(settings.seed)
        show_checks.judgments_file(check_file(judgments, settings.quality, rng=rng, out=out), out, json)
        return
    from qc_reports.qc import qc as check

    ws = Workspace.open(config)
    show_checks.quality(ws, check(ws, batch or _newest(ws)), json)
    follow(ws, json)


def _newest(ws: Workspace) -> str:
    """Id of the newest production or active batch."""
    asked = [batch.batch_id for batch in ws.store.batches(calibration=False)]
    if not asked:
        raise NotReady("There is no batch yet.", fix="Run `robopref pairs` first.")
    return asked[-1]


batch_app = typer.Typer(cls=Stages, no_args_is_help=True, help="List batches, decide about them, review annotators.")
app.add_typer(batch_app, name="batch", rich_help_panel=CHECK)
BatchId = Annotated[str, typer.Argument(help="Such as production-001.")]


@batch_app.command("list")
def batch_list(config: ConfigPath = DEFAULT, json: Json = False) -> None:
    """List batches with their status, its reasons, managers' decisions, and pending reviews."""
    ws = Workspace.open(config)
    show_checks.batch_list(ws, json)
    follow(ws, json)


@batch_app.command("accept")
def batch_accept(batch: BatchId, by: By = "", why: Why = "", config: ConfigPath = DEFAULT, json: Json = False) -> None:
    """Accept a batch that QC held. The decision is recorded and holds until the next one.

    Judgments that await a review stay left out until `robopref batch review`.

    Example: `robopref batch accept production-001 --by maria --why "the task is ambiguous, the labels are good"`
    """
    from qc_reports.decisions import decide

    ws = Workspace.open(config)
    show_checks.decided(ws, batch, decide(ws, batch, "accepted", by=by, why=why), json)
    follow(ws, json)


@batch_app.command("hold")
def batch_hold(batch: BatchId, by: By = "", why: Why = "", config: ConfigPath = DEFAULT, json: Json = False) -> None:
    """Hold a batch. Until it is accepted, no further batch is created and its labels are not used for training.

    Example: `robopref batch hold production-002 --by maria --why "the camera had moved"`
    """
    from qc_reports.decisions import decide

    ws = Workspace.open(config)
    show_checks.decided(ws, batch, decide(ws, batch, "held", by=by, why=why), json)
    follow(ws, json)


@batch_app.command("review")
def batch_review(
    annotator: Person,
    batch: Annotated[str, typer.Option(help="Default: the newest batch.")] = "",
    keep: Annotated[
        bool | None, typer.Option("--keep/--leave-out", help="Whether the judgments count.", show_default=False)
    ] = None,
    by: By = "",
    why: Why = "",
    config: ConfigPath = DEFAULT,
) -> None:
    """Decide whether a flagged annotator's judgments in a batch count; until then they are left out.

    The report links the latest ones to Label Studio. A flag of another kind needs another review.

    Example: `robopref batch review bob --batch production-002 --keep --by maria --why "short clips, all were watched"`
    """
    from qc_reports.decisions import review

    if keep is None:
        raise typer.BadParameter("give one of the two", param_hint="--keep / --leave-out")
    ws = Workspace.open(config)
    batch_id = batch or _newest(ws)
    review(ws, batch_id, annotator, "keep" if keep else "leave_out", by=by, why=why)
    verb = "count" if keep else "are left out"
    show.say(f"{annotator}'s judgments in {batch_id} {verb}. `robopref resolve` updates the labels.")
    follow(ws, as_json=False)


@app.command(rich_help_panel=CHECK)
def resolve(config: ConfigPath = DEFAULT, json: Json = False) -> None:
    """Resolve the answers into one label per pair; if two annotators disagree, a third is asked.

    Judgments of a flagged annotator are left out until `robopref batch review`; pairs of a held batch get no label.
    """
    from ml_backend.loop.rounds import update_labels

    ws = Workspace.open(config)
    show_checks.preferences(update_labels(ws), ws.store.resolution(), json)
    follow(ws, json)


@app.command(rich_help_panel=CHECK)
def adjudicate(
    to: Annotated[str, typer.Option("--to", help="Id of the adjudicator, such as the expert's.")],
    pair: Annotated[
        list[str] | None,
        typer.Option("--pair", help="Only this pair; repeatable. Default: the ambiguous and the disputed ones."),
    ] = None,
    config: ConfigPath = DEFAULT,
    json: Json = False,
) -> None:
    """Send disputed pairs to an adjudicator: a blind answer, then the others' answers, then a decision with its cause.

    They come in the adjudicator's own project. Decisions become labels with the reason `adjudicated` at the next
    `robopref resolve`.

    Example: `robopref adjudicate --to rosa`
    """
    from importer.studio import push as studio
    from importer.studio.adjudication import open_adjudication
    from ml_backend.loop.queue_order import publish
    from qc_reports.qc import check_all
    from qc_reports.resolution.disputed import disputed

    ws = Workspace.open(config)
    made = open_adjudication(ws, to, pair or disputed(ws, check_all(ws).report.best_against_rest))
    if made:
        studio.push(ws, scores=publish(ws))
    if json:
        show.print_json({"adjudicator": to, "pairs": len(made), "batch": made[0].batch_id if made else ""})
    elif made:
        show.say(f"{to} has {len(made)} disputed pairs to decide ({made[0].batch_id}).")
    else:
        show.say(f"There is nothing left for {to} to decide.")
    then("robopref resolve", f"After {to} has decided, it makes the decisions labels.", json)
