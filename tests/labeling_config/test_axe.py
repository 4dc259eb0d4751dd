"""axe finds nothing on the annotator's pages, wide and narrow, light and dark; on a phone nothing is cut off."""

import pytest
from axe_maker import SCREENS, on_each_screen, too_wide, violations
from screen_maker import SEEN, answer_by_api, make_project, mark, open_stream, sign_in, task_ids

from labeling_config import contract

ALL = {"outcome": True, "where": True, "why": True, "part": True}
CUT_OFF = """() => [...document.querySelectorAll('.rp *, .lsf-bottombar button, .rp-corner')]
  .filter((one) => one.checkVisibility() && !one.closest('svg'))
  .map((one) => [one.className, one.getBoundingClientRect()])
  .filter(([, box]) => box.width && (box.left < -8 || box.right > innerWidth + 1)).map(([name]) => String(name))"""


@pytest.fixture(params=["desktop light", "phone dark"])
def screen(request):
    """Where the page is loaded and used; then it is looked at in both sizes. Label Studio takes its colours when it is
    loaded, and loading it takes longer than all else here."""
    return request.param


@pytest.fixture
def page(chromium, screen):
    with chromium.new_context(**SCREENS[screen]) as context:
        page = context.new_page()
        scheme = screen.split()[1].capitalize()
        page.add_init_script(f"localStorage.setItem('preferred-color-scheme', '{scheme}')")
        yield page


@pytest.fixture(scope="module")
def asked(label_studio):
    return make_project(label_studio, "axel@example.com", "Questions", questions=ALL, prefix="axq", tasks=1)


@pytest.fixture(scope="module")
def judged(label_studio):
    return make_project(label_studio, "axia@example.com", "Axia", template="adjudication", prefix="axj", tasks=1)


def nothing_wrong(page, screen):
    for name in on_each_screen(page, screen.split()[1]):
        assert violations(page) == [], name
        assert not too_wide(page), name
        assert page.evaluate(CUT_OFF) == [], name


def test_the_screen_with_all_questions_and_a_mark_by_its_buttons(page, screen, label_studio, asked):
    sign_in(page, label_studio, "axel@example.com")
    open_stream(page, label_studio, asked)
    page.wait_for_function(SEEN)
    page.get_by_role("button", name="where it went wrong").click()
    page.get_by_role("button", name="← left").wait_for()
    nothing_wrong(page, screen)
    page.get_by_role("button", name="← left").click()
    page.get_by_role("button", name="slip").click()
    page.get_by_label("take back: left").wait_for()
    page.locator(".rp-say").wait_for(state="detached")
    nothing_wrong(page, screen)
    page.get_by_label("take back: left").click()


def test_adjudication_with_the_others_answers_and_the_decision(page, screen, label_studio, judged):
    sign_in(page, label_studio, "axia@example.com")
    open_stream(page, label_studio, judged)
    page.wait_for_function(SEEN)
    for words in ("Left is better", "4"):
        page.locator(".rp label", has_text=words).first.click()
    page.get_by_text("What the others said:").wait_for()
    nothing_wrong(page, screen)


@pytest.mark.parametrize("code", ["", "QUIET-OTTER"])
def test_the_last_page_with_and_without_a_completion_code(page, screen, label_studio, code):
    email = f"axton{len(code)}{page.viewport_size['width']}{page.evaluate('Math.random()')}@example.com"
    lines = [mark("production")]
    project = make_project(label_studio, email, "Production", tasks=1, prefix=email, lines=lines)
    answer_by_api(label_studio, email, task_ids(label_studio, project))
    if code:
        tell(label_studio, project, code)
    sign_in(page, label_studio, email)
    page.goto(f"{label_studio.url}/robopref/next")
    assert (page.locator("#completion").inner_text() if code else "") == code
    nothing_wrong(page, screen)


def tell(server, project, code):
    from importer.studio.users import admin_session

    with admin_session(server.url, server.token) as manager:
        address = f"{server.url}/api/projects/{project}/"
        found = manager.get(address).json()["description"]
        manager.patch(address, json={"description": contract.completed(found, code)}).raise_for_status()


@pytest.mark.parametrize("place", ["guidelines", "signed-in", "console"])
def test_the_plugins_other_pages(page, screen, label_studio, asked, place):
    """Of the console, what an annotator is told there."""
    sign_in(page, label_studio, "axel@example.com")
    page.goto(f"{label_studio.url}/robopref/{place}")
    nothing_wrong(page, screen)
