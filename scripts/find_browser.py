"""Print the path of a Chromium that the tests can drive; exit 1 where there is none."""

import shutil
import sys
from pathlib import Path


def find_browser() -> str | None:
    """Playwright's own Chromium, or one that the system has."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        own = playwright.chromium.executable_path
    if Path(own).exists():
        return own
    for name in ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable"):
        if found := shutil.which(name):
            return found
    return None


if __name__ == "__main__":
    browser = find_browser()
    print(browser or "none")
    sys.exit(0 if browser else 1)
