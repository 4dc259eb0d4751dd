"""What axe finds in a page: on a desktop and on a phone, in light and in dark colours."""

import pytest

SCREENS = {
    f"{where} {scheme}": {"viewport": {"width": width, "height": height}, "color_scheme": scheme, "bypass_csp": True}
    for where, (width, height) in {"desktop": (1440, 900), "phone": (390, 844)}.items()
    for scheme in ("light", "dark")
}
"""Settings of a browser's context; axe comes from outside, which a page's policy would refuse."""


def on_each_screen(page, which=""):
    """The names of SCREENS, all or those with that word; the page is on each of them meanwhile, and of its own size
    again afterwards. To load it anew for each would take three times as long."""
    own = page.viewport_size
    for name, screen in SCREENS.items():
        if which not in name:
            continue
        page.set_viewport_size(screen["viewport"])
        page.emulate_media(color_scheme=screen["color_scheme"])
        yield name
    page.set_viewport_size(own)


def too_wide(page):
    """Whether it scrolls sideways."""
    return page.evaluate("document.documentElement.scrollWidth > innerWidth")


def violations(page, within=None):
    """What axe finds, everything unfolded: each rule with the first element that breaks it. `within`: axe's context."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="pip install axe-playwright-python")
    page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    found = axe.Axe().run(page, context=within).response["violations"]
    return [(one["id"], one["impact"], one["nodes"][0]["html"], one["nodes"][0]["failureSummary"]) for one in found]
