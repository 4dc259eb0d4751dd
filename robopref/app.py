"""What all commands share: the application, how mistakes are told, and the options that many have.

Every command opens the workspace that robopref.toml describes, calls one public function and shows its result: as a
line or two for a person, or with `--json` as one JSON object on stdout for a script.

Exit codes: 0 done · 1 a mistake or some items failed · 2 wrong usage or configuration · 3 an earlier stage has to run
first · 130 interrupted.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from typer.core import TyperGroup

from preference.config import CONFIG_NAME
from preference.errors import UserError
from preference.work import console


class Stages(TyperGroup):
    """A person's mistakes become one clear message, Ctrl-C a calm one; bugs keep their traceback."""

    def invoke(self, ctx: typer.Context) -> object:  # pyright: ignore[reportIncompatibleMethodOverride]
        try:
            return super().invoke(ctx)
        except UserError as error:
            console.print(f"[bold red]robopref:[/] {escape(error.message)}", highlight=False, soft_wrap=True)
            if error.fix:
                console.print(escape(error.fix), highlight=False, soft_wrap=True)
            raise typer.Exit(error.exit_code) from None
        except KeyboardInterrupt:
            console.print("\nStopped. What was finished is kept; the same command goes on from here.")
            raise typer.Exit(130) from None


app = typer.Typer(
    cls=Stages,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Human preferences over robot trajectories, asked and checked inside Label Studio, "
    "and the reward model learned from them.\n\n"
    "See the whole loop first: `robopref demo`. Start a project of your own: `robopref init`.",
)


ConfigPath = Annotated[Path, typer.Option("--config", "-c", help="The project's settings.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object on stdout.")]
DEFAULT = Path(CONFIG_NAME)

SETUP, ASK, CHECK, LEARN = "Pool and clips", "Asking", "Checking", "Learning"
RELEASE, RUN = "Releasing", "Running"
"""The panels of `robopref --help`, one file in `robopref.commands` each."""
