"""Where the project stands."""

from __future__ import annotations

from preference.workspace import Workspace
from robopref.app import DEFAULT, RUN, ConfigPath, Json, app


@app.command(rich_help_panel=RUN)
def status(config: ConfigPath = DEFAULT, json: Json = False) -> None:
    """Show where the project stands, who owes which answers, and the next command.

    It reads only the database, which is as fresh as the last `robopref pull` or webhook.
    """
    from ml_backend.loop.status import status as look
    from robopref import show_status

    show_status.status(look(Workspace.open(config)), json)
