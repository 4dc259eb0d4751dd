"""The annotator's screen when things go wrong: nothing that a person has said is lost, and they are told what to do."""

import time

import httpx
import numpy as np
import pytest
from playwright.sync_api import expect
from process_maker import PATIENCE_S
from screen_maker import (
    BOTH_BEGAN,
    BOTH_ENDED,
    BOTH_PLAY,
    CHOSEN,
    CLOCKS,
    FRAME_S,
    PASSWORD,
    SEEN,
    annotations,
    answer_by_api,
    make_project,
    open_stream,
    sign_in,
    submit,
    task_ids,
)

from importer.studio.judgments import judge
from importer.studio.users import admin_session, annotator_session
from labeling_config import contract
from preference.records import Annotator, Assignment, Rejection

RAW = """() => [...document.querySelectorAll('video')].map(
  (video) => ({ at: video.currentTime, length: video.duration, paused: video.paused }))"""

WATCHED = "() => JSON.parse(sessionStorage.getItem(`robopref:watch:${window.Htx.task.id}`))"
"""What the page has kept of its pair."""


@pytest.fixture
def context(chromium):
    with chromium.new_context(viewport={"width": 1440, "height": 900}) as context:
        yield context


@pytest.fixture
def page(context):
    return context.new_page()


def begin(page, server, name, **how):
    """A person of that name, signed in, before the first pair of a project of their own."""
    email = f"{name}@example.com"
    project = make_project(server, email, f"Trouble · {name}", **how)
    sign_in(page, server, email)
    open_stream(page, server, project)
    return project


@pytest.mark.clock
def test_the_longer_clip_plays_on_when_the_shorter_has_ended(page, label_studio):
    begin(page, label_studio, "unequal", clips=("a", "long"))
    page.wait_for_function(BOTH_PLAY)
    page.wait_for_function(f"() => ({RAW})().some(({{ at, length }}) => length < 4 && at >= length - 0.05)")
    page.wait_for_function(f"() => ({RAW})().some(({{ at, length, paused }}) => length > 4 && at > 3.3 && !paused)")
    page.keyboard.press("Space")
    page.wait_for_function(f"() => ({RAW})().every(({{ paused }}) => paused)")
    page.keyboard.press("Space")  # goes on, and does not begin the shorter one again
    page.wait_for_function(BOTH_ENDED)
    assert sorted(round(video["length"]) for video in page.evaluate(RAW)) == [3, 5]


def test_an_answer_counts_only_once_both_clips_were_seen_to_their_end(page, label_studio):
    project = begin(page, label_studio, "hasty", clips=("a", "long"))
    page.wait_for_function(BOTH_PLAY)
    for key in ("1", "f", "Enter"):
        page.keyboard.press(key)
    page.get_by_text("to the end first").wait_for()
    page.locator('[aria-label="Submit current annotation"]').click(force=True)
    page.keyboard.press("Control+Enter")
    page.wait_for_timeout(500)
    assert annotations(label_studio, project)["t0"] == []
    for _ in range(80):  # stepping to the end is not watching
        page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    page.wait_for_timeout(300)
    assert annotations(label_studio, project)["t0"] == []
    page.keyboard.press("r")
    page.wait_for_function(SEEN)
    assert submit(page).status == 201
    (made,) = annotations(label_studio, project)["t0"]
    watch = contract.answer_of(made).watch
    assert (watch["replays"], watch["seen_left"], watch["seen_right"]) == (1, True, True)
    assert watch["pauses"] >= 1


def test_a_project_may_take_answers_at_once(page, label_studio):
    project = begin(page, label_studio, "freely", clips=("a", "long"), lines=[contract.watch_line(to_end=False)])
    page.locator(".rp-corner").wait_for()
    for key in ("3", "g"):
        page.keyboard.press(key)
    assert submit(page).status == 201
    (made,) = annotations(label_studio, project)["t0"]
    assert contract.answer_of(made).watch["seen_right"] is False


def test_the_response_time_is_work_from_the_first_play_to_the_answer(page, label_studio):
    page.clock.install()
    project = begin(page, label_studio, "slowly", clips=("c", "d"))
    began = page.evaluate("Date.now()")
    deadline = time.monotonic() + PATIENCE_S
    while not page.evaluate(f"({SEEN})()") and time.monotonic() < deadline:
        page.clock.run_for(100)
        page.wait_for_timeout(20)
    playing_ms = page.evaluate("Date.now()") - began
    page.mouse.move(5, 5)  # the last sign of life
    page.clock.run_for(5 * 60_000)  # looks out of the window for five minutes
    page.keyboard.press("1")
    page.clock.run_for(2_000)
    page.keyboard.press("f")
    page.clock.run_for(300)
    assert submit(page).status == 201
    page.clock.run_for(1000)
    (made,) = annotations(label_studio, project)["t0"]
    answer = contract.answer_of(made)
    # thirty seconds of the five minutes count, beside the playing; a second for rounding and for what passes by itself
    assert 30_000 < answer.response_ms < playing_ms + 30_000 + 1_000
    assert answer.watch["active_ms"] >= answer.response_ms + 2_000
    assert answer.lead_time_s * 1000 > 5 * 60_000


@pytest.mark.clock
def test_on_a_slow_network_both_wait_for_each_other_and_keep_step(page, context, label_studio):
    network = context.new_cdp_session(page)
    network.send("Network.enable")
    network.send("Network.setCacheDisabled", {"cacheDisabled": True})
    begin(page, label_studio, "snail", clips=("a", "long"))
    page.wait_for_function(SEEN)
    slow = {"offline": False, "latency": 400, "downloadThroughput": 20_000, "uploadThroughput": 20_000}
    network.send("Network.emulateNetworkConditions", slow)
    for key in ("2", "f", "Enter"):
        page.keyboard.press(key)
    page.wait_for_function("() => JSON.stringify(window.Htx?.task?.data ?? null).includes('t1')")
    apart = []
    while not page.evaluate(f"({BOTH_ENDED})()"):
        (left_plays, left, _), (right_plays, right, _) = page.evaluate(CLOCKS)
        if left_plays and right_plays:
            apart.append(abs(left - right))
        page.wait_for_timeout(100)
    assert np.percentile(apart, 90) < FRAME_S  # a busy machine may be seen in the middle of catching up


def test_a_missing_clip_is_said_and_skipped_and_the_reason_is_kept(page, label_studio):
    project = begin(page, label_studio, "missing", clips=("a", "nowhere"))
    page.get_by_text("This clip cannot be shown.").wait_for()
    assert page.locator(".rp-right .rp-missing").count() == 1
    expect(page.locator(".ant-modal-confirm-error:visible")).to_have_count(0)
    for key in ("1", "f", "Enter"):
        page.keyboard.press(key)
    page.get_by_text("press X to skip it").wait_for()
    assert submit(page, "x").status == 201
    (made,) = annotations(label_studio, project)["t0"]
    said = judge(
        made,
        Assignment("t0", "p", "ann", "b", 0, "A"),
        Annotator(
            "ann",
            "a@b",
            studio_user_id=made["completed_by"]["id"]
            if isinstance(made["completed_by"], dict)
            else made["completed_by"],
        ),
    )
    assert isinstance(said, Rejection)
    assert said.reason == "skipped: missing clip: right"


def test_what_was_skipped_comes_again_only_when_the_person_wants_it(page, label_studio):
    project = begin(page, label_studio, "skipper", clips=("c", "d"), tasks=2)
    for _ in range(2):
        page.wait_for_function(SEEN)
        assert submit(page, "x").status == 201
    page.wait_for_url("**/robopref/next*")
    page.get_by_text("See the 2 skipped pairs again").wait_for()
    page.keyboard.press("Enter")
    page.wait_for_function(SEEN)
    for key in ("1", "f"):
        page.keyboard.press(key)
    submit(page)
    page.wait_for_function(f"() => ({CHOSEN}).length === 0")
    page.wait_for_function(SEEN)
    assert submit(page, "x").status == 201  # and may stay skipped
    page.get_by_text("See the 1 skipped pair again").wait_for()
    kept = annotations(label_studio, project)
    assert sorted(any(not one["was_cancelled"] for one in own) for own in kept.values()) == [False, True]


def test_reloading_in_the_middle_of_a_pair_loses_nothing(page, label_studio):
    project = begin(page, label_studio, "reload", clips=("a", "b"))
    page.wait_for_function(SEEN)
    with page.expect_response(lambda reply: "/drafts" in reply.url and reply.request.method == "POST"):
        for key in ("3", "g"):
            page.keyboard.press(key)
    before = page.evaluate(WATCHED)
    assert before["left_ms"] > 0
    page.reload()
    page.wait_for_function(f"() => ({CHOSEN}).length === 2")
    assert page.evaluate(CHOSEN) == ["right", "5"]
    page.wait_for_function("() => !document.body.classList.contains('rp-not-yet')")  # both were seen before
    assert submit(page).status == 201
    (made,) = annotations(label_studio, project)["t0"]
    watch = contract.answer_of(made).watch
    assert watch["left_ms"] >= round(before["left_ms"]) and watch["active_ms"] >= round(before["active_ms"])


def test_of_two_tabs_the_newer_one_goes_on(page, context, label_studio):
    project = begin(page, label_studio, "tabs", clips=("c", "d"))
    page.wait_for_function(SEEN)
    other = context.new_page()
    open_stream(other, label_studio, project)
    page.get_by_text("You go on in another tab").wait_for()
    for key in ("1", "f", "Enter"):
        page.keyboard.press(key)
    other.wait_for_function(SEEN)
    for key in ("3", "g"):
        other.keyboard.press(key)
    assert submit(other).status == 201
    assert [len(own) for own in annotations(label_studio, project).values()] == [1, 0, 0]
    page.get_by_role("button", name="Go on here").click()
    page.wait_for_function(SEEN)
    other.get_by_text("You go on in another tab").wait_for()


def test_a_session_that_runs_out_while_typing_loses_nothing(page, context, label_studio):
    project = begin(page, label_studio, "expired", clips=("c", "d"))
    page.wait_for_function(SEEN)
    for key in ("1", "f", "w"):
        page.keyboard.press(key)
    page.keyboard.type("slips twice")
    context.clear_cookies()
    page.keyboard.press("Enter")
    page.wait_for_timeout(200)
    page.keyboard.press("Enter")
    page.get_by_text("You have been signed out").wait_for()
    with context.expect_page() as opened:
        page.keyboard.press("Enter")
    login = opened.value
    login.fill("[name=email]", "expired@example.com")
    login.fill("[name=password]", PASSWORD)
    with page.expect_response(lambda reply: "/annotations" in reply.url and reply.status == 201):
        login.keyboard.press("Enter")
    (made,) = annotations(label_studio, project)["t0"]
    assert contract.answer_of(made).reason == "slips twice"
    page.get_by_text("You have been signed out").wait_for(state="detached")


@pytest.mark.parametrize("saved", [False, True], ids=["before it was saved", "after it was saved"])
def test_a_busy_server_neither_loses_nor_doubles_an_answer(page, label_studio, saved):
    project = begin(page, label_studio, f"busy{saved}", clips=("c", "d"))
    page.wait_for_function(SEEN)
    failures = iter([True, True])

    def trouble(route):
        if route.request.method != "POST" or not next(failures, False):
            route.continue_()
            return
        if saved:
            route.fetch()
        route.fulfill(status=500, body="database is locked")

    page.route("**/api/tasks/*/annotations*", trouble)
    for key in ("2", "a", "Enter"):
        page.keyboard.press(key)
    page.get_by_text("trying again").wait_for()
    page.wait_for_function(f"() => ({CHOSEN}).length === 0")
    page.wait_for_function(SEEN)
    assert [len(own) for own in annotations(label_studio, project).values()] == [1, 0, 0]


def test_when_label_studio_changes_the_template_still_works_and_the_doctor_is_told(page, label_studio):
    """Label Studio's players under another name: the script finds none."""
    page.add_init_script(
        "Object.defineProperty(window, 'Htx', { set(made) { window.Other = made; }, get() { return undefined; } });"
    )
    email = "changed@example.com"
    project = make_project(label_studio, email, "Trouble · changed", clips=("c", "d"))
    sign_in(page, label_studio, email)
    open_stream(page, label_studio, project)
    page.wait_for_timeout(1500)
    for key in ("2", "a"):
        page.keyboard.press(key)
    assert submit(page, "Control+Enter").status == 201
    address = f"{label_studio.url}/robopref/health"
    deadline = time.monotonic() + PATIENCE_S  # the script gives up after ten seconds of its own, then reports
    with admin_session(label_studio.url, label_studio.token) as manager:
        told = False
        while not told and time.monotonic() < deadline:
            page.wait_for_timeout(500)
            health = manager.get(address).json()
            told = any("pair" in sentence for sentence in health["screen"])
    assert health["server"] == []
    assert told
    assert httpx.get(address).status_code == 401
    with annotator_session(label_studio.url, email, PASSWORD) as session:
        assert session.get(address).status_code == 403


def test_a_pair_that_somebody_else_has_open_is_waited_for(page, label_studio):
    email = "held@example.com"
    project = make_project(label_studio, email, "Trouble · held", tasks=1, clips=("c", "d"))
    with annotator_session(label_studio.url, label_studio.username, label_studio.password) as manager:
        taken = manager.post(f"{label_studio.url}/api/dm/actions/?id=next_task&project={project}", json={})
        assert taken.status_code == 200
    sign_in(page, label_studio, email)
    page.goto(f"{label_studio.url}/robopref/next")
    page.get_by_text("Somebody else has your next pair open").wait_for()
    answer_by_api(label_studio, email, task_ids(label_studio, project))


def test_a_manager_who_looks_on_sees_label_studio_s_own_buttons_and_no_progress(page, label_studio):
    project = make_project(label_studio, "watched@example.com", "Trouble · watched", clips=("c", "d"))
    sign_in(page, label_studio, label_studio.username, label_studio.password)
    task = task_ids(label_studio, project)[0]
    with page.expect_response(lambda reply: "/robopref/state" in reply.url):
        page.goto(f"{label_studio.url}/projects/{project}/data?task={task}")
        page.wait_for_selector(".rp-right")
    page.wait_for_function(BOTH_BEGAN)
    assert page.locator(".rp-corner").count() == 0
