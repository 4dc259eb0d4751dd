"""The annotator's screen in a real browser, before a real server: seen, played, answered by keyboard alone."""

import time
from itertools import product

import pytest
from paths import ARTIFACTS
from screen_maker import (
    BOTH_PLAY,
    CHOSEN,
    CLOCKS,
    FRAME_S,
    REASONING,
    SEEN,
    annotations,
    make_project,
    open_stream,
    sign_in,
    submit,
    task_ids,
)

from labeling_config import contract

EMAIL = "carol@example.com"
SIZES = [(1440, 900), (1280, 720)]

PARTS = """['.rp-question', '.rp-guide a', '.rp-left canvas', '.rp-right canvas', '.rp-left .lsf-seeker',
    '.rp-answer input[name=left]', '.rp-answer', '.rp-sure', '.rp-why input']"""
READY = f"() => ({CLOCKS})().every(([, , length]) => length > 0)"
"""Both clips could be played."""
ALL_THERE = f"() => {PARTS}.every((css) => document.querySelector(css))"
LAID_OUT = """() => {
  const box = (css) => { const r = document.querySelector(css).getBoundingClientRect();
    return [r.left, r.top, r.right, r.bottom]; };
  const stage = document.querySelector('.lsf-main-view__annotation');
  const boxes = Object.fromEntries(PARTS.map((css) => [css, box(css)]));
  return { boxes, stage: box('.lsf-main-view__annotation'), scrolls: stage.scrollHeight > stage.clientHeight + 1 };
}""".replace("PARTS", PARTS)

IN_COLORS = """(scheme) => {
  localStorage.setItem('preferred-color-scheme', scheme[0].toUpperCase() + scheme.slice(1));
  handleThemeColor();
  if (document.documentElement.dataset.colorScheme !== scheme) throw new Error('the page has other colours');
}"""
"""As Label Studio sets them while a page loads."""


@pytest.fixture(scope="module")
def projects(label_studio):
    """Carol's projects: production, training, and one as the expert has it."""
    names = [*contract.TEMPLATES, "expert"]
    return {name: make_project(label_studio, EMAIL, f"Screen · {name}", template=name) for name in names}


@pytest.fixture
def page(chromium, label_studio, projects):
    """Carol, signed in."""
    with chromium.new_context(viewport={"width": 1440, "height": 900}) as context:
        page = context.new_page()
        sign_in(page, label_studio, EMAIL)
        yield page


def test_a_pair_is_judged_by_keyboard_alone(page, label_studio, projects):
    project, began = projects["pair_compare"], time.monotonic()
    open_stream(page, label_studio, project)
    page.wait_for_function(BOTH_PLAY)  # by themselves
    page.keyboard.press("Space")
    page.wait_for_function(f"() => ({CLOCKS})().every(([playing]) => !playing)")
    (_, at, length), _ = page.evaluate(CLOCKS)
    page.keyboard.press("ArrowRight")
    expected = min(at + FRAME_S, length)
    page.wait_for_function(f"() => ({CLOCKS})().every(([, now]) => Math.abs(now - {expected}) < 0.02)")
    page.keyboard.press("Space")
    page.wait_for_function(SEEN)
    page.keyboard.press("r")
    page.wait_for_function(BOTH_PLAY)  # from the start: they had ended

    for key in ("3", "3", "f"):  # pressed twice, it stays chosen
        page.keyboard.press(key)
    assert page.evaluate(CHOSEN) == ["right", "4"]
    page.keyboard.press("w")
    page.keyboard.type("steady 123 grasp")
    page.keyboard.press("Enter")
    page.wait_for_function("() => document.activeElement.tagName !== 'INPUT' || document.activeElement.type !== 'text'")
    assert page.evaluate(CHOSEN) == ["right", "4"]  # digits typed as text are not answers
    page.wait_for_function(SEEN)
    assert submit(page).status == 201
    read = contract.answer_of(annotations(label_studio, project)["t0"][0])
    assert (read.side, read.confidence, read.reason) == ("right", 4, "steady 123 grasp")
    assert 0 < read.lead_time_s < time.monotonic() - began

    page.wait_for_function(f"() => ({CHOSEN}).length === 0")  # the next pair, unanswered
    page.wait_for_function(BOTH_PLAY)


def test_help_lists_the_keys_and_nothing_is_submitted_without_an_answer_and_a_confidence(
    page, label_studio, projects
):  # fmt: skip
    open_stream(page, label_studio, projects["pair_compare"])
    page.wait_for_function(BOTH_PLAY)
    page.keyboard.press("?")
    help_box = page.get_by_role("dialog", name="keys")
    assert help_box.get_by_text("play or pause both clips").is_visible()
    page.keyboard.press("Escape")
    assert help_box.count() == 0
    page.wait_for_function(SEEN)
    page.keyboard.press("1")
    page.keyboard.press("Enter")
    page.get_by_text("How sure are you?").wait_for()
    assert annotations(label_studio, projects["pair_compare"]).get("t1", []) == []


@pytest.mark.parametrize("plugin", [True, False], ids=["plugin", "template alone"])
def test_in_training_the_experts_words_come_after_ones_own_answer_and_not_before(page, label_studio, plugin):
    project = make_project(label_studio, EMAIL, f"Training · {plugin}", template="calibration", prefix=f"words{plugin}")

    def shown():
        text = page.evaluate("document.body.innerText")
        return [words in text for words in ("The expert: left is better", REASONING)]

    if not plugin:
        page.route("**/robopref/*.js", lambda route: route.abort())
    open_stream(page, label_studio, project)
    page.wait_for_function(READY)
    assert page.evaluate(CHOSEN) == [] and shown() == [False, False]
    page.keyboard.press("3")
    page.wait_for_function(f"() => ({CHOSEN}).length === 1")
    assert shown() == [False, False]
    page.keyboard.press("d")
    page.get_by_text("The expert: left is better").wait_for()
    assert shown() == [True, True]
    assert page.evaluate(CHOSEN) == ["right", "3"]
    if plugin:  # from now on the answer stays, by key and by mouse
        page.keyboard.press("1")
        page.get_by_text("yours stays as it is").wait_for()
        page.locator(".rp-answer .ant-radio-wrapper").first.click()
        page.keyboard.press("f")
        page.wait_for_function(f"() => ({CHOSEN})[1] === '4'")
        assert page.evaluate(CHOSEN) == ["right", "4"]


def test_the_expert_submits_nothing_without_a_reason(page, label_studio, projects):
    open_stream(page, label_studio, projects["expert"])
    page.wait_for_function(SEEN)
    for key in ("1", "f", "Enter"):
        page.keyboard.press(key)
    page.get_by_text("Why? Press W to say it.").wait_for()
    page.keyboard.press("Escape")
    page.get_by_text("Why? Press W to say it.").wait_for(state="hidden")
    page.keyboard.press("w")
    page.keyboard.type("it lets go")
    page.keyboard.press("Enter")
    page.wait_for_timeout(200)
    page.wait_for_function(SEEN)
    assert submit(page).status == 201
    assert contract.answer_of(annotations(label_studio, projects["expert"])["t0"][0]).reason == "it lets go"


def test_the_template_alone_is_enough(page, label_studio):
    """Without the plugin's script: Label Studio's own keys."""
    page.route("**/robopref/*.js", lambda route: route.abort())
    project = make_project(label_studio, EMAIL, "Screen · template alone", prefix="alone", tasks=1)
    open_stream(page, label_studio, project)
    page.wait_for_function(READY)
    page.wait_for_timeout(1000)
    assert page.evaluate(CLOCKS)[0][0] is False
    page.keyboard.press("Control+Alt+Space")
    page.wait_for_function(BOTH_PLAY)
    for key in ("2", "a"):
        page.keyboard.press(key)
    assert page.evaluate(CHOSEN) == ["equal", "1"]
    assert submit(page, "Control+Enter").status == 201
    assert contract.answer_of(annotations(label_studio, project)["alone0"][0]).side == "equal"


def test_nothing_that_the_page_asks_for_by_itself_is_refused(page, label_studio):
    """Label Studio would show each refusal to the annotator as an error."""
    refused = []
    page.on("response", lambda answer: refused.append((answer.status, answer.url)) if answer.status == 403 else None)
    project = make_project(label_studio, EMAIL, "Screen · quiet", prefix="quiet")
    open_stream(page, label_studio, project)
    page.wait_for_function(SEEN)
    page.keyboard.press("1")
    page.keyboard.press("f")
    assert submit(page).status == 201
    page.wait_for_load_state("networkidle")
    assert refused == []
    assert page.get_by_text("Runtime error").count() == 0


def laid_out(page):
    """Where the parts are, once none of them moves any more."""
    before, now = None, page.evaluate(LAID_OUT)
    while now != before:
        page.wait_for_timeout(200)
        before, now = now, page.evaluate(LAID_OUT)
    return now


@pytest.mark.parametrize("name", contract.TEMPLATES)
def test_everything_is_in_sight_without_scrolling(page, label_studio, name):
    project = make_project(label_studio, EMAIL, f"In sight · {name}", template=name, prefix="sight")
    ARTIFACTS.mkdir(exist_ok=True)
    served = task_ids(label_studio, project)[0]  # an annotator may open what they were served
    for view, query in (("stream", "labeling=1"), ("manager", f"task={served}")):
        page.set_viewport_size(dict(zip(("width", "height"), SIZES[0], strict=True)))
        page.goto(f"{label_studio.url}/projects/{project}/data?{query}")
        page.wait_for_function(BOTH_PLAY)
        page.keyboard.press("Space")  # playing on costs as much as all else here
        if name == "calibration":
            expert = page.get_by_text("The expert: left is better")
            assert page.evaluate(CHOSEN) or not expert.is_visible()
            page.keyboard.press("2")
            page.keyboard.press("d")
            expert.wait_for()
        page.wait_for_function(ALL_THERE)
        for scheme, (width, height) in product(("light", "dark"), SIZES):
            page.evaluate(IN_COLORS, scheme)
            page.set_viewport_size({"width": width, "height": height})
            seen = laid_out(page)
            page.screenshot(path=ARTIFACTS / f"{name}-{view}-{width}-{scheme}.png")
            left, top, right, bottom = seen["stage"]
            assert not seen["scrolls"]
            for part, (x0, y0, x1, y1) in seen["boxes"].items():
                inside = left <= x0 and x1 <= min(right, width) and top <= y0 and y1 <= min(bottom, height)
                assert inside, f"{part} is cropped at {width}x{height} in the {view} view, {scheme}"
            one, other = seen["boxes"][".rp-left canvas"], seen["boxes"][".rp-right canvas"]
            assert one[2] - one[0] == pytest.approx(other[2] - other[0], abs=1)
            assert min(one[2] - one[0], one[3] - one[1]) >= (380 if name == "pair_compare" else 300)
