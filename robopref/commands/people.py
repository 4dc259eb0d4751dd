"""People: who annotates, who is away, and what becomes of what they left open."""

from __future__ import annotations

from typing import Annotated

import typer

from preference.workspace import Workspace
from robopref import show
from robopref.app import ASK, DEFAULT, ConfigPath, Json, Stages, app
from robopref.show_status import follow, then

annotators_app = typer.Typer(cls=Stages, no_args_is_help=True, help="Add, pause, remove and list annotators.")
app.add_typer(annotators_app, name="annotators", rich_help_panel=ASK)
Person = Annotated[str, typer.Argument(help="Id of the annotator.")]
By = Annotated[str, typer.Option("--by", help="Who decides; recorded.")]
Why = Annotated[str, typer.Option("--why", help="The reason; required and recorded.")]
MANAGER = "a manager"


@annotators_app.command("list")
def annotators_list(config: ConfigPath = DEFAULT, json: Json = False) -> None:
    """List everybody with their state, certificate, answers and open pairs."""
    from importer.pairs.annotators import add_annotators
    from importer.pairs.leave import standings

    ws = Workspace.open(config)
    add_annotators(ws)
    show.standings(standings(ws), json)
    follow(ws, json)


@annotators_app.command("add")
def annotators_add(
    person: Annotated[str, typer.Argument(help="E-mail address; of somebody who is back, the id will do.")],
    by: By = MANAGER,
    why: Why = "",
    config: ConfigPath = DEFAULT,
    json: Json = False,
) -> None:
    """Add an annotator, or end a pause. They need no line in robopref.toml.

    Example: `robopref annotators add carol@example.org --by maria --why "more hands for March"`
    """
    from importer.pairs.annotators import add_annotators
    from importer.pairs.leave import add
    from importer.studio.owners import reopen_projects

    ws = Workspace.open(config)
    add_annotators(ws)
    made = add(ws, person, by=by, why=why)
    reopen_projects(ws, made.annotator_id)
    if json:
        show.print_json(made)
        return
    if made.annotator_id in ws.store.certified():
        show.say(f"{made.annotator_id} is active and gets pairs with the next batch.")
        follow(ws, json)
        return
    show.say(f"{made.annotator_id} is active.")
    then("robopref calibration build", "It gives them the training and the first test; then `robopref push`.", json)


@annotators_app.command("pause")
def annotators_pause(
    annotator: Person, by: By = MANAGER, why: Why = "", config: ConfigPath = DEFAULT, json: Json = False
) -> None:
    """Pause an annotator: open pairs go to others at once, no new ones come until `annotators add`.

    Example: `robopref annotators pause bob --by maria --why "ill until Monday"`
    """
    from importer.pairs.leave import leave

    ws = Workspace.open(config)
    _tell(ws, leave(ws, annotator, "Paused", by=by, why=why).away, annotator, [], json)


@annotators_app.command("remove")
def annotators_remove(
    annotator: Person,
    leave_out: Annotated[bool, typer.Option("--leave-out", help="Past judgments do not count either.")] = False,
    by: By = MANAGER,
    why: Why = "",
    config: ConfigPath = DEFAULT,
    json: Json = False,
) -> None:
    """Remove an annotator: open pairs go to others at once. Past judgments count unless `--leave-out`.

    Example: `robopref annotators remove eve --leave-out --by maria --why "did not watch the clips"`
    """
    from importer.pairs.leave import leave
    from qc_reports.decisions import leave_out_everywhere

    ws = Workspace.open(config)
    away = leave(ws, annotator, "Removed", by=by, why=why).away
    batches = leave_out_everywhere(ws, annotator, by=by, why=why) if leave_out else []
    _tell(ws, away, annotator, batches, json)


@annotators_app.command("invite")
def annotators_invite(
    participants: Annotated[list[str], typer.Argument(help="Ids, such as those of a panel.")],
    config: ConfigPath = DEFAULT,
    json: Json = False,
) -> None:
    """Print a signed link for each participant from outside; whoever opens it gets an annotator's account.

    Needs `annotators.outside`. After `annotators.outside_pairs` answers their last page shows a completion code, and
    `robopref export participants` lists who did what.

    Example: `robopref annotators invite p1001 p1002`
    """
    from importer.studio.participants import invitation

    ws = Workspace.open(config)
    links = {participant: invitation(ws, participant) for participant in participants}
    if json:
        show.print_json(links)
        return
    for link in links.values():
        show.say(link)
    then("robopref export participants FILE", "It lists who did what.", json)


@annotators_app.command("refresh")
def annotators_refresh(annotator: Person, config: ConfigPath = DEFAULT, json: Json = False) -> None:
    """Give somebody whose agreement falls a refresher: training pairs, before their next production pairs.

    Up to 12 pairs that they have answered before, those missed first, each with the expert's answer and reason after
    their own. Nothing about their certificate changes.
    """
    from importer.calibration.lessons import assign_refresher
    from importer.studio import push as studio
    from ml_backend.loop.queue_order import publish

    ws = Workspace.open(config)
    made = assign_refresher(ws, annotator)
    studio.push(ws, scores=publish(ws))
    if json:
        show.print_json({"annotator": annotator, "batch": made[0].batch_id, "pairs": len(made)})
        return
    show.say(f"{annotator} has {len(made)} training pairs to answer ({made[0].batch_id}), before any others.")
    follow(ws, json)


def _tell(ws: Workspace, away: str, annotator: str, left_out: list[str], as_json: bool) -> None:
    """Hand the open pairs over, and then say what became of them: whoever reads this may have gone."""
    from importer.studio import push as studio
    from importer.studio.hand_over import hand_over
    from ml_backend.loop.queue_order import publish

    result = hand_over(ws)
    if result.moved:
        studio.push(ws, scores=publish(ws))
    if as_json:
        show.print_json({"annotator": annotator, "away": away, "moved": result.moved, "dropped": result.dropped,
                         "left_out": left_out})  # fmt: skip
        return
    show.say(f"{annotator}: {away}.")
    show.say(f"{result.moved} open pairs went to others; {result.dropped} were dropped (repeats, and pairs that "
             "everybody certified has seen).")  # fmt: skip
    if left_out:
        show.say(f"Judgments left out in {', '.join(left_out)}. `robopref resolve` updates the labels.")
    follow(ws, as_json=False)
