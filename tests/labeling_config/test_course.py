"""A person's way through their projects, from login to the last pair, by keyboard alone."""

import json
import re

import pytest
from paths import ARTIFACTS
from screen_maker import (
    CHOSEN,
    CLOCKS,
    FRAME_S,
    PASSWORD,
    QUESTION,
    SEEN,
    annotations,
    answer_by_api,
    log_in,
    make_project,
    mark,
    open_stream,
    sign_in,
    submit,
    task_ids,
)

from importer.studio.users import admin_session, annotator_session, create_annotator
from labeling_config import contract

EMAIL = "dora@example.com"
SAID = [("left", "1"), ("equal", "2"), ("right", "3")]
SURE = [(1, "a"), (2, "s"), (3, "d"), (4, "f"), (5, "g")]
STAGES = {"training": ("calibration", 2), "calibration-1": ("pair_compare", 3), "production": ("pair_compare", 10)}


@pytest.fixture(scope="module")
def course(label_studio):
    """Dora's projects, made in the wrong order on purpose."""
    made = {}
    for phase in reversed(STAGES):
        template, tasks = STAGES[phase]
        lines = [mark(phase, "dora")]
        made[phase] = make_project(
            label_studio,
            EMAIL,
            f"Course · {phase}",
            clips=("c", "d"),
            tasks=tasks,
            template=template,
            lines=lines,
            prefix=phase,
        )
    return made


@pytest.fixture
def page(chromium):
    with chromium.new_context(viewport={"width": 1440, "height": 900}) as context:
        yield context.new_page()


def at(page):
    """The project that is on the screen."""
    return int(re.search(r"/projects/(\d+)/", page.url)[1])


@pytest.mark.clock
def test_from_login_through_training_and_test_to_production_with_three_keys_a_pair(page, label_studio, course):
    log_in(page, label_studio, EMAIL)
    drifts, pressed, expected = [], 0, {}
    for phase, (_, tasks) in STAGES.items():
        page.wait_for_url(f"**/projects/{course[phase]}/data?labeling=1*")
        for index in range(tasks):
            shown = f"() => JSON.stringify(window.Htx?.task?.data ?? null).includes('{phase}{index}')"
            page.wait_for_function(shown)
            page.wait_for_function(f"() => ({CHOSEN}).length === 0 && ({CLOCKS})().some(([, at]) => at > 0)")
            drifts += [abs(left - right) for (_, left, _), (_, right, _) in [page.evaluate(CLOCKS) for _ in range(5)]]
            page.wait_for_function(SEEN)
            (side, answer), (sure, confidence) = SAID[index % 3], SURE[index % 5]
            for key in (answer, confidence):
                page.keyboard.press(key)
            page.wait_for_function(f"() => ({CHOSEN}).length === 2")
            if (phase, index) == ("production", 7):
                ARTIFACTS.mkdir(exist_ok=True)
                page.screenshot(path=ARTIFACTS / "course-production.png")
            assert submit(page).status == 201
            pressed += 3
            expected[f"{phase}{index}"] = (side, sure)
    page.wait_for_url("**/robopref/next*")
    page.get_by_text("You have answered 15 pairs.").wait_for()
    page.screenshot(path=ARTIFACTS / "course-done.png")

    assert max(drifts) < FRAME_S
    read = {
        key: [contract.answer_of(one) for one in own]
        for p in course.values()
        for key, own in annotations(label_studio, p).items()
    }
    assert {key: [(one.side, one.confidence) for one in own] for key, own in read.items()} == {
        k: [v] for k, v in expected.items()
    }
    for (one,) in read.values():
        assert one.watch["seen_left"]
        assert one.watch["seen_right"]
        # a clip of a second, of which Label Studio moves up to a quarter at the end; counted while pictures are shown
        assert 600 <= one.watch["left_ms"] <= 5000
        assert 0 < one.response_ms <= 1000 * one.lead_time_s
    figures = {"largest_drift_ms": round(1000 * max(drifts), 1), "keys_per_judgment": pressed / len(expected)}
    (ARTIFACTS / "course.json").write_text(json.dumps(figures))


def test_production_is_not_opened_before_the_test_is_done(page, label_studio):
    email = "early@example.com"
    test = make_project(
        label_studio, email, "Early · test", clips=("c", "d"), tasks=1, lines=[mark("calibration-1", "early")]
    )
    main = make_project(
        label_studio, email, "Early · main", clips=("c", "d"), tasks=1, lines=[mark("production", "early")]
    )
    sign_in(page, label_studio, email)
    page.goto(f"{label_studio.url}/projects/{main}/data?labeling=1")
    page.wait_for_url(f"**/projects/{test}/data?labeling=1*")


@pytest.mark.parametrize(
    ("phase", "words"),
    [(None, "No pairs have been given to you yet"), ("training", "Next comes a test"),
     ("calibration-1", "compared with the expert's"), ("production", "more pairs may follow")],
)  # fmt: skip
def test_when_nothing_is_left_they_are_told_so_and_what_comes_next(page, label_studio, phase, words):
    email = f"idle-{phase or 'new'}@example.com"
    if phase:
        project = make_project(label_studio, email, f"Idle · {phase}", tasks=1, lines=[mark(phase, "idle")])
        answer_by_api(label_studio, email, task_ids(label_studio, project))
    else:
        create_annotator(label_studio.url, label_studio.token, email, PASSWORD)
    log_in(page, label_studio, email)
    page.get_by_text(words).wait_for()


def test_the_corner_tells_done_left_and_pace_and_nothing_of_gold_or_agreement(page, label_studio):
    email = "pace@example.com"
    project = make_project(label_studio, email, "Pace", tasks=6, clips=("c", "d"))
    tasks = task_ids(label_studio, project)
    answer_by_api(label_studio, email, tasks[:4])
    with annotator_session(label_studio.url, email, PASSWORD) as session:
        said = session.get(f"{label_studio.url}/robopref/state?project={project}&task={tasks[4]}").json()
    assert set(said) == {"next", "stage", "upcoming", "watch_to_end", "pace"}
    assert (said["stage"]["done"], said["stage"]["left"]) == (4, 2)
    assert said["pace"] > 0
    log_in(page, label_studio, email)
    page.locator(".rp-corner").wait_for()
    assert re.fullmatch(r"4 done\s*2 left\s*\d+ an hour", page.inner_text(".rp-corner").replace("\n", " "))


def test_the_last_page_of_somebody_from_outside_shows_their_completion_code(page, label_studio):
    email = "outside-p1@example.com"
    lines = [mark("production", "outside-p1")]
    project = make_project(label_studio, email, "Outside", tasks=1, clips=("c", "d"), lines=lines)
    log_in(page, label_studio, email)
    page.wait_for_function(SEEN)
    answer_by_api(label_studio, email, task_ids(label_studio, project))
    page.goto(f"{label_studio.url}/robopref/next")
    page.get_by_text("Nothing left for now").wait_for()
    with admin_session(label_studio.url, label_studio.token) as manager:
        address = f"{label_studio.url}/api/projects/{project}/"
        described = contract.completed(manager.get(address).json()["description"], "ABCDE-FGHIJ")
        manager.patch(address, json={"description": described}).raise_for_status()
    page.locator("#completion").wait_for()  # by itself
    assert page.inner_text("#completion") == "ABCDE-FGHIJ"


def test_every_fifty_pairs_there_is_a_kind_word(page, label_studio):
    email = "fifty@example.com"
    project = make_project(label_studio, email, "Fifty", tasks=51, clips=("c", "d"))
    answer_by_api(label_studio, email, task_ids(label_studio, project)[:49])
    log_in(page, label_studio, email)
    page.wait_for_function(SEEN)
    for key in "2f":
        page.keyboard.press(key)
    assert submit(page).status == 201
    assert page.locator(".rp-say").inner_text().startswith("50 pairs.")


def test_after_enough_right_in_a_row_the_screen_says_what_is_left_out(page, label_studio):
    email = "known@example.com"
    about = ["grasp"] * 6 + ["contrast"]
    project = make_project(
        label_studio, email, "Known", tasks=7, clips=("c", "d"), template="calibration", about=about,
        lines=[mark("training", "known")],
    )  # fmt: skip
    answer_by_api(label_studio, email, task_ids(label_studio, project)[:3])
    log_in(page, label_studio, email)
    page.wait_for_function(SEEN)
    for key in "1f":
        page.keyboard.press(key)
    assert submit(page).status == 201
    assert page.locator(".rp-say").inner_text() == "Enough right in a row: 2 more pairs of this kind left out."
    page.wait_for_function("() => JSON.stringify(window.Htx?.task?.data ?? null).includes('t6')")


def test_the_next_pairs_clips_are_in_the_browser_before_the_present_one_is_answered(page, label_studio):
    email = "ahead@example.com"
    project = make_project(label_studio, email, "Ahead", tasks=3, clips=("long", "d"))
    with admin_session(label_studio.url, label_studio.token) as manager:
        address = f"{label_studio.url}/api/tasks/{task_ids(label_studio, project)[1]}/"
        data = contract.task_data(
            "t1", *(f"/data/local-files/?d=clips/{c}.mp4" for c in "ba"), fps=15, question=QUESTION
        )
        manager.patch(address, json={"data": data}).raise_for_status()
    fetched = []
    page.on("requestfinished", lambda request: fetched.append(request.url))
    sign_in(page, label_studio, email)
    open_stream(page, label_studio, project)
    page.wait_for_function(SEEN)
    ahead = f"/robopref/clips/{task_ids(label_studio, project)[1]}/"
    found = {url for url in fetched if ahead in url}
    assert {url.rpartition("/")[2] for url in found} == {"left", "right"}
    assert all("max-age" in page.request.get(url).headers["cache-control"] for url in found)
