"""GUIDELINES.md as HTML: a page of its own, and the text behind Label Studio's "Instructions" button."""

from __future__ import annotations

import re
from importlib.resources import files

_PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Annotation guidelines</title>
<meta name="viewport" content="width=device-width"><style>
:root {{ color-scheme: light dark; }}
body {{ max-width: 44rem; margin: 2rem auto; padding: 0 1rem; font: 17px/1.55 system-ui, sans-serif; }}
h1, h2 {{ line-height: 1.2; margin-top: 2rem; }} table {{ border-collapse: collapse; }}
th, td {{ padding: .4rem .8rem; border-bottom: 1px solid #8886; text-align: left; vertical-align: top; }}
img {{ max-width: 100%; height: auto; border-radius: 6px; }}
</style></head><body>{body}</body></html>"""
_PICTURE = re.compile(r"!\[[^\]]*\]\([^)]*\)\n*")


def instructions() -> str:
    """For a project's `expert_instruction`: the text alone, which is all that Label Studio's window shows well."""
    return _html(_PICTURE.sub("", _text()))


def page() -> str:
    """With its pictures, which are at `guidelines/NAME.jpg` beside the page."""
    return _PAGE.format(body=_html(_text()).replace('src="pictures/', 'src="guidelines/'))


def _text() -> str:
    return (files("labeling_config") / "GUIDELINES.md").read_text(encoding="utf-8")


def _html(markdown: str) -> str:
    from markdown_it import MarkdownIt

    return MarkdownIt("commonmark").enable("table").render(markdown)
