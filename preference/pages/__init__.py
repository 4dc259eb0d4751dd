"""Every page of the project: a template and values go in, the text of a self-contained page comes out.

A package keeps its templates in its folder `templates/`. An HTML page there extends `page.html.jinja`, which brings the
landmarks, the palette (light, dark, print) and the styles that all pages share. A name that a template uses and nobody
gave is an error. HTML is escaped; templates of other kinds (Markdown, YAML) are not.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from preference.formats import figure, interval, moment, number, seconds, share

if TYPE_CHECKING:
    from jinja2 import Environment


def render(package: str, template: str, /, **values: Any) -> str:
    """The text of `PACKAGE/templates/TEMPLATE`."""
    return environment(package).get_template(template).render(**values)


@cache
def environment(package: str) -> Environment:
    """The templates of a package above those that all share."""
    from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

    made = Environment(
        loader=ChoiceLoader([PackageLoader(package), PackageLoader("preference.pages")]),
        undefined=StrictUndefined,
        autoescape=lambda name: name is not None and ".html" in name,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters |= {
        "figure": figure, "interval": interval, "share": share, "seconds": seconds, "number": number, "moment": moment,
        "percent": percent,
    }  # fmt: skip
    return made


def percent(place: float) -> str:
    """A place on an axis from 0 to 1 as an SVG percentage; what lies outside is drawn at the end."""
    return f"{100 * min(max(place, 0.0), 1.0):.2f}%"


def palette() -> str:
    """The colours alone, as CSS, for pages that other frameworks make."""
    return files("preference.pages").joinpath("templates", "palette.css").read_text(encoding="utf-8")
