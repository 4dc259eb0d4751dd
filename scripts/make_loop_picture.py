"""Make docs/images/loop.png: the loop of a demo that ran, with its own clips, answers and figures.

    python scripts/make_loop_picture.py DEMO

DEMO is the folder that `make demo` leaves. Needs the environment of `make test` and a Chromium.
"""

from __future__ import annotations

import argparse
import base64
import json
import sys
from pathlib import Path
from typing import Any

import av
import jinja2
import pandas as pd

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]

OUT = ROOT / "docs" / "images" / "loop.png"
SCREEN = ROOT / "docs" / "images" / "screen-production.png"
FRAMES = 4
WIDTH, HEIGHT = 1280, 620
TEMPLATE = Path(__file__).with_name("loop_picture.html.jinja")


def strip_of(clip: Path) -> str:
    """A few frames of a clip, first to last, as a data address."""
    from preference.film_strip import film_strip

    with av.open(clip) as file:
        frames = [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]
    last = int(0.8 * len(frames))  # what follows is the freeze frame
    return film_strip((frames[round(i * last / (FRAMES - 1))] for i in range(FRAMES)), height=108)


def picture_values(demo: Path) -> dict[str, Any]:
    """What the template shows: the demo's own figures."""
    summary = json.loads((demo / "summary.json").read_text())
    work, model = demo / "work", summary["models"][-1]
    pool = pd.read_csv(work / "pool" / "manifest.csv").set_index("trajectory_id")
    rewards = pd.read_csv(work / "models" / model["version"] / "rewards.csv").set_index("trajectory_id")["reward"]
    quality = pool["true_return"].groupby(pool["task_type"]).rank(pct=True)
    place = rewards.groupby(pool["task_type"]).rank(pct=True)
    order = pool["quality"].sort_values().index
    return {
        "summary": summary,
        "model": model,
        "pairs": sum(summary["strata"].values()),
        "certified": [person for person in summary["annotators"] if person["certified"]],
        "strips": [strip_of(work / str(pool.loc[name, "clip"])) for name in (order[-1], order[len(order) // 3])],
        "screen": "data:image/png;base64," + base64.b64encode(SCREEN.read_bytes()).decode(),
        "dots": [(round(100 * quality[name], 1), round(100 * place[name], 1)) for name in pool.index],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("demo", type=Path, help="the folder that `make demo` leaves")
    values = picture_values(parser.parse_args().demo)
    from find_browser import find_browser
    from playwright.sync_api import sync_playwright

    from preference.formats import figure

    browser_path = find_browser()
    templates = jinja2.Environment(autoescape=True)
    templates.filters["figure"] = figure
    page_text = templates.from_string(TEMPLATE.read_text(encoding="utf-8")).render(values)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, device_scale_factor=1.5)
        page.set_content(page_text)
        page.screenshot(path=OUT)
        browser.close()
    print(f"{OUT.relative_to(ROOT)}: {OUT.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
