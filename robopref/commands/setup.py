"""Pool and clips: from a dataset to clips on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from preference.workspace import Workspace
from robopref import show
from robopref.app import DEFAULT, SETUP, ConfigPath, Json, Stages, app
from robopref.init import start, write_config, write_schema
from robopref.show_status import follow


@app.command(rich_help_panel=SETUP)
def init(
    dataset: Annotated[
        str, typer.Argument(help="A dataset to start with: a folder, an HDF5 file, or a Hugging Face id.")
    ] = "",
    schema: Annotated[bool, typer.Option("--schema", help="Only update the schema, after an upgrade.")] = False,
    config: ConfigPath = DEFAULT,
    json: Json = False,
) -> None:
    """Write a robopref.toml that explains every setting, with what was found in the dataset.

    It says what the dataset holds and what it lacks for good pairs. A Hugging Face id (OWNER/NAME) is downloaded into
    the hub's cache. Beside robopref.toml goes robopref.schema.json, from which editors (Even Better TOML, taplo)
    complete and check settings.

    Example: `robopref init ../datasets/my_lerobot_dataset`
    """
    if schema:
        written = write_schema(config.parent)
        show.print_json({"path": written}) if json else show.say(f"Wrote {written}.")
    elif dataset:
        show.started(start(config, dataset), json)
    else:
        made = write_config(config)
        if json:
            show.print_json({"path": made})
            return
        show.say(f"Wrote {made}. Next: name your dataset under [[pool.dataset]], then run `robopref pool`.")


pool_app = typer.Typer(cls=Stages)
app.add_typer(pool_app, name="pool", rich_help_panel=SETUP)


@pool_app.callback(invoke_without_command=True)
def pool(
    context: typer.Context,
    config: ConfigPath = DEFAULT,
    json: Json = False,
) -> None:
    """Read the datasets, measure every episode, and write manifest.csv.

    A dataset is a LeRobot folder (v2.0, v2.1, v3.0), a robomimic or robosuite HDF5 file, or a folder with one folder
    per episode. `robopref pool inspect PATH` shows what Robopref finds in it.
    """
    from importer.pool import build_pool

    if context.invoked_subcommand is None:
        ws = Workspace.open(config)
        made = build_pool(ws)
        try:
            show.pool(made, json)
        finally:  # some episodes that cannot be read are an error, and hold up nothing
            follow(ws, json)


@pool_app.command()
def inspect(
    path: Annotated[Path, typer.Argument(help="A dataset: a folder or an HDF5 file.")],
    json: Json = False,
) -> None:
    """Show a dataset's columns, what was detected, and the lines for robopref.toml. Writes nothing.

    Example: `robopref pool inspect ../datasets/kitchen >> robopref.toml`
    """
    from importer.pool import inspect as inspection

    show.inspection(inspection.inspect(inspection.dataset_at(path)), json)


@app.command(rich_help_panel=SETUP)
def clips(
    find: Annotated[str, typer.Option("--find", help="Name the trajectory whose clip shows this code.")] = "",
    config: ConfigPath = DEFAULT,
    json: Json = False,
) -> None:
    """Render one standardized clip per trajectory. Existing clips are kept."""
    from importer.clips import watermark
    from importer.clips.build import build_clips

    ws = Workspace.open(config)
    if find:
        show.found_by_code(watermark.find(ws, find), json)
        return
    made = build_clips(ws)
    try:
        show.clips(made, json)
    finally:
        follow(ws, json)
