"""GUIDELINES.md as HTML: a page of its own, and the text behind Label Studio's "Instructions" button."""

from __future__ import annotations

import re
from importlib.resources import files

from preference.pages import render

_PICTURE = re.compile(r"!\[[^\]]*\]\([^)]*\)\n*")


def instructions() -> str:
    """For a project's `expert_instruction`: the text alone, which is all that Label Studio's window shows well."""
    return _html(_PICTURE.sub("", _text()))


def page() -> str:
    """With its pictures, which are at `guidelines/NAME.jpg` beside the page."""
    text = _html(_text()).replace('src="pictures/', 'src="guidelines/')
    return render("labeling_config", "guidelines.html.jinja", guidelines=text)


def _text() -> str:
    return (files("labeling_config") / "GUIDELINES.md").read_text(encoding="utf-8")


def _html(markdown: str) -> str:
    from markdown_it import MarkdownIt

    return MarkdownIt("commonmark").enable("table").render(markdown)
