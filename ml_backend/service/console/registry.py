"""All pages and actions of the console, and what the worker does of them."""

from __future__ import annotations

from collections.abc import Mapping

from ml_backend.service.console import adjudication, batches, models, now, people, releases
from ml_backend.service.console.desk import Action, Page, Pressed
from preference.records import Request
from preference.workspace import Workspace

PAGES: tuple[Page, ...] = (now.PAGE, people.PAGE, batches.PAGE, adjudication.PAGE, models.PAGE, releases.PAGE)
ACTIONS: Mapping[str, Action] = {name: action for page in PAGES for name, action in page.actions.items()}


def handle(ws: Workspace, request: Request) -> str:
    """Do what a manager asked for, in the worker; says in a sentence what became of it.

    Raises:
        UserError: as the command of the same name.
    """
    action = ACTIONS.get(request.kind)
    if action is None:
        return f"This version of Robopref does not know {request.kind!r}."
    return action.run(ws, Pressed.of(request))
