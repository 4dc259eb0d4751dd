"""An adjudicator's screen in a real browser: blind first, then the others' answers, then a decision with its cause."""

import pytest
from paths import ARTIFACTS
from screen_maker import CHOSEN, SEEN, annotations, make_project, open_stream, sign_in, submit

from labeling_config.questions import answers_in

EMAIL = "judith@example.com"


@pytest.fixture
def project(label_studio):
    return make_project(label_studio, EMAIL, "Adjudication", template="adjudication", prefix="j", tasks=1)


@pytest.fixture
def page(chromium, label_studio, project):
    with chromium.new_context(viewport={"width": 1440, "height": 900}) as context:
        context.set_default_timeout(30_000)
        page = context.new_page()
        sign_in(page, label_studio, EMAIL)
        yield page


def test_the_others_answers_come_after_ones_own_which_stays_and_a_decision_is_asked_for(page, label_studio, project):
    open_stream(page, label_studio, project)
    page.wait_for_function(SEEN)
    assert not page.get_by_text("What the others said:").is_visible()
    assert not page.get_by_text("Decision").is_visible()
    page.keyboard.press("1")
    page.keyboard.press("f")
    page.get_by_text("What the others said:").wait_for()
    page.keyboard.press("3")
    page.get_by_text("yours stays as it is").wait_for()
    page.keyboard.press("Enter")
    page.get_by_text("Decide: press 4, 5, 6 or 7.").wait_for()
    page.keyboard.press("Escape")
    page.get_by_text("Decide: press 4, 5, 6 or 7.").wait_for(state="hidden")
    page.keyboard.press("6")
    page.keyboard.press("i")
    ARTIFACTS.mkdir(exist_ok=True)
    page.screenshot(path=ARTIFACTS / "adjudication.png")
    assert page.evaluate(CHOSEN)[:2] == ["left", "4"]
    assert submit(page).status == 201
    said = answers_in(annotations(label_studio, project)["j0"][0]["result"], "A")
    assert (said["decision"], said["cause"]) == ("B", "slip")
