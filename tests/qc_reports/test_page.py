"""The report in a real browser: it asks the network for nothing, draws its figures, runs nobody's words, and prints."""

import csv
import json
import re
from dataclasses import replace

import numpy as np
import pytest
from axe_maker import SCREENS, on_each_screen, violations
from qc_maker import draw_batch

from preference.config import Quality
from qc_reports.agreement.contested import CONTESTED_SHOWN, contested_pairs
from qc_reports.report.batch_report import figures
from qc_reports.report.clip_strips import clip_strips
from qc_reports.report.files import write_folder
from qc_reports.report.page import write_report

HOSTILE = "</script><script>window.hacked = 1</script><img src=x onerror='window.hacked = 2'>"
NAME = "<img onerror='hacked=1' src=x>"


@pytest.fixture(scope="module")
def batch(tmp_path_factory):
    """(report, answers, page): every annotator is called a script, and every reason is one; one pair has its clips."""
    answers, pairs = draw_batch(3, "turncoat", judgments=120)
    answers = [replace(a, annotator_id=f"{a.annotator_id} {NAME}") for a in answers]
    report = figures("production-001", answers, pairs, Quality(bootstrap=200), rng=np.random.default_rng(0))
    first = contested_pairs(answers, pairs)[0]
    clips = tmp_path_factory.mktemp("clips")
    for name in (first.trajectory_a_id, first.trajectory_b_id):
        write_clip(clips / f"{name}.mp4")
    strips = clip_strips(clips, contested_pairs(answers, pairs)[:CONTESTED_SHOWN], {first.trajectory_a_id: 1.0})
    words = {a.assignment_id: HOSTILE for a in answers}
    return report, answers, write_report(report, answers, pairs, words=words, strips=strips)


def write_clip(path):
    """2 s of H.264 whose picture goes from black to white."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=15)
        stream.width = stream.height = 480
        stream.pix_fmt = "yuv420p"
        for i in range(30):
            frame = av.VideoFrame.from_ndarray(np.full((480, 480, 3), 8 * i, np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


@pytest.fixture(scope="module")
def opened(batch, chromium, tmp_path_factory):
    """The page in a window, with what it said and asked for."""
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(batch[2], encoding="utf-8")
    page = chromium.new_page(viewport={"width": 1440, "height": 900})
    page.said, page.asked = [], []
    page.on("console", lambda message: page.said.append(message.text))
    page.on("pageerror", lambda error: page.said.append(str(error)))
    page.on("request", lambda request: page.asked.append(request.url))
    page.goto(path.as_uri())
    page.wait_for_selector("html[data-figures=drawn]", state="attached")
    yield page
    page.close()


def specs(page):
    return json.loads(re.search(r'id="figures">(.*?)</script>', page, re.DOTALL).group(1))


def test_the_page_asks_the_network_for_nothing_and_says_nothing_to_the_console(opened):
    assert [url for url in opened.asked if not url.startswith("data:")] == [opened.url]
    assert opened.said == []


def test_every_figure_is_drawn_by_plotly(opened, batch):
    drawn = opened.eval_on_selector_all(".js-plotly-plot", "all => all.map(e => e.parentElement.dataset.figure)")
    assert sorted(drawn) == sorted(specs(batch[2]))
    assert opened.locator(".js-plotly-plot .main-svg").count() >= len(drawn)


@pytest.mark.parametrize("where", ["desktop", "phone"])  # Plotly draws for the width that it finds
def test_axe_finds_nothing_in_the_page_with_everything_unfolded(batch, chromium, tmp_path, where):
    path = tmp_path / "report.html"
    path.write_text(batch[2], encoding="utf-8")
    with chromium.new_context(**SCREENS[f"{where} light"]) as context:
        page = context.new_page()
        page.goto(path.as_uri())
        page.wait_for_selector("html[data-figures=drawn]", state="attached")
        for screen in on_each_screen(page, where):
            assert violations(page) == [], screen


def test_contested_pairs_are_folded_after_ten(opened):
    shown = opened.locator("#contested > article").count()
    assert shown == 10
    assert opened.locator("#contested details.more article").count() == CONTESTED_SHOWN - shown
    assert not opened.locator("#contested details.more article").first.is_visible()


def test_nobodys_name_or_reason_runs(opened):
    assert opened.evaluate("window.hacked") is None
    assert opened.locator("q").first.inner_text() == HOSTILE
    assert opened.locator("body img").count() == 2  # the strips, and no image of an annotator's


def test_the_first_screen_answers_all_three_questions(opened):
    for heading in ("Do the annotators agree?", "Who needs help?", "What to do next"):
        box = opened.get_by_role("heading", name=heading).locator("xpath=..").bounding_box()
        assert box["y"] + box["height"] <= 900


def test_two_annotators_chosen_from_the_lists_show_what_each_said(opened, batch):
    confusions = specs(batch[2])["confusion"]["confusions"]
    figure = opened.locator('[data-figure="confusion"]')
    for place, value in ((0, "1"), (1, "0")):
        figure.locator("select").nth(place).select_option(value)
    shown = figure.locator(".live").evaluate("e => e.data[0].z")
    assert shown == np.transpose(confusions["tables"]["0,1"]).tolist()
    figure.locator("select").nth(1).select_option("1")
    assert figure.locator(".note").inner_text() == "Choose two different annotators."


def test_a_measure_chosen_from_the_list_shows_the_reports_figures(opened, batch):
    figure = opened.locator('[data-figure="people"]')
    figure.locator("select").select_option(label="Said equal")
    shown = sorted(figure.locator(".live").evaluate("e => e.data[0].x"))
    assert shown == pytest.approx(sorted(row["tie_rate"] for row in batch[0].annotator_stats), abs=1e-4)


def test_both_strips_of_a_contested_pair_show_six_moments(opened, batch):
    sizes = opened.eval_on_selector_all(
        "img", "all => all.map(i => [i.naturalWidth, i.naturalHeight, i.alt.length > 20])"
    )
    assert sizes == [[576, 96, True]] * 2


def test_a_phone_does_not_scroll_sideways(opened):
    opened.set_viewport_size({"width": 390, "height": 844})
    opened.wait_for_function("document.querySelector('.js-plotly-plot .main-svg').getBoundingClientRect().width < 390")
    assert opened.evaluate("document.documentElement.scrollWidth") <= 390
    opened.set_viewport_size({"width": 1440, "height": 900})


def test_in_print_every_section_is_there_with_its_still_form(opened):
    opened.emulate_media(media="print")
    headings = opened.eval_on_selector_all("h2", "all => all.filter(e => e.checkVisibility()).map(e => e.innerText)")
    assert "The most contested pairs" in headings and len(headings) == opened.locator("h2").count()
    assert opened.locator(".live:visible").count() == 0
    stills = opened.eval_on_selector_all(".still", "all => all.map(e => e.getBoundingClientRect().height)")
    assert min(stills) > 50
    opened.set_viewport_size({"width": 720, "height": 1000})  # A4 between its margins
    assert opened.evaluate("document.documentElement.scrollWidth") <= 720
    assert len(opened.pdf(format="A4")) > 20_000
    opened.set_viewport_size({"width": 1440, "height": 900})
    opened.emulate_media(media="screen")


def test_a_page_without_script_still_shows_every_number(batch, chromium, tmp_path):
    path = tmp_path / "report.html"
    path.write_text(batch[2], encoding="utf-8")
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(path.as_uri())
    rows = page.locator("#agreement .still td").all_inner_texts()
    for row in batch[0].kappa:
        assert sum(cell.split() == [f"{row['kappa']:.2f}".replace("-", "−"), str(row["shared"])] for cell in rows) >= 2
    context.close()


def test_the_csv_files_and_the_page_have_the_numbers_of_qc_json(batch, tmp_path):
    write_folder(tmp_path, batch[0], batch[2])
    found = json.loads((tmp_path / "qc.json").read_text(encoding="utf-8"))
    tables = {}
    for path in tmp_path.glob("*.csv"):
        with path.open(newline="", encoding="utf-8") as file:
            tables[path.stem] = list(csv.DictReader(file))
    assert sorted(tables) == ["annotators", "confusions", "flags", "kappa", "pairs", "parts"]
    for row, written in zip(found["annotator_stats"], tables["annotators"], strict=True):
        for key in ("annotator_id", "answers", "gold_agreement", "tie_rate", "mean_response_s"):
            assert written[key] == str(row[key])
        assert written["left_share_low"] == str(row["intervals"]["left_share"][0])
    assert [(row["shared"], row["kappa"]) for row in tables["kappa"]] == [
        (str(row["shared"]), str(row["kappa"])) for row in found["kappa"]
    ]
    counts = tables["confusions"]
    for place, row in enumerate(found["confusions"]):
        own = counts[9 * place : 9 * place + 9]
        assert {(t["annotator_1"], t["annotator_2"]) for t in own} == {(row["annotator_1"], row["annotator_2"])}
        assert [int(t["pairs"]) for t in own] == np.ravel(row["counts"]).tolist()
        assert [(t["said_1"], t["said_2"]) for t in own[:2]] == [("A", "A"), ("A", "equal")]
    assert [sum(map(sum, row["counts"])) for row in found["confusions"]] == [row["shared"] for row in found["kappa"]]
    labels = [row["preference"] for row in tables["pairs"]]
    assert [labels.count(word) for word in ("1.0", "0.0", "0.5")] == [found["resolved"][w] for w in ("A", "B", "equal")]
    quartets = [(row["alpha"], row["disagreement"]) for row in tables["parts"] if row["way"] == "time"]
    assert quartets == [(str(p["alpha"]["value"]), str(p["disagreement"])) for p in found["parts"]["time"]]
    drawn = specs(batch[2])
    heat = drawn["kappa"]["data"][0]["z"]
    names = sorted({row["annotator_1"] for row in found["kappa"]} | {row["annotator_2"] for row in found["kappa"]})
    for row in found["kappa"]:
        at = heat[names.index(row["annotator_1"])][names.index(row["annotator_2"])]
        assert at == pytest.approx(row["kappa"], abs=1e-4)
    line = drawn["time"]["choices"][0]["data"][0]["y"]
    assert line == pytest.approx([part["alpha"]["value"] for part in found["parts"]["time"]], abs=1e-4)
