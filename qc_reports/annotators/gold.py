"""Gold that is checked: do people agree against it? Answers go in, what gold can be trusted and a sentence come out.

Gold is an expert's word, or else the order of two distant quartiles, which is a heuristic: where success is unknown a
quarter of it can be wrong. A heuristic gold answer that two people or more contradict counts for nothing. Where more of
them are contradicted than careful people's slips explain, all heuristic gold is suspended: nobody has to be right on
it. Beside the others' answers it still counts as one of them (`comparison`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from preference.records import OPPOSITE, Answer
from qc_reports.agreement.coefficients import PLACE
from qc_reports.agreement.exact_tests import at_least, interval_of_share
from qc_reports.agreement.pair_model import PairModel
from qc_reports.answers import Answered, votes

SLIPS = 0.02
"""Share of right gold that two careful people contradict by slips: each slips in fewer than one of ten."""
SUSPENDED_P = 0.01
SURE = 0.6
"""A pair's gold is contradicted when most careful people would say the opposite, as far as the answers tell."""


@dataclass(frozen=True)
class GoldCheck:
    asked: dict[str, Answer] = field(default_factory=dict)
    """Pair → gold answer, all of it."""
    usable: dict[str, Answer] = field(default_factory=dict)
    """Pair → gold answer that people can be held against."""
    expert: int = 0
    """Gold pairs that an expert answered."""
    heuristic: int = 0
    """Other gold pairs."""
    checked: int = 0
    """Heuristic ones with two answers or more."""
    contradicted: list[str] = field(default_factory=list)
    """Of them, those on which people agree against it."""
    low: float = float("nan")
    high: float = float("nan")
    """95 % interval of the share contradicted (Clopper and Pearson)."""
    suspended: bool = False
    sentence: str = ""
    """Why it is suspended, or which part of it; empty where nobody contradicts it."""


def check_gold(batches: Sequence[Sequence[Answered]], model: PairModel, *, as_written: bool = False) -> GoldCheck:
    """Hold gold against what people say.

    Args:
        batches: Answers, the newest batch first.
        model: Of the same answers.
        as_written: Flags are the protocol's plain limits, which count all gold; then the sentence says so.
    """
    answers = [answer for batch in batches for answer in batch]
    gold: dict[str, Answer] = {a.pair_id: a.expected for a in answers if a.expected is not None}
    by_expert = {a.pair_id for a in answers if a.expected is not None and a.expected_by_expert}
    heuristic = gold.keys() - by_expert
    ballots = votes(answers)
    checked = sorted(pair_id for pair_id in heuristic if len(ballots.get(pair_id, {})) > 1)
    against = _contradicted(checked, gold, ballots, model)
    suspended = at_least(len(against), len(checked), SLIPS) < SUSPENDED_P if checked else False
    out = heuristic if suspended else set(against)
    low, high = interval_of_share(len(against), len(checked))
    return GoldCheck(
        asked=gold,
        usable={pair_id: word for pair_id, word in gold.items() if pair_id not in out},
        expert=len(by_expert),
        heuristic=len(heuristic),
        checked=len(checked),
        contradicted=against,
        low=low,
        high=high,
        suspended=suspended,
        sentence=_sentence(len(against), len(checked), low, high, suspended, as_written),
    )


def _contradicted(
    checked: Sequence[str], gold: Mapping[str, Answer], ballots: Mapping[str, Mapping[str, Answer]], model: PairModel
) -> list[str]:
    """Pairs with two answers or more for the opposite side, and which careful people would answer so."""
    row = {pair_id: i for i, pair_id in enumerate(model.votes.pair_ids)}
    found = []
    for key in checked:
        opposite = OPPOSITE[gold[key]]
        said_by_two = list(ballots[key].values()).count(opposite) > 1 and opposite != "equal"
        if said_by_two and model.answers[row[key], PLACE[opposite]] >= SURE:
            found.append(key)
    return found


def _sentence(against: int, checked: int, low: float, high: float, suspended: bool, as_written: bool) -> str:
    if not against:
        return ""
    seen = f"People agree against {against} of the {checked} gold answers that two or more could check"
    if as_written:
        return f"{seen}; flags by the protocol's plain limits count them all the same."
    if not suspended:
        return f"{seen}; nobody is held against these."
    return (
        f"{seen} ({low:.0%} to {high:.0%} of gold is wrong; slips explain {SLIPS:.0%}): heuristic gold is suspended, "
        "nobody is held against it. It is the order of distant quartiles; have the expert answer some of these pairs."
    )
