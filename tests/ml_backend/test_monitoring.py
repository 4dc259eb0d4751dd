"""Alerts and dashboard ask for what the service exports, their own tools accept them, the runbook has every alert."""

import json
import re
import shutil
import subprocess

import pytest
import yaml
from paths import ROOT
from prometheus_client.parser import text_string_to_metric_families
from service_maker import BASIC, HEADER, event, planned

from importer.studio.hints import Hints
from ml_backend.service.app import create_app
from preference.records import ModelVersion

ALERTS = ROOT / "deploy" / "prometheus" / "alerts.yml"
DASHBOARD = json.loads((ROOT / "deploy" / "grafana" / "dashboard.json").read_text())
RULES = [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]
PANELS = [(panel["title"], target["expr"]) for panel in DASHBOARD["panels"] for target in panel["targets"]]
EXPRESSIONS = [(rule["alert"], rule["expr"]) for rule in RULES] + PANELS
SERIES = re.compile(r"\b(robopref_\w+)\s*(?:\{([^}]*)\})?")
MATCHER = re.compile(r'(\w+)\s*(=~|=|!=|!~)\s*"([^"]*)"')


@pytest.fixture
def ws(tmp_path):
    ws = planned(tmp_path)
    yield ws
    ws.store.close()


@pytest.fixture
def exported(ws):
    """Name of a series → labels → the values they have, once the service has been used a little."""
    ws.store.put_model_version(ModelVersion("0001", "models/0001", "2026-01-01", 10, 0.8, 0.7, "e", "none", True, {}))
    client = create_app(ws, Hints(ws, waits_s=[])).test_client()
    client.post("/predict", json={"tasks": [], "project": "2.1"}, headers=BASIC)
    client.post("/webhook", json=event("ANNOTATION_CREATED", annotation={"id": 1}), headers=HEADER)
    found = {}
    for family in text_string_to_metric_families(client.get("/metrics", headers=BASIC).text):
        for sample in family.samples:
            labels = found.setdefault(sample.name, {})
            for label, value in sample.labels.items():
                labels.setdefault(label, set()).add(value)
    return found


def test_every_series_that_is_asked_for_is_exported_with_its_labels(exported):
    asked = [(where, *found) for where, expression in EXPRESSIONS for found in SERIES.findall(expression)]
    assert len(asked) > 30, "or the pattern finds nothing"
    for where, name, selector in asked:
        assert name in exported, f"{where} asks for {name}"
        for label, operator, value in MATCHER.findall(selector):
            known = exported[name].get(label, set())
            assert label == "instance" or known, f"{where}: {name} has no label {label}"
            if operator == "=" and label != "instance":
                assert value in known, f"{where}: {name} never has {label} = {value}"


def test_every_metric_of_ours_is_documented(exported):
    documented = (ROOT / "docs" / "service.md").read_text()
    families = {re.sub(r"_(bucket|count|sum|created)$", "", name) for name in exported} - {"robopref_webhook_events"}
    assert {name for name in families if f"`{name}`" not in documented and not name.endswith("_created")} == set()


def test_the_thresholds_of_histograms_are_buckets_so_that_they_are_not_guessed(exported):
    limits = [
        float(limit) for rule in RULES for limit in re.findall(r"histogram_quantile[\s\S]*> ([\d.]+)", rule["expr"])
    ]
    assert limits and {f"{limit}" for limit in limits} <= exported["robopref_request_seconds_bucket"]["le"]


def test_the_runbook_says_of_each_alert_what_to_do():
    runbook = (ROOT / "docs" / "runbook.md").read_text()
    headings = dict(re.findall(r"^## (Robopref\w+)\n\n((?:(?!^## ).*\n)+)", runbook, re.M))
    assert set(headings) == {rule["alert"] for rule in RULES}
    for rule in RULES:
        assert rule["annotations"]["runbook"] == f"docs/runbook.md#{rule['alert'].lower()}"
        assert rule["labels"]["severity"] in ("critical", "warning", "info")
        assert rule["annotations"]["summary"]
        assert len(headings[rule["alert"]]) > 150, rule["alert"]


def promtool(*arguments):
    tool = shutil.which("promtool")
    if tool is None:
        pytest.skip("promtool is not installed; Debian has it in the package prometheus")
    done = subprocess.run([tool, *arguments], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_prometheus_accepts_the_alerts_and_they_fire_when_they_should():
    assert f"{len(RULES)} rules found" in promtool("check", "rules", str(ALERTS))
    promtool("test", "rules", str(ALERTS.with_name("alerts_test.yml")))


def test_prometheus_accepts_every_expression_of_the_dashboard(tmp_path):
    rules = [{"record": f"panel:{n}", "expr": expr.replace("$instance", ".*")} for n, (_, expr) in enumerate(PANELS)]
    (tmp_path / "panels.yml").write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    assert f"{len(PANELS)} rules found" in promtool("check", "rules", str(tmp_path / "panels.yml"))


def test_grafanas_own_types_know_every_field_of_the_dashboard():
    models = pytest.importorskip("grafana_foundation_sdk.models.dashboard", reason="pip install grafana-foundation-sdk")
    from grafana_foundation_sdk.cog.encoder import JSONEncoder
    from grafana_foundation_sdk.cog.plugins import register_default_plugins

    register_default_plugins()
    read = json.loads(JSONEncoder(sort_keys=True).encode(models.Dashboard.from_json(DASHBOARD)))
    assert list(lost(DASHBOARD, read)) == []


def lost(written, read, path="dashboard"):
    """What was written and not read back: Grafana would ignore it."""
    if isinstance(written, dict):
        for key, value in written.items():
            yield from lost(value, read[key], f"{path}.{key}") if key in read else [f"{path}.{key}"]
    elif isinstance(written, list) and isinstance(read, list) and len(written) == len(read):
        for number, pair in enumerate(zip(written, read, strict=True)):
            yield from lost(*pair, f"{path}[{number}]")
    elif written != read:
        yield f"{path}: {written!r} became {read!r}"


def test_the_panels_are_numbered_and_do_not_overlap():
    assert [panel["id"] for panel in DASHBOARD["panels"]] == list(range(1, len(DASHBOARD["panels"]) + 1))
    taken = [
        (x, y)
        for at in (panel["gridPos"] for panel in DASHBOARD["panels"])
        for x in range(at["x"], at["x"] + at["w"])
        for y in range(at["y"], at["y"] + at["h"])
    ]
    assert len(taken) == len(set(taken)) and max(x for x, _ in taken) < 24
