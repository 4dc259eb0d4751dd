"""Learning: the reward model and the pairs to ask next."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from preference.errors import needs
from preference.records import Activity
from preference.work import remark
from preference.workspace import Workspace
from robopref import show
from robopref.app import DEFAULT, LEARN, ConfigPath, Json, Stages, app
from robopref.show_status import follow

PATIENCE_S = 600.0
"""How long a command waits for a worker or another command that gives no sign of life."""


@app.command(rich_help_panel=LEARN)
def train(
    finetune: Annotated[
        bool, typer.Option("--finetune", help="Also train the encoder, end to end; for a GPU.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Also use labels of a batch that is still open.")] = False,
    config: ConfigPath = DEFAULT,
    json: Json = False,
) -> None:
    """Train the reward model on the resolved preferences, and test it on pairs kept apart.

    `robopref validate` then says whether it can be trusted.

    With --finetune, the encoder is first trained on the training pairs by the recipe in [reward.finetune] (default: the
    protocol's), in bfloat16 on a GPU; the model is then trained on its features.
    On several GPUs: torchrun --nproc-per-node 4 -m robopref train --finetune
    """
    ws: Workspace | None = Workspace.open(config)
    needs("torch", "timm")
    from ml_backend.loop import train as stages

    if not force:
        stages.check_accepted(ws)
    if finetune:
        from ml_backend.loop.train import finetuned

        ws = finetuned(ws)
    if ws is not None:  # only the first of torchrun's processes goes on
        with _turn(ws, "Training"):
            show.record(stages.train(ws), json)
        follow(ws, json)


@app.command(rich_help_panel=LEARN)
def validate(
    model: Annotated[str, typer.Option("--model", help="A version, such as rm-0002; default: the active one.")] = "",
    propose_pairs: Annotated[
        int,
        typer.Option("--propose-pairs", min=0, help="Propose this many pairs to ask if a probe finds a weakness."),
    ] = 0,
    against: Annotated[
        list[Path] | None,
        typer.Option(help="Another reward's scores, Parquet or CSV, to set beside this model's; may be repeated."),
    ] = None,
    config: ConfigPath = DEFAULT,
    json: Json = False,
) -> None:
    """Check whether the reward model can be trusted.

    Accuracy, calibration, tiers, hacking probes, a learning curve, and the best and worst trajectories as filmstrips go
    into validation.json and an HTML page beside the model. Proposed pairs go into proposed_pairs.csv; `python
    scripts/import_pairs.py` makes a batch of them. docs/validation.md says what a file of scores holds.

    Example: `robopref validate --against robometer.parquet --against sarm.parquet`
    """
    from ml_backend.loop.validate import validate_model

    ws = Workspace.open(config)
    show.record(validate_model(ws, model, propose=propose_pairs, against=against or ()), json)
    follow(ws, json)


@app.command(rich_help_panel=LEARN)
def rank(
    count: Annotated[int, typer.Option(min=1, help="Number of pairs.")] = 50,
    strategy: Annotated[str, typer.Option(help="Default: active.strategy in robopref.toml.")] = "",
    among: Annotated[
        Path | None,
        typer.Option(help="Rank only the pairs in this file, CSV or JSON Lines: trajectory_a_id, trajectory_b_id."),
    ] = None,
    asked: Annotated[
        bool, typer.Option("--asked", help="Allow pairs that were asked; without --among, rank only these.")
    ] = False,
    config: ConfigPath = DEFAULT,
    json: Json = False,
) -> None:
    """List the most informative pairs to ask next."""
    from importer.pairs.pair_file import read_pairs
    from ml_backend.loop.rounds import rank as choose

    pairs = read_pairs(among) if among else None
    ws = Workspace.open(config)
    show.ranking(choose(ws, count, strategy or None, among=pairs, again=asked), json)
    follow(ws, json)


models_app = typer.Typer(cls=Stages)
app.add_typer(models_app, name="models", rich_help_panel=LEARN)


@models_app.callback(invoke_without_command=True)
def models(context: typer.Context, config: ConfigPath = DEFAULT, json: Json = False) -> None:
    """List the reward models with their accuracy, which one is active, and why others were not promoted."""
    if context.invoked_subcommand is None:
        ws = Workspace.open(config)
        show.models(ws.store.model_versions(), json)
        follow(ws, json)


@models_app.command("promote")
def models_promote(
    version: Annotated[str, typer.Argument(help="Such as rm-0002.")], config: ConfigPath = DEFAULT
) -> None:
    """Make this model the active one: for ranking, for the order of open tasks, and in the next release."""
    from ml_backend.loop.models import promote

    ws = Workspace.open(config)
    show.say(f"{promote(ws, version).version} is active.")
    follow(ws, as_json=False)


@models_app.command("rollback")
def models_rollback(config: ConfigPath = DEFAULT) -> None:
    """Go back to the last older model that was not rejected."""
    from ml_backend.loop.models import roll_back

    ws = Workspace.open(config)
    show.say(f"{roll_back(ws).version} is active.")
    follow(ws, as_json=False)


@app.command(name="round", rich_help_panel=LEARN)
def active_round(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be asked.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Even if a batch is unfinished or held.")] = False,
    config: ConfigPath = DEFAULT,
    json: Json = False,
) -> None:
    """Run one active-learning round: check, train, rank, assign, push."""
    from ml_backend.loop.rounds import run_round

    ws = Workspace.open(config)
    if dry_run:  # only reads, so it waits for nobody
        show.active_round(run_round(ws, dry_run=True), json)
        return
    with _turn(ws, "Round"):
        show.active_round(run_round(ws, force=force), json)
    follow(ws, json)


@contextmanager
def _turn(ws: Workspace, doing: str) -> Iterator[None]:
    """Hold the learning lock inside, and tell others `doing`; until then, say what the holder is doing."""
    from preference.activity import telling
    from preference.locks import LEARNING, exclusively

    said = ""

    def at_work() -> Activity | None:
        nonlocal said
        now = ws.store.activity()
        holder = f"Waiting for another process: {now.doing}." if now else "Waiting for another process to finish."
        if holder != said:
            remark(holder)
            said = holder
        return now

    with exclusively(ws, LEARNING, patience_s=PATIENCE_S, sign_of_life=at_work), telling(ws, doing):
        yield
