"""One environment for every page: escaped, self-contained, in one palette."""

from __future__ import annotations

import re
from importlib.resources import files

import pytest
from jinja2 import UndefinedError

from labeling_config.guidelines import page
from preference.pages import environment, palette, render


def test_html_is_escaped_and_other_text_is_not():
    shown = environment("labeling_config").get_template("guidelines.html.jinja").render(guidelines="<b>bold</b>")
    assert "<b>bold</b>" in shown, "marked as safe by the template"
    assert environment("preference.pages").from_string("{{ x }}").render(x="<") == "<"
    assert environment("preference.pages").overlay(autoescape=True).from_string("{{ x }}").render(x="<") == "&lt;"


def test_a_value_that_nobody_gave_is_an_error():
    with pytest.raises(UndefinedError, match="guidelines"):
        render("labeling_config", "guidelines.html.jinja")


def test_a_page_has_landmarks_a_title_and_needs_no_network():
    shown = page()
    for said in ("<!doctype html>", '<html lang="en">', "<main>", "<title>Annotation guidelines</title>", palette()):
        assert said in shown
    assert not re.search(r"(src|href)=.(https?:|//)", shown)


def test_every_colour_of_the_palette_has_a_dark_one():
    light, dark = palette().split("@media screen and (prefers-color-scheme: dark)")
    names = set(re.findall(r"--[a-z]+", light))
    assert names and names == set(re.findall(r"--[a-z]+", dark.split("@media")[0]))


@pytest.mark.parametrize("room", ["preference", "labeling_config", "qc_reports", "ml_backend", "release"])
def test_templates_take_their_colours_from_the_palette(room):
    for path in files(room).rglob("*.jinja"):
        assert not re.search(r"color: *#|background: *#", path.read_text()), f"{path} has a colour of its own"
