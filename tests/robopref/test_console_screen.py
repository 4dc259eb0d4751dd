"""The console in a real browser: no violation that axe knows of, light and dark, on a phone, by keyboard alone."""

import threading
from concurrent.futures import Future
from dataclasses import replace
from functools import partial

import pytest
from axe_maker import SCREENS, on_each_screen, too_wide, violations
from console_maker import answered, signed_in
from process_maker import PATIENCE_S
from service_maker import BASIC
from werkzeug.serving import make_server

from importer.studio.participants import Account
from labeling_config.contract import CONSOLE
from preference.records import Certification, ModelVersion
from qc_reports.qc import qc
from robopref import service
from robopref.console import PAGES, reports
from robopref.join import NOT_OURS, _page
from robopref.service import create_app

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
def report_that_waits(ws, monkeypatch):
    """(what its page will be, the address of a service that has begun to make it)."""
    made = Future()
    monkeypatch.setattr(service, "LiveReports", partial(reports.LiveReports, start=lambda config, name: made))
    monkeypatch.setattr(reports, "PATIENCE_S", 0.0)
    server = make_server("127.0.0.1", 0, create_app(ws), threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield made, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.fixture
def page(chromium):
    with chromium.new_context(**SCREENS["desktop light"], extra_http_headers=signed_in() | BASIC) as context:
        yield context.new_page()


def nothing_wrong(page):
    for screen in on_each_screen(page):
        assert violations(page) == [], screen
        assert not too_wide(page), screen


@pytest.mark.parametrize("place", PLACES)
def test_axe_finds_nothing_and_nothing_is_wider_than_the_screen(page, address, place):
    page.goto(f"{address}/{place}".rstrip("/"))
    nothing_wrong(page)


def test_axe_finds_nothing_in_the_services_own_pages(page, address, report_that_waits):
    """The status page, a report that is being made, and what people from outside see behind their link."""
    page.goto(address.removesuffix(CONSOLE))
    nothing_wrong(page)
    _, home = report_that_waits
    page.goto(f"{home}/reports/production-001")
    assert "is being made" in page.inner_text("[role=status]")
    nothing_wrong(page)
    account = Account("outside-p1@example.org", "otters", "https://annotate.example.org", 3, 40, "")
    for values in ({"participant": "p1", "key": "k"}, {"account": account}, {"trouble": NOT_OURS},
                   {"account": replace(account, code="QUIET-OTTER")}):  # fmt: skip
        page.set_content(_page(200, **values).get_data(as_text=True))
        nothing_wrong(page)


def test_a_report_that_is_being_made_opens_by_itself_without_a_refresh(chromium, report_that_waits):
    """It asks in the background; a page that loads itself again would begin anew for a screen reader each time."""
    from playwright.sync_api import expect

    made, home = report_that_waits
    with chromium.new_context(extra_http_headers=BASIC) as context:
        page = context.new_page()
        page.goto(f"{home}/reports/production-001")
        assert "is being made" in page.inner_text("[role=status]")
        assert page.locator("meta[http-equiv=refresh]").count() == 0
        made.set_result("<title>There</title>")
        expect(page).to_have_title("There", timeout=1000 * PATIENCE_S)


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
    page.wait_for_function("document.getElementById('doing').innerText.includes('under way')")
    ws.store.set_request(request.request_id, "waiting")


def test_what_is_printed_has_no_buttons(page, address):
    page.goto(f"{address}/people")
    page.emulate_media(media="print")
    assert page.locator("button:visible, summary.button:visible, nav:visible").count() == 0
    assert page.locator("h1:visible").count() == 1
