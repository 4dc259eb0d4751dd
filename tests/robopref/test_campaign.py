"""`robopref plan`: by the protocol before anybody answers, by people and learning curve afterwards."""

import json

import pytest
from typer.testing import CliRunner

from ml_backend.validation.learning_curve import labels_for
from preference.errors import UserError
from preference.records import ModelVersion
from robopref.campaign import campaign
from robopref.cli import app


def models(curve, sizes=range(200, 700, 100), tested=300):
    """Models whose accuracy follows `curve`."""
    made = []
    for n in sizes:
        figures = {"value": curve(n), "low": curve(n) - 0.02, "high": curve(n) + 0.02, "pairs": tested}
        metrics = {"not_chosen": figures, "target": 0.75}
        made.append(ModelVersion(f"rm-{n:05}", "models", "", n, curve(n), 0.9, "none", "none", metrics=metrics))
    return made


def test_the_labels_for_a_target_are_those_of_the_curve():
    def curve(n):
        return 0.9 - 2.0 / n**0.5

    needed = labels_for(0.85, models(curve, tested=10**6))
    assert needed.expected == pytest.approx((2.0 / 0.05) ** 2, rel=0.1)
    assert needed.best <= needed.expected <= (needed.worst or 10**9)
    assert labels_for(0.75, []) is None
    assert labels_for(0.70, models(curve)).expected == 600, "reached already"
    assert labels_for(0.99, models(lambda n: 0.8, tested=10**6)).best is None, "never on this curve"


def test_before_anybody_answers_the_plan_is_the_protocols(planned_batch):
    plan = campaign(planned_batch)
    assert (plan.target, plan.pairs, plan.batches) == (0.75, (500, 2000), (3, 10))
    assert plan.reserve == (75, 400) and plan.hourly == (40, 60)
    assert (plan.people, plan.candidates) == (1, 2), "one is named, and one of two candidates may fail"
    assert "protocol" in plan.basis["pairs"] and "typical people" in plan.basis["people"]
    assert plan.next.startswith("Ask for 1,000 labels first, keep 200 apart")
    assert [row.overlap for row in campaign(planned_batch, people=6).table] == [2, 3, 4]


@pytest.mark.parametrize(
    ("accuracy", "sizes", "tested", "words"),
    [
        (0.80, range(400, 1200, 200), 250, "0.75 is reached, so no more labels are needed"),
        (0.70, range(200, 700, 100), 250, "too early to scale up"),
        (0.70, range(400, 1200, 200), 90, "too early to scale up"),
        (0.74, range(400, 1200, 200), 250, "may be reached already"),
        (0.725, range(400, 1200, 200), 250, "below 0.75: scale up"),
        (0.60, range(4000, 12000, 2000), 10**6, "will not reach 0.75"),
    ],
)
def test_after_a_thousand_labels_the_plan_says_whether_to_scale_up(planned_batch, accuracy, sizes, tested, words):
    for model in models(lambda n: accuracy, sizes, tested):
        planned_batch.store.put_model_version(model)
    assert words in campaign(planned_batch).next


def test_arguments_out_of_range_are_refused(planned_batch):
    with pytest.raises(UserError, match=r"between 0\.5 and 1, found 75"):
        campaign(planned_batch, target=75)
    with pytest.raises(UserError, match="above 0"):
        campaign(planned_batch, wage=-3)


def test_the_command_shows_a_table_or_json(planned_batch):
    file = str(planned_batch.config.file)
    shown = CliRunner().invoke(app, ["plan", "--people", "6", "--wage", "20", "-c", file])
    assert shown.exit_code == 0 and "500 to 2000" in shown.output and "cost" in shown.output
    found = json.loads(CliRunner().invoke(app, ["plan", "--pairs", "300", "--json", "-c", file]).stdout)
    assert found["pairs"] == [300, 300]
    assert CliRunner().invoke(app, ["plan", "--target", "2", "-c", file]).exit_code == 2
