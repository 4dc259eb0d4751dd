"""The manager's console: each fact with the action beside it.

| file | idea |
| --- | --- |
| `actions` | what an action is, and why it may be refused; the commands' functions, as several pages call them |
| `now` | where the campaign stands, the one thing to do next, and what the machine is doing |
| `people` | who annotates, how well, and who may |
| `batches` | reports, the gate's decisions, and the next batch |
| `adjudication` | disputed pairs, who decides them, and what was decided |
| `models` | which model is in use, and whether more answers are worth asking |
| `releases` | what the policy team gets |
| `reports` | the quality reports, made when somebody asks |
| `routes` | Flask: who is signed in, the token of a form, pages, actions, files |

A page is a function from a workspace to what its template shows. An action calls the function that the command of the
same name calls; its name is that command's. `PAGES` and `ACTIONS` are all of them; `handle` does in the worker what a
manager asked for.
"""

from __future__ import annotations

from collections.abc import Mapping

from preference.records import Request
from preference.workspace import Workspace
from robopref.console import adjudication, batches, models, now, people, releases
from robopref.console.actions import Action, Page, Pressed

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
