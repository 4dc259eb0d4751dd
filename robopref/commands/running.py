"""Running: the service, the worker, the demo, the doctor."""

from __future__ import annotations

import logging
import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from preference.errors import needs
from preference.logs import set_up
from preference.work import remark
from preference.workspace import Workspace
from robopref import show, show_status
from robopref.app import DEFAULT, RUN, ConfigPath, Json, app
from robopref.show_status import follow

log = logging.getLogger("robopref.worker")


class Part(StrEnum):
    service = "service"
    worker = "worker"
    backup = "backup"


NICE = 10
"""The worker yields to the service and to Label Studio, which people wait for."""


@app.command(rich_help_panel=RUN)
def serve(config: ConfigPath = DEFAULT) -> None:
    """Run the ML backend that Label Studio connects to."""
    from robopref.service import PATIENCE_S
    from robopref.service import serve as run

    ws = Workspace.open(config, patience_s=PATIENCE_S)
    set_up(ws.config.logs)
    run(ws)


@app.command(rich_help_panel=RUN)
def worker(
    every: Annotated[float, typer.Option(min=0.1, help="Seconds between two checks for new answers.")] = 10.0,
    pull: Annotated[
        float, typer.Option(min=0.1, help="Seconds between two pulls, which fetch what webhooks missed.")
    ] = 120.0,
    restart: Annotated[
        bool, typer.Option(help="Restart after a crash; not needed under systemd or in a container.")
    ] = True,
    config: ConfigPath = DEFAULT,
) -> None:
    """Run rounds automatically when enough new answers are in.

    The worker runs at low priority and also works without webhooks. A second worker stands by until the first is gone.
    """
    ws = Workspace.open(config)
    set_up(ws.config.logs)
    needs("torch", "timm")
    if restart:
        from robopref.processes import keep_working

        keep_working(config, ["--every", str(every), "--pull", str(pull)])
    from ml_backend.loop.worker import work
    from robopref.console import handle

    os.nice(NICE)
    work(
        ws,
        every_s=every,
        pull_every_s=pull,
        handle=handle,
        on_round=lambda result: show.active_round(result, as_json=False),
        on_trouble=lambda error: log.warning("%s", error),
    )


@app.command(rich_help_panel=RUN)
def up(
    stop: Annotated[bool, typer.Option("--stop", help="Stop everything.")] = False,
    status: Annotated[bool, typer.Option("--status", help="Only show what is running.")] = False,
    port: Annotated[
        int | None,
        typer.Option(min=1, max=65535, help="Port of Label Studio; default: the one that it had, or a free one."),
    ] = None,
    worker: Annotated[bool, typer.Option("--worker/--no-worker", help="Run the worker as well.")] = True,
    foreground: Annotated[bool, typer.Option("--foreground", help="Stay in the foreground, for systemd.")] = False,
    config: ConfigPath = DEFAULT,
    json: Json = False,
) -> None:
    """Run everything for this project on this machine: Label Studio with the plugin, the ML backend, the worker.

    Crashed processes are restarted. After a reboot, run it again: everything comes back on the same ports. All other
    commands find Label Studio without any setting. With a Label Studio of your own (label_studio.url and its token),
    this runs the other two. `--status` exits with 1 where not everything runs.
    """
    from robopref import up as servers

    if sum((stop, status, foreground)) > 1:
        raise typer.BadParameter("give one of the three", param_hint="--stop / --status / --foreground")
    if stop:
        show.servers_stopped(servers.stop(config), json)
    elif status:
        show.servers(servers.status(config), json)
    elif foreground:
        from robopref.supervisor import supervise

        supervise(config, port=port, worker=worker)
    else:
        show.servers(servers.start(config, port=port, worker=worker), json)
        follow(Workspace.open(config), json)


@app.command(rich_help_panel=RUN)
def demo(
    fresh: Annotated[bool, typer.Option("--fresh", help="Start over.")] = False,
    exit_: Annotated[bool, typer.Option("--exit", help="Stop the servers at the end.")] = False,
    stop: Annotated[bool, typer.Option("--stop", help="Only stop the servers that an earlier run left.")] = False,
    root: Annotated[Path, typer.Option(help="Folder for everything that the demo writes.")] = Path("demo"),
    port: Annotated[int, typer.Option(help="Port of Label Studio; 0 = a free one.")] = 0,
) -> None:
    """Run the whole loop on the sample pool, with simulated annotators, in a real Label Studio.

    An interrupted demo continues where it stopped; `--fresh` starts over.
    """
    from robopref.demo import run_demo, stop_servers

    if stop:
        stop_servers(root)
        return
    needs("label_studio", "torch", "timm", "onnx", "onnxruntime")
    run_demo(root, fresh=fresh, exit_=exit_, port=port)


@app.command(rich_help_panel=RUN)
def doctor(config: ConfigPath = DEFAULT, json: Json = False) -> None:
    """Check the installation: packages, settings, disk, database, Label Studio, ML backend, weights."""
    from robopref.doctor import examine

    show.findings(examine(config), json)
    if config.exists():
        follow(Workspace.open(config), json)


StudioData = Annotated[
    Path | None,
    typer.Option("--studio-data", help="Label Studio's data folder; default: label_studio beside robopref.toml."),
]
StudioDatabase = Annotated[
    str, typer.Option("--studio-database", help="URL of Label Studio's database, if it is on PostgreSQL.")
]


@app.command(rich_help_panel=RUN)
def migrate(config: ConfigPath = DEFAULT) -> None:
    """Create the database's tables or bring them to this version, and check what the services need.

    Every command does so by itself; with several services it is better done once before they start. What is missing
    (a secret, space, the right to write) is said here.
    """
    from robopref.health import check_space

    ws = Workspace.open(config)
    check_space(ws.root)
    ws.store.close()
    show.say("The database matches this version.")


@app.command(rich_help_panel=RUN)
def health(
    part: Annotated[Part, typer.Argument(help="What is looked at.")],
    folder: Annotated[Path, typer.Option(help="With `backup`: where the backups are.")] = Path("/backups"),
    within: Annotated[float, typer.Option(min=0.1, help="With `backup`: greatest age of the newest, in hours.")] = 48.0,
    config: ConfigPath = DEFAULT,
) -> None:
    """Check that one part of the installation does its work; exit code 1 if not.

    `service` has to answer, `worker` to have looked for answers in the last half hour, `backup` to have left a young
    backup. compose.yaml asks this of its services.
    """
    from robopref.health import check_backups, check_service, check_worker

    if part is Part.service:
        check_service(config)
    elif part is Part.worker:
        check_worker(Workspace.open(config))
    else:
        check_backups(folder, within)
    show.say("Healthy.")


@app.command(rich_help_panel=RUN)
def backup(
    file: Annotated[Path, typer.Argument(help="The backup, such as ../backups/monday.tar; with --every, a folder.")],
    studio_data: StudioData = None,
    studio_database: StudioDatabase = "",
    force: Annotated[bool, typer.Option("--force", help="Replace FILE.")] = False,
    every: Annotated[float, typer.Option(min=0, help="Keep running, one every so many hours; 0 = only one.")] = 0.0,
    keep: Annotated[int, typer.Option(min=1, help="With --every: how many backups to keep.")] = 14,
    config: ConfigPath = DEFAULT,
    json: Json = False,
) -> None:
    """Write the database, the work folder and Label Studio's database and files to one file.

    Nothing has to be stopped. The file holds answers and passwords: only its owner can read it. Databases on
    PostgreSQL are copied with `pg_dump`.

    Example: `robopref backup ../backups/monday.tar`
    """
    from robopref.backup import Studio, back_up

    studio = Studio.of(config, studio_data, studio_database)
    if every:
        from robopref.regular_backup import back_up_regularly

        back_up_regularly(
            config,
            file,
            studio,
            every_h=every,
            keep=keep,
            on_done=lambda result: show.backed_up(result, json),
            on_trouble=remark,
        )
    show.backed_up(back_up(config, file, studio, force=force), json)


@app.command(rich_help_panel=RUN)
def restore(
    file: Annotated[Path, typer.Argument(help="A file that `robopref backup` wrote.")],
    studio_data: StudioData = None,
    studio_database: StudioDatabase = "",
    force: Annotated[bool, typer.Option("--force", help="Replace existing data.")] = False,
    config: ConfigPath = DEFAULT,
    json: Json = False,
) -> None:
    """Restore a backup, after comparing each of its files with its checksum.

    Stop the worker, the service and Label Studio first. A backup of an earlier version is upgraded.

    Example: `robopref restore ../backups/monday.tar`
    """
    from robopref.backup import Studio
    from robopref.backup import restore as put_back

    show.restored(put_back(config, file, Studio.of(config, studio_data, studio_database), force=force), json)


@app.command(rich_help_panel=RUN)
def status(config: ConfigPath = DEFAULT, json: Json = False) -> None:
    """Show where the project stands, who owes which answers, and the next command.

    It reads only the database, which is as fresh as the last `robopref pull` or webhook.
    """
    from robopref.status import status as look

    show_status.status(look(Workspace.open(config)), json)
