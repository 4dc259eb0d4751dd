"""Claims: from submit until both clips of the next pair can play it takes less than 1 s, the two play within one frame
(67 ms) of each other, and a judgment takes three keys.

A real Label Studio and a real Chromium on this machine, real H.264 clips of 480x480 at 15 fps. The same pairs are
judged once with the plugin, which loads the next pair ahead, and once with the template alone on a Label Studio as it
comes from PyPI, by its own keys.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tests" / "makers"))
sys.path.insert(0, str(ROOT / "scripts"))

PAIRS = 20
FRAME_S = 1 / 15
PLAYABLE = """(id) => {
  const videos = [...document.querySelectorAll('video')], data = window.Htx?.task?.data;
  const shown = typeof data === 'string' ? JSON.parse(data) : data;
  return shown?.assignment_id === id && videos.length === 2 && videos.every((video) => video.readyState >= 3); }"""
"""The pair's clips have data for now and the next frame, HTMLMediaElement.HAVE_FUTURE_DATA."""


def clips(folder: Path, count: int) -> list[str]:
    """Each of 4 s and its own picture, as big as a real one (about 300 kB): nothing comes from a cache by chance."""
    import imageio_ffmpeg

    folder.mkdir(parents=True)
    for n in range(count):
        picture = f"testsrc2=size=480x480:rate=15:duration=4,hue=h={n * 9},noise=alls=12:allf=t"
        command = [
            "-loglevel",
            "error",
            "-f",
            "lavfi",
            "-i",
            picture,
            "-pix_fmt",
            "yuv420p",
            "-crf",
            "32",
            "-threads",
            "2",
        ]
        command += ["-movflags", "+faststart", str(folder / f"{n:03d}.mp4")]
        subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), *command], check=True, timeout=60)
    return [f"{n:03d}" for n in range(count)]


def measure(folder: Path, *, plugin: bool) -> dict[str, float]:
    from find_browser import find_browser
    from playwright.sync_api import sync_playwright
    from screen_maker import CHOSEN, CLOCKS, open_stream, sign_in

    from robopref.studio import LabelStudioServer

    browser_program = find_browser()
    names = sorted(path.stem for path in (folder / "documents" / "clips").iterdir())
    with (
        LabelStudioServer(folder / f"data-{plugin}", folder / "documents", plugin=plugin) as server,
        sync_playwright() as driver,
    ):
        browser = driver.chromium.launch(executable_path=browser_program, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.set_default_timeout(60_000)
        email = "bench@example.com"
        project = distinct_project(server, email, names)
        sign_in(page, server, email)
        if not plugin:
            page.goto(f"{server.url}/version")  # any page of the server: a blank one has no storage
            page.evaluate("localStorage.setItem('dm:labelstream:mode', 'all')")
        open_stream(page, server, project) if plugin else page.goto(f"{server.url}/projects/{project}/data?labeling=1")
        waits, drifts, keys = [], [], 0
        for index in range(PAIRS - 1):
            page.wait_for_function(PLAYABLE, arg=f"t{index}")
            if not plugin:
                page.wait_for_timeout(500)
                page.keyboard.press("Control+Alt+Space")
                keys += 1
            page.wait_for_function(f"() => ({CLOCKS})().every(([playing, at]) => playing && at > 0.2)")
            for _ in range(8):
                (_, left, _), (_, right, _) = page.evaluate(CLOCKS)
                drifts.append(abs(left - right))
                page.wait_for_timeout(150)
            page.wait_for_function(f"() => ({CLOCKS})().every(([, at, length]) => length > 0 && at >= length - 0.05)")
            if plugin:
                page.wait_for_function("() => !document.body.classList.contains('rp-not-yet')")
            for key in ("1", "f"):
                page.keyboard.press(key)
            page.wait_for_function(f"() => ({CHOSEN}).length === 2")
            start = time.perf_counter()
            page.keyboard.press("Enter" if plugin else "Control+Enter")
            page.wait_for_function(PLAYABLE, arg=f"t{index + 1}", polling=10)
            waits.append(time.perf_counter() - start)
            keys += 3
        browser.close()
    return {
        "submit_to_playable_median_s": statistics.median(waits),
        "submit_to_playable_worst_s": max(waits),
        "drift_median_ms": 1000 * statistics.median(drifts),
        "drift_worst_ms": 1000 * max(drifts),
        "keys_per_judgment": keys / (PAIRS - 1),
    }


def distinct_project(server: Any, email: str, names: list[str]) -> int:
    """A project whose every pair has two clips that no other pair has."""
    from screen_maker import QUESTION, make_project, task_ids

    from importer.studio.users import admin_session
    from labeling_config import contract

    project = make_project(server, email, "Bench", tasks=PAIRS)
    with admin_session(server.url, server.token) as manager:
        for n, task in enumerate(task_ids(server, project)):
            pair = (f"/data/local-files/?d=clips/{name}.mp4" for name in names[2 * n : 2 * n + 2])
            data = contract.task_data(f"t{n}", *pair, fps=15, question=QUESTION)
            manager.patch(f"{server.url}/api/tasks/{task}/", json={"data": data}).raise_for_status()
    return project


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clips(folder / "documents" / "clips", 2 * PAIRS)
        found = {"plugin": measure(folder, plugin=True), "template": measure(folder, plugin=False)}
    print(f"{'':<30}{'with the plugin':>18}{'template alone':>18}")
    for row in found["plugin"]:
        print(f"{row:<30}" + "".join(f"{found[how][row]:>18.2f}" for how in ("plugin", "template")))
    figures = {f"{how}_{row}": round(value, 3) for how, rows in found.items() for row, value in rows.items()}
    ours = found["plugin"]
    met = (
        ours["submit_to_playable_worst_s"] < 1.0
        and ours["drift_worst_ms"] <= 1000 * FRAME_S
        and ours["keys_per_judgment"] <= 3
    )
    target = "submit to playable < 1 s, drift <= 67 ms, 3 keys per judgment, each time"
    print(json.dumps({"name": "screen", "figures": figures, "target": target, "met": met}))
    sys.exit(0 if met else 1)


if __name__ == "__main__":
    main()
