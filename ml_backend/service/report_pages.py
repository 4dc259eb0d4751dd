"""The pages behind `/reports`: a workspace and a name go in, HTML comes out.

`report_page` runs in a process of its own, so it takes the settings and opens the workspace for itself.
"""

from __future__ import annotations

from datetime import UTC, datetime

from preference.config import Config
from preference.errors import NotReady
from preference.pages import render
from preference.workspace import Workspace

HOME = "/reports"
LIVE = "live"
AGAIN_S = 2
"""After so long the browser asks again for a page that is being made."""


def report_page(config: Config, name: str) -> str:
    """The page of a batch, or of all answers so far for `live`; the list with a note where nobody has answered."""
    from qc_reports.qc import check_all, check_batch

    ws = Workspace(config)
    try:
        if name != LIVE:
            return check_batch(ws, name).page(ws, home=HOME, as_of=_now())
        seen = check_all(ws)
        if not seen.answers:
            return list_page(ws, "Nobody has answered yet.")
        steps = [("Open the report of a batch: each is decided by itself.", "")]
        return seen.page(ws, home=HOME, as_of=_now(), subject="Everything so far", steps=steps)
    except NotReady as error:
        return list_page(ws, error.message)
    finally:
        ws.store.close()


def being_made(ws: Workspace, name: str) -> str:
    """The list, saying that the page is being made; the browser asks again by itself."""
    what = "of everything so far" if name == LIVE else f"of {name}"
    return list_page(ws, f"The page {what} is being made; it opens by itself when it is there.", again_s=AGAIN_S)


def list_page(ws: Workspace, note: str = "", *, again_s: int = 0) -> str:
    """The list of all batches with how far each is.

    Args:
        again_s: The browser loads the page again after so many seconds; 0 = never.
    """
    return render(
        "ml_backend.service",
        "reports.html.jinja",
        name=ws.config.name,
        note=note,
        again_s=again_s,
        batches=ws.store.batches(calibration=False)[::-1],
        progress=ws.store.progress_by_batch(),
    )


def _now() -> str:
    return f"as of {datetime.now(UTC):%H:%M} UTC"
