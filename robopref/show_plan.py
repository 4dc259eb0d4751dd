"""A campaign's plan as a person reads it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from preference.formats import figure, number, share
from robopref.show import print_json, say, table

if TYPE_CHECKING:
    from ml_backend.loop.campaign import Campaign


def campaign(plan: Campaign, as_json: bool) -> None:
    """Pairs, people and hours; then what two, three or four people a pair change."""
    if as_json:
        print_json(plan)
        return
    least, most = plan.pairs
    rows = [
        ["labelled pairs", _between(least, most), f"accuracy {plan.target:.2f}: {plan.basis['pairs']}"],
        ["already labelled", number(plan.have), ""],
        ["batches", _between(*plan.batches), ""],
        ["reserve", _between(*plan.reserve), "pairs on top, for skips, discards and flags (15 to 20 %)"],
        [
            "annotators",
            str(plan.people),
            f"{plan.candidates} candidates to test, since 70 to 80 % pass" if plan.candidates else "all certified",
        ],
        ["calibration", f"{_between(*plan.calibration_h)} h", "training and tests of the candidates, 1 to 3 h each"],
        ["pace", f"{_between(*plan.hourly)} an hour", plan.basis["pace"]],
    ]
    table("Campaign", ["", "", "based on"], rows)
    paid = any(math.isfinite(row.cost[0]) for row in plan.table)
    columns = ["people a pair", "alpha", "95 % of campaigns", "pairs lost", "labels right", "answers", "hours"]
    lines = [
        [row.overlap, figure(row.alpha), f"{figure(row.alpha_low)} to {figure(row.alpha_high)}", share(row.lost),
         share(row.right), number(row.answers), _between(*row.hours), *([_between(*row.cost)] if paid else [])]
        for row in plan.table
    ]  # fmt: skip
    table(f"{number(most)} pairs, simulated", [*columns, *(["cost"] if paid else [])], lines)
    say(f"Simulated from {plan.basis['people']}. Two people a pair include a third opinion where they differ.")
    say(plan.next)


def _between(low: float, high: float) -> str:
    first, last = number(math.ceil(low)), number(math.ceil(high))
    return first if first == last else f"{first} to {last}"
