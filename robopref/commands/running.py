"""Running: the service, the worker, the demo, the doctor."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from preference.work import console
from preference.workspace import Workspace
from robopref import show
from robopref.app import DEFAULT, RUN, ConfigPath, Json, app


@app.command(rich_help_panel=RUN)
def serve(config: ConfigPath = DEFAULT) -> None:
    """Run the ML backend that Label Studio talks to."""
    from robopref.processes import PATIENCE_S
    from robopref.processes import serve as run

    run(Workspace.open(config, patience_s=PATIENCE_S))


@app.command(rich_help_panel=RUN)
def worker(
    every: Annotated[float, typer.Option(min=0.1, help="Seconds between two looks.")] = 10.0,
    pull: Annotated[
        float, typer.Option(min=0.1, help="Seconds between two pulls, which bring what webhooks lost.")
    ] = 120.0,
    restart: Annotated[
        bool, typer.Option(help="Begin anew when it dies; not needed where systemd or a container does that.")
    ] = True,
    config: ConfigPath = DEFAULT,
) -> None:
    """Run rounds by itself whenever enough was answered, at low priority; a second worker stands by.

    It looks at the database every few seconds, and pulls every two minutes, so that it does without webhooks too.
    """
    from ml_backend.loop.worker import work
    from robopref.processes import keep_working, stand_back

    ws = Workspace.open(config)
    if restart:
        keep_working(config, ["--every", str(every), "--pull", str(pull)])
    stand_back()
    work(
        ws,
        every_s=every,
        pull_every_s=pull,
        on_round=lambda result: show.active_round(result, as_json=False),
        on_trouble=lambda error: console.print(f"[yellow]{escape(str(error))}[/]"),
    )


@app.command(rich_help_panel=RUN)
def demo(
    fresh: Annotated[bool, typer.Option("--fresh", help="Start over.")] = False,
    exit_: Annotated[bool, typer.Option("--exit", help="Stop the servers at the end.")] = False,
    stop: Annotated[bool, typer.Option("--stop", help="Only stop the servers that a run left running.")] = False,
    root: Annotated[Path, typer.Option(help="Where everything is put.")] = Path("demo"),
    port: Annotated[int, typer.Option(help="Label Studio's port; 0 = a free one.")] = 0,
) -> None:
    """The whole loop on the sample pool, with simulated annotators, in a real Label Studio.

    Run again, it goes on where it was; with `--fresh` it starts over.
    """
    from robopref.demo import run_demo, stop_servers

    if stop:
        stop_servers(root)
        return
    run_demo(root, fresh=fresh, stop=exit_, port=port)


@app.command(rich_help_panel=RUN)
def doctor(
    config: ConfigPath = DEFAULT,
    json: Json = False,
) -> None:
    """Look for what is wrong: versions, disk, database, Label Studio, backend, weights."""
    from robopref.doctor import examine

    show.findings(examine(config), json)
