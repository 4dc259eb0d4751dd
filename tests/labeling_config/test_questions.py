"""Questions beside the comparison: asked by settings, answered by keys, read whatever comes, and worth no judgment."""

import random
from xml.etree import ElementTree

import pytest
from paths import ARTIFACTS
from random_json_maker import any_json
from screen_maker import BOTH_PLAY, SEEN, annotations, make_project, open_stream, sign_in, submit, task_ids

from importer.studio.judgments import judge
from labeling_config import contract
from labeling_config.questions import MOST_MARKS, WHAT, WHY, answers_in, with_questions
from preference.records import Annotator, Assignment, Judgment

EMAIL = "quentin@example.com"
ALL = {"outcome": True, "where": True, "why": True, "part": True}
NONE = dict.fromkeys(ALL, False)


def region(name, value, kind="textarea"):
    return {"id": name, "from_name": name, "to_name": "left", "type": kind, "value": value}


SAID = [
    *contract.result_of("left", 4, "steadier"),
    region("outcome_left", {"choices": ["success"]}, "choices"),
    region("outcome_right", {"choices": ["failure"]}, "choices"),
    region("why", {"choices": ["efficiency", "grasp"]}, "choices"),
    region("where", {"text": ["right 3.20 slip", "left nowhere", "right 5.1"]}),
    region("part", {"text": ["left 3.40 1.20"]}),
]
READ = {
    "outcome": {"A": "failure", "B": "success"},
    "why": ["grasp", "efficiency"],
    "where": [{"of": "A", "at": 3.2, "what": "slip"}, {"of": "B", "at": None, "what": ""},
              {"of": "A", "at": 5.1, "what": ""}],
    "part": [{"better": "B", "from": 1.2, "to": 3.4}],
}  # fmt: skip


def test_without_a_question_the_template_is_the_same_and_each_adds_its_controls():
    template = contract.load_template("pair_compare")
    assert with_questions(template, **NONE) == template
    for name in ALL:
        root = ElementTree.fromstring(with_questions(template, **(NONE | {name: True})))
        names = {one.get("name") for one in root.iter() if one.get("toName")} - {"preference", "confidence", "reason"}
        assert names == ({"outcome_left", "outcome_right"} if name == "outcome" else {name})
        assert contract.missing_in(with_questions(template, **ALL)) == []
    assert {one.get("required") for one in ElementTree.fromstring(with_questions(template, **ALL)).iter()
            if one.get("name") in ("where", "why", "part", "outcome_left")} == {None}  # fmt: skip


def test_what_was_said_is_about_a_and_b():
    assert answers_in(SAID, "B") == READ
    assert answers_in(SAID, "A")["outcome"] == {"A": "success", "B": "failure"}
    assert answers_in(contract.result_of("left", 4), "A") == {}
    made = judge(
        {"id": 1, "task": 10, "completed_by": 5, "lead_time": 8.5, "result": SAID},
        Assignment("x", "p", "ann", "b", 0, "B", task_id=10), Annotator("ann", "ann@example.org", studio_user_id=5),
    )  # fmt: skip
    assert isinstance(made, Judgment) and made.questions == READ


@pytest.mark.parametrize(
    "line",
    [
        "",
        "left",
        "left x slip",
        "up 3.2",
        "left 3.2 sleep",
        "left -1",
        "left 1e5",
        "left 99999",
        "left nan",
        5,
        None,
        {},
    ],
)
def test_what_is_no_mark_is_left_out(line):
    assert answers_in([region("where", {"text": [line, "left 1.5"]})], "A") == {
        "where": [{"of": "A", "at": 1.5, "what": ""}]
    }


def test_whatever_comes_is_read_within_bounds_and_costs_no_judgment():
    many = [f"left {i}.5" for i in range(500)]
    assert len(answers_in([region("where", {"text": many})], "A")["where"]) == MOST_MARKS
    assert answers_in([region("part", {"text": "left 2 2"})], "A") == {}, "a part of no length"
    assert answers_in([region("outcome_left", {"choices": ["success", "failure"]})], "A") == {}
    rng = random.Random(1)
    for _ in range(2000):
        name = rng.choice(["outcome_left", "why", "where", "part"])
        result = [*contract.result_of("left", 4), {"from_name": name, "value": any_json(rng)}, any_json(rng)]
        said = answers_in(result, "A")
        assert set(said) <= set(READ)
        answers_in(any_json(rng), "B")


def test_every_word_of_the_page_is_one_that_is_read():
    from importlib.resources import files

    script = files("labeling_config").joinpath("plugin/static/marks.js").read_text()
    assert f"const WHAT = {list(WHAT)}".replace("'", '"') in script
    keys = files("labeling_config").joinpath("plugin/static/keys.js").read_text()
    assert f"const WHY = {list(WHY)}".replace("'", '"') in keys


@pytest.fixture
def project(label_studio):
    return make_project(label_studio, EMAIL, "Questions", questions=ALL, prefix="q")


@pytest.fixture
def page(chromium, label_studio, project):
    with chromium.new_context(viewport={"width": 1440, "height": 900}) as context:
        page = context.new_page()
        sign_in(page, label_studio, EMAIL)
        yield page


def test_all_questions_are_answered_by_keys_and_a_manager_can_try_it_without_a_trace(
    page, chromium, label_studio, project
):
    open_stream(page, label_studio, project)
    page.wait_for_function(BOTH_PLAY)
    page.wait_for_function(SEEN)
    page.keyboard.press("m")
    page.get_by_text("In which clip did it go wrong?").first.wait_for()
    for key in ("ArrowRight", "2", "m", "ArrowLeft", "0", "r"):
        page.keyboard.press(key)
    page.wait_for_function(BOTH_PLAY)
    page.keyboard.press("b")
    page.wait_for_timeout(100)
    page.keyboard.press("Space")
    page.wait_for_function(SEEN)
    for key in ("b", "ArrowLeft", "q", "e", "e", "e", "5", "9", "8", "8", "1", "f"):
        page.keyboard.press(key)
    page.get_by_label("take back: left: nowhere").wait_for()
    assert page.locator(".rp-notches .rp-notch").count() == 1 and page.locator(".rp-notches .rp-span").count() == 1
    ARTIFACTS.mkdir(exist_ok=True)
    page.locator(".rp-say").wait_for(state="detached")
    page.screenshot(path=ARTIFACTS / "questions.png")
    bottom = page.evaluate(
        "Math.max(...[...document.querySelectorAll('.rp-ask')].map((one) => one.getBoundingClientRect().bottom))"
    )
    assert (
        bottom
        <= page.locator(".lsf-main-view__annotation").bounding_box()["y"]
        + page.locator(".lsf-main-view__annotation").bounding_box()["height"]
    )
    assert submit(page).status == 201
    said = answers_in(annotations(label_studio, project)["q0"][0]["result"], "A")
    assert said["outcome"] == {"A": "success", "B": "failure"} and said["why"] == ["grasp", "efficiency"]
    assert [(one["of"], one["what"]) for one in said["where"]] == [("B", "slip"), ("A", "")]
    assert said["where"][0]["at"] > 0.5 and said["where"][1]["at"] is None
    assert said["part"][0]["better"] == "A"
    page.get_by_label("take back").first.wait_for(state="detached")  # the next pair has none

    # three keys are enough, with all questions asked
    page.wait_for_function(SEEN)
    page.keyboard.press("3")
    page.keyboard.press("d")
    assert submit(page).status == 201
    assert answers_in(annotations(label_studio, project)["q1"][0]["result"], "A") == {}

    last = task_ids(label_studio, project)[2]
    with chromium.new_context(viewport={"width": 1440, "height": 900}) as context:
        manager = context.new_page()
        sign_in(manager, label_studio, label_studio.username, label_studio.password)
        manager.goto(f"{label_studio.url}/projects/{project}/data?task={last}&preview")
        manager.wait_for_function(SEEN)
        for key in ("1", "f", "Enter"):
            manager.keyboard.press(key)
        manager.get_by_text("Preview: nothing was stored.").wait_for()
    assert annotations(label_studio, project).get("q2", []) == []
