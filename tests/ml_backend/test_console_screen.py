"""The console in a real browser: no violation that axe knows of, light and dark, on a phone, by keyboard alone."""

import threading
from dataclasses import replace

import pytest
from console_maker import answered, signed_in
from service_maker import BASIC
from werkzeug.serving import make_server

from labeling_config.contract import CONSOLE
from ml_backend.service.app import create_app
from ml_backend.service.console.registry import PAGES
from preference.records import Certification, ModelVersion
from qc_reports.qc import qc

SCREENS = {"light": (1440, 900), "dark": (390, 844)}
PLACES = [*(page.name for page in PAGES), "people?who=alice", "batches?pairs=2&overlap=1", "reports"]


@pytest.fixture(scope="module")
def ws(tmp_path_factory):
    ws = answered(tmp_path_factory.mktemp("console"))
    qc(ws, "production-001")
    ws.store.put_certification(Certification("alice", "production-001", 1, 0.8, 0.7, 0.9, True, 30))
    first = ModelVersion("rm-0001", "models/rm-0001", "2026-01-01T00:00:00Z", 20, 0.8, 0.7, "", "none",
                         metrics={"cross_validated": {"value": 0.8, "low": 0.7, "high": 0.9, "pairs": 20}})  # fmt: skip
    for number in range(1, 6):
        ws.store.put_model_version(replace(first, version=f"rm-000{number}", preferences=20 * number))
    ws.store.put_request("pairs", subject="production-002", by="maria@example.org")
    yield ws
    ws.store.close()


@pytest.fixture(scope="module")
def address(ws):
    server = make_server("127.0.0.1", 0, create_app(ws), threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}{CONSOLE}"
    server.shutdown()


@pytest.fixture
def page(chromium, request):
    scheme = getattr(request, "param", "light")
    width, height = SCREENS[scheme]
    context = chromium.new_context(
        viewport={"width": width, "height": height},
        color_scheme=scheme,
        extra_http_headers=signed_in(),
        bypass_csp=True,
    )
    yield context.new_page()
    context.close()


@pytest.mark.parametrize("page", SCREENS, indirect=True)
@pytest.mark.parametrize("place", PLACES)
def test_axe_finds_nothing_and_nothing_is_wider_than_the_screen(page, address, place):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="pip install axe-playwright-python")
    page.goto(f"{address}/{place}".rstrip("/"))
    page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    found = axe.Axe().run(page).response["violations"]
    assert [(one["id"], one["nodes"][0]["html"]) for one in found] == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.parametrize("scheme", SCREENS)
def test_axe_finds_nothing_in_the_status_page(chromium, ws, address, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="pip install axe-playwright-python")
    width, height = SCREENS[scheme]
    with chromium.new_context(
        viewport={"width": width, "height": height}, color_scheme=scheme, extra_http_headers=BASIC, bypass_csp=True
    ) as context:
        page = context.new_page()
        page.goto(address.removesuffix(CONSOLE))
        found = axe.Axe().run(page).response["violations"]
    assert [(one["id"], one["nodes"][0]["html"]) for one in found] == []


def test_a_batch_is_held_by_keyboard_alone(ws, page, address):
    page.goto(f"{address}/batches")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip", "the first stop leads past the menu"
    summary = page.locator("summary", has_text="Hold")
    summary.focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.type("the camera had moved")
    page.keyboard.press("Enter")
    page.wait_for_selector("[role=status]")
    assert "production-001 is on hold" in page.locator("[role=status]").inner_text()
    assert ws.store.batches()[0].decisions[-1]["why"] == "the camera had moved"


def test_a_reason_of_spaces_is_refused_before_it_is_sent(ws, page, address):
    before = len(ws.store.requests())
    page.goto(f"{address}/batches")
    page.locator("summary", has_text="Accept").click()
    page.locator("form:has(input[value='batch accept']) input[name=why]").fill("   ")
    page.locator("form:has(input[value='batch accept']) button").click()
    assert page.locator("input[name=why]:invalid").count() >= 1
    assert len(ws.store.requests()) == before


def test_the_first_page_follows_the_worker_without_a_reload(ws, page, address):
    page.goto(address)
    assert "waits" in page.locator("#doing").inner_text()
    (request,) = ws.store.requests(unfinished=True)
    ws.store.set_request(request.request_id, "running")
    page.wait_for_function("document.getElementById('doing').innerText.includes('under way')", timeout=20_000)
    ws.store.set_request(request.request_id, "waiting")


def test_what_is_printed_has_no_buttons(page, address):
    page.goto(f"{address}/people")
    page.emulate_media(media="print")
    assert page.locator("button:visible, summary.button:visible, nav:visible").count() == 0
    assert page.locator("h1:visible").count() == 1
