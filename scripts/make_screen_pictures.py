"""Make the pictures of docs/screen.md: each screen of an annotator's day, in a real Label Studio, with real clips;
and the console's page of disputed pairs.

    python scripts/make_screen_pictures.py CLIPS [--only day|questions|adjudication]

CLIPS is a folder with clips, as `robopref clips` and `make demo` leave it: work/clips. Needs the environment of
`make test` and a Chromium.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests" / "makers"), str(ROOT / "scripts")]

OUT = ROOT / "docs" / "images"
WIDTH, HEIGHT = 1440, 900
EMAIL, LATER = "annotator@example.com", "again@example.com"
"""The second one is in the second training; nobody gets past that to production."""


def day(page: Any, server: Any, names: list[str]) -> None:
    """Every screen once, each kept as a picture."""
    import screen_maker
    from screen_maker import CHOSEN, CLOCKS, SEEN, make_project, mark, open_stream, sign_in, submit

    def project(phase: str, tasks: int = 2, email: str = EMAIL, **options: Any) -> int:
        title = f"{phase.replace('-', ' ').capitalize()} · ann"
        return make_project(server, email, title, tasks=tasks, lines=[mark(phase)], prefix=phase, **options)

    drawer = screen_maker.QUESTION = "Which robot did the better job of opening the drawer?"
    screen_maker.REASONING = "The left one takes the handle at once; the right one never reaches it."
    training = project("training", clips=(names[1], names[0]), template="calibration")
    sign_in(page, server, EMAIL)
    open_stream(page, server, training)
    page.wait_for_function(SEEN)
    for key in ("1", "f"):
        page.keyboard.press(key)
    page.locator("text=The expert:").first.wait_for()
    keep(page, "screen-training")
    page.keyboard.press("?")
    page.wait_for_timeout(500)
    keep(page, "screen-keys")
    page.keyboard.press("Escape")
    for _ in range(2):
        page.wait_for_function(SEEN)
        for key in ("1", "f"):
            page.keyboard.press(key)
        submit(page)
        page.wait_for_timeout(1500)
    page.wait_for_url("**/robopref/next*")
    page.wait_for_timeout(500)
    keep(page, "screen-done")

    screen_maker.QUESTION = "Which robot did the better job of opening the door?"
    production = project("production", clips=names[2:4])
    open_stream(page, server, production)
    page.wait_for_function(f"() => ({CLOCKS})().every(([, at]) => at > 1.5)")
    keep(page, "screen-production")
    missing = project("production", clips=(names[0], "gone"))
    page.goto(f"{server.url}/projects/{missing}/data?labeling=1")
    page.locator(".rp-missing").wait_for()
    page.wait_for_function("() => document.querySelector('video')?.readyState > 1")  # the other one
    keep(page, "screen-missing-clip")
    page.goto(f"{server.url}/robopref/guidelines")
    page.wait_for_load_state("networkidle")
    keep(page, "screen-guidelines")
    screen_maker.QUESTION = drawer
    again = project("training-2", 8, LATER, clips=(names[1], names[0]), template="calibration",
                    about=["smoothness"] * 6 + ["grasp"] * 2)  # fmt: skip
    sign_in(page, server, LATER)
    open_stream(page, server, again)
    for _ in range(4):
        page.wait_for_function(f"() => ({CHOSEN}).length === 0")
        page.wait_for_function(SEEN)
        for key in ("1", "f"):
            page.keyboard.press(key)
        submit(page)
        page.wait_for_timeout(500)
    page.get_by_text("Enough right in a row").wait_for()
    page.wait_for_function(f"() => ({CHOSEN}).length === 0 && ({CLOCKS})().every(([, at]) => at > 0.3)")
    for key in ("1", "f"):
        page.keyboard.press(key)
    page.locator("text=The expert:").first.wait_for()
    keep(page, "screen-training-2")


SCREENS: dict[str, Any] = {"": {"viewport": {"width": WIDTH, "height": HEIGHT}},
                           "-phone": {"viewport": {"width": 390, "height": 844}}}  # fmt: skip


def questions(page: Any, server: Any, names: list[str], end: str) -> None:
    """All optional questions, with marks on the time line."""
    import screen_maker
    from screen_maker import BOTH_PLAY, CLOCKS, SEEN, make_project, open_stream, sign_in

    screen_maker.QUESTION = "Which robot did the better job of opening the drawer?"
    asked = dict.fromkeys(("outcome", "where", "why", "part"), True)
    email = f"questions{end}@example.com"
    project = make_project(server, email, "Production", clips=(names[0], names[1]), questions=asked, prefix=email)
    sign_in(page, server, email)
    open_stream(page, server, project)
    page.wait_for_function("() => [...document.querySelectorAll('video')].some((video) => video.currentTime > 1.2)")
    for key in ("m", "ArrowRight", "2", "r"):
        page.keyboard.press(key)
    page.wait_for_function(BOTH_PLAY)
    page.keyboard.press("b")
    page.wait_for_function(f"() => ({CLOCKS})().every(([playing]) => !playing)")
    page.keyboard.press("Space")
    page.wait_for_function(SEEN)
    for key in ("b", "ArrowLeft", "m", "ArrowLeft", "0", "q", "e", "e", "5", "9", "1", "f"):
        page.keyboard.press(key)
    page.locator(".rp-say").wait_for(state="detached")
    keep(page, f"screen-questions{end}")


def adjudication(page: Any, server: Any, names: list[str], end: str) -> None:
    """After the blind answer, with the decision."""
    import screen_maker
    from screen_maker import SEEN, make_project, mark, open_stream, sign_in

    screen_maker.QUESTION = "Which robot did the better job of opening the drawer?"
    screen_maker.OTHERS_SAID = (
        "1: left is better, sure 4 of 5, saw both clips, “takes the handle at once” · "
        "2: right is better, sure 2 of 5, saw both clips · 3: roughly equal, sure 3 of 5, saw both clips"
    )
    email = f"judith{end}@example.com"
    project = make_project(server, email, "Adjudication 001", clips=(names[1], names[0]), template="adjudication",
                           lines=[mark("adjudication-001")], prefix=email)  # fmt: skip
    sign_in(page, server, email)
    open_stream(page, server, project)
    page.wait_for_function(SEEN)
    for key in ("1", "f"):
        page.keyboard.press(key)
    page.locator(".rp-others").wait_for()
    for key in ("4", "u"):
        page.keyboard.press(key)
    page.wait_for_timeout(500)
    keep(page, f"screen-adjudication{end}")


def disputes(browser: Any, clips: list[Path], folder: Path) -> None:
    """The console's page: two disputed pairs, and one that was decided."""
    import threading

    from console_maker import signed_in
    from disputed_maker import decide, disputed_batch
    from service_maker import TOML
    from werkzeug.serving import make_server

    from importer.studio.adjudication import open_adjudication
    from robopref.service import create_app

    ws = disputed_batch(folder, TOML)
    ws.clips.mkdir(parents=True)
    for number, clip in enumerate(clips[:4]):
        shutil.copy(clip, ws.clips / f"t{number}.mp4")
    decide(ws, open_adjudication(ws, "rosa", ["p1"])[0], "B", cause="gap in the guidelines")
    service = make_server("127.0.0.1", 0, create_app(ws), threaded=True)
    threading.Thread(target=service.serve_forever, daemon=True).start()
    for end, screen in SCREENS.items():
        page = browser.new_page(**screen, extra_http_headers=signed_in(), color_scheme="dark" if end else "light")
        page.goto(f"http://127.0.0.1:{service.server_port}/robopref/console/adjudication")
        page.wait_for_function("() => [...document.querySelectorAll('video')].every((video) => video.readyState === 4)")
        keep(page, f"console-adjudication{end}", whole=True)
    service.shutdown()
    ws.store.close()


def keep(page: Any, name: str, *, whole: bool = False) -> None:
    from PIL import Image

    page.screenshot(path=OUT / f"{name}.png", animations="disabled", full_page=whole)
    with Image.open(OUT / f"{name}.png") as picture:
        picture.convert("RGB").quantize(256).save(OUT / f"{name}.png", optimize=True)
    print(OUT / f"{name}.png")


def main() -> None:
    from find_browser import find_browser
    from playwright.sync_api import sync_playwright

    from robopref.studio import LabelStudioServer

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", type=Path)
    parser.add_argument("--only", choices=["day", "questions", "adjudication"])
    asked = parser.parse_args()
    found = sorted(asked.clips.glob("*.mp4"))
    if len(found) < 4:
        sys.exit("Four clips are needed; `robopref clips` makes them.")
    program = find_browser()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "documents" / "clips").mkdir(parents=True)
        step = len(found) // 4
        for n, clip in enumerate(found[::step][:4]):
            shutil.copy(clip, folder / "documents" / "clips" / f"{n}.mp4")
        with LabelStudioServer(folder / "data", folder / "documents") as server, sync_playwright() as driver:
            browser = driver.chromium.launch(executable_path=program, args=["--no-sandbox"])
            names = ["0", "1", "2", "3"]
            for what, draw in (("questions", questions), ("adjudication", adjudication)):
                for end, screen in SCREENS.items() if asked.only in (None, what) else ():
                    page = browser.new_page(**screen)
                    page.set_default_timeout(60_000)
                    draw(page, server, names, end)
            if asked.only in (None, "adjudication"):
                disputes(browser, found[::step], folder)
            if asked.only in (None, "day"):
                page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
                page.set_default_timeout(60_000)
                day(page, server, names)
            browser.close()


if __name__ == "__main__":
    main()
