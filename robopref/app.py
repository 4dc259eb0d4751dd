"""What all commands share: the application, how errors are reported, and common options.

Every command opens the workspace that robopref.toml describes, calls one public function and shows its result on
stdout: as text for a person, or with `--json` as one JSON object for a script. Progress, warnings and errors go to
stderr.

Exit codes: 0 done · 1 an error, or some items failed · 2 wrong usage or configuration, or a missing package · 3 an
earlier stage has to run first · 130 interrupted.
"""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from typer.core import TyperGroup

from preference import garbage
from preference.config import CONFIG_NAME
from preference.errors import UserError, explained
from preference.work import console, terminal


class Stages(TyperGroup):
    """Users' mistakes become one clear message, Ctrl-C a calm one; bugs keep their traceback."""

    def invoke(self, ctx: typer.Context) -> object:  # pyright: ignore[reportIncompatibleMethodOverride]
        garbage.look_seldom()
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="backslashreplace")  # as stderr does: not every terminal knows a ✓
        try:
            return super().invoke(ctx)
        except UserError as error:
            _fail(error)
        except ModuleNotFoundError as error:
            if missing := explained(error):
                _fail(missing)
            raise
        except PermissionError as error:
            if error.filename is None:
                raise
            who = f"Permission denied: {error.filename}; this runs as user {os.geteuid()}."
            _fail(UserError(who, fix="Give that user the file or folder, or run this as its owner."))
        except KeyboardInterrupt:
            console.print("\nStopped. Finished work is kept; run the same command to continue.")
            raise typer.Exit(130) from None


def _fail(error: UserError) -> NoReturn:
    console.print(f"[bold red]robopref:[/] {terminal(error.message)}", highlight=False, soft_wrap=True)
    if error.fix:
        console.print(terminal(error.fix), highlight=False, soft_wrap=True)
    raise typer.Exit(error.exit_code) from None


app = typer.Typer(
    cls=Stages,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Collect human preferences over robot trajectories in Label Studio, check their quality, and learn a reward "
    "model from them.\n\n"
    "Watch the whole loop: `robopref demo`. Start your own project: `robopref init`.",
)


ConfigPath = Annotated[Path, typer.Option("--config", "-c", help="Settings file of the project.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result to stdout as one JSON object.")]
DEFAULT = Path(CONFIG_NAME)

SETUP, ASK, CHECK, LEARN = "Pool and clips", "Asking", "Checking", "Learning"
RELEASE, RUN = "Releasing", "Running"
"""The panels of `robopref --help`, one file in `robopref.commands` each."""
