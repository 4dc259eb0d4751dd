"""Pool and clips: from a dataset to clips on the disk."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from preference.work import console
from preference.workspace import Workspace
from robopref import show
from robopref.app import DEFAULT, SETUP, ConfigPath, Json, Stages, app


@app.command(rich_help_panel=SETUP)
def init(
    dataset: Annotated[Path | None, typer.Argument(help="A dataset to start with.")] = None,
    config: ConfigPath = DEFAULT,
) -> None:
    """Write a robopref.toml here, with every setting explained.

    Example: `robopref init ../datasets/my_lerobot_dataset`
    """
    from robopref.init import write_config

    path = write_config(config, dataset)
    console.print(f"Wrote {path}. Next: look through it, then `robopref pool`.")


pool_app = typer.Typer(cls=Stages)
app.add_typer(pool_app, name="pool", rich_help_panel=SETUP)


@pool_app.callback(invoke_without_command=True)
def pool(
    context: typer.Context,
    config: ConfigPath = DEFAULT,
    json: Json = False,
) -> None:
    """Read the datasets, measure every episode, and write manifest.csv.

    A dataset is a LeRobot folder (v2.0, v2.1, v3.0), a robomimic or robosuite HDF5 file, or a plain folder with one
    folder per episode. What is in one, and what is made of it, shows `robopref pool inspect PATH`.
    """
    from importer import stages

    if context.invoked_subcommand is None:
        show.pool(stages.pool(Workspace.open(config)), json)


@pool_app.command()
def inspect(
    path: Annotated[Path, typer.Argument(help="A dataset: a folder, or an HDF5 file.")],
    json: Json = False,
) -> None:
    """Show what a dataset has, what was guessed, and the lines for robopref.toml; writes nothing.

    Example: `robopref pool inspect ../datasets/kitchen >> robopref.toml`
    """
    from importer.pool import inspect as inspection

    show.inspection(inspection.inspect(inspection.dataset_at(path)), json)


@app.command(rich_help_panel=SETUP)
def clips(
    config: ConfigPath = DEFAULT,
    json: Json = False,
) -> None:
    """Render one standardized clip per trajectory; finished ones are kept."""
    from importer import stages

    show.clips(stages.clips(Workspace.open(config)), json)
