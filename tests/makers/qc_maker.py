"""Judgments with planted faults: teams of honest people and one who is not, answering a batch as the protocol plans it.

A pair has a true difference x: same, adjacent and distant quartiles in 30, 40 and 30 %. People see x plus a taste of
their own, which stays, plus the moment's noise; they say equal where that is small, and 3 % of answers are slips.
Distant pairs are gold. 7 % are shown again, with the sides swapped. Each person has an order and times of their own.
"""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np

from preference.records import OPPOSITE, Pair
from qc_reports.answers import Answered

GAPS = {"same": (0.0, 1.0), "adjacent": (1.5, 0.7), "distant": (4.0, 0.6)}
"""Stratum → mean and sd of |x|."""
SHARES = {"same": 0.3, "adjacent": 0.4, "distant": 0.3}
TASTE, NOISE, SLIP, TIE, STRICT_TIE = 0.4, 0.12, 0.03, 0.25, 1.1
BROAD = (1.5, 1.0)
"""Mean and sd of log(taste / TASTE), with `broad`: two answers to a pair are alike in 62 % with an sd of 22 points from
pair to pair, where sigir2010's are in 52 % with one of 19."""
FAULTS = ("clicker", "lefty", "fast", "copycat", "turncoat", "swapped")
"""Of those who can be named within a batch. A `repeater` is good, but answers what is shown again at random."""
START = datetime(2026, 1, 5, 9, tzinfo=UTC)
SWAP = {"A": "B", "B": "A"}


def draw_batch(seed, fault="", judgments=200, honest=3, overlap=2, strict=True, broad=False, wrong_gold=0.0):
    """(answers, pairs) of `honest` people, a strict one and the one called after their fault, `judgments` answers each.

    `strict` says equal wherever the difference is not obvious, which is twice as often as the others. With `broad`,
    people's tastes differ much on some pairs and little on others, whatever the stratum (BROAD). `wrong_gold` is the
    share of gold answers that are the opposite of the truth.
    """
    rng = np.random.default_rng([seed, 11])
    people = [f"honest{i}" for i in range(honest)] + ["strict"] * strict + [fault] * bool(fault)
    originals = round(judgments / 1.07)
    pairs, gaps = _pairs(round(originals * len(people) / overlap), rng)
    tastes = {p.pair_id: TASTE * float(np.exp(rng.normal(*BROAD))) if broad else TASTE for p in pairs}
    golden = [p.pair_id for p in pairs if p.expected]
    wrong = set(rng.permutation(golden)[: round(wrong_gold * len(golden))]) if wrong_gold else set()
    pairs = [replace(p, expected=OPPOSITE[p.expected]) if p.pair_id in wrong else p for p in pairs]
    todo = _assign(len(pairs), people, overlap, rng)
    answers, said = [], {}
    for name in sorted(people, key=lambda name: name == "copycat"):  # who copies comes when the other is done
        own = _own_answers(name, todo[name], pairs, gaps, tastes, judgments - len(todo[name]), said, rng)
        said |= {(name, a.pair_id): a for a in own if not a.duplicate}
        answers += own
    return sorted(answers, key=lambda a: a.created_at), pairs


def draw_campaign(seed, fault="", batches=20, judgments=21, **team):
    """`batches` of one team's answers, the oldest first: as rounds of 50 pairs are with two answers a pair and five
    people, each of whom has about one repeat."""
    drawn = [draw_batch(1000 * seed + number, fault, judgments, **team)[0] for number in range(batches)]
    return [
        [replace(a, pair_id=f"{number}-{a.pair_id}", batch_id=f"b{number}") for a in answers]
        for number, answers in enumerate(drawn)
    ]


def _pairs(count, rng):
    strata = rng.choice(list(SHARES), count, p=list(SHARES.values()))
    pairs, gaps = [], {}
    for i, stratum in enumerate(map(str, strata)):
        x = abs(rng.normal(*GAPS[stratum])) * rng.choice([-1, 1])
        gold = stratum == "distant"
        task, kind, expected = ("push", "reach")[i % 2], "production", None
        if gold:
            kind, expected = "gold", "A" if x > 0 else "B"
        pair = Pair(f"p{i:04d}", f"t{i}a", f"t{i}b", task, stratum, kind, expected=expected)
        pairs.append(pair)
        gaps[pair.pair_id] = x
    return pairs, gaps


def _assign(count, people, overlap, rng):
    """Person → indices of pairs, in their order; all carry the same load."""
    loads = dict.fromkeys(people, 0)
    todo = {name: [] for name in people}
    for i in rng.permutation(count):
        team = sorted(people, key=lambda name: (loads[name], rng.random()))[:overlap]
        for name in team:
            loads[name] += 1
            todo[name].append(int(i))
    return {name: list(rng.permutation(own)) for name, own in todo.items()}


def _own_answers(name, indices, pairs, gaps, tastes, again, said, rng):
    shown = [(i, False) for i in indices]
    for i in rng.choice(indices[: len(indices) // 2], again, replace=False):
        shown.insert(int(rng.integers(min(len(shown) // 2 + 20, len(shown)), len(shown) + 1)), (int(i), True))
    now = START + timedelta(days=3 * (name == "copycat"), seconds=float(rng.uniform(0, 3600)))
    lefts, answers = {}, []
    taste = {i: float(rng.logistic(0, tastes[pairs[i].pair_id])) for i in indices}
    for position, (i, duplicate) in enumerate(shown):
        pair = pairs[i]
        left = SWAP[lefts[i]] if duplicate else lefts.setdefault(i, str(rng.choice(["A", "B"])))
        who = "clicker" if name == "repeater" and duplicate else name
        word, confidence = _answer(who, pair, gaps[pair.pair_id] + taste[i], left, position / len(shown), said, rng)
        seconds = rng.lognormal(0.4 if name == "fast" else 2.4, 0.4)
        now += timedelta(seconds=float(seconds) + 2)
        answers.append(Answered(
            pair.pair_id, name, word, confidence, int(1000 * seconds), now.isoformat(), f"{name}-{position:04d}", left,
            duplicate, pair.expected, "", pair.stratum, pair.task_type,
        ))  # fmt: skip
    return answers


def _answer(name, pair, x, left, progress, said, rng):
    if name == "clicker" or (name == "turncoat" and progress >= 0.5):
        return str(rng.choice(["A", "B", "equal"], p=[0.42, 0.42, 0.16])), int(rng.integers(2, 6))
    if name == "lefty":
        return left, int(rng.integers(3, 6))
    if name == "copycat" and (copied := _source(pair, said)) and rng.random() < 0.98:
        return copied.preference, copied.confidence
    seen = x + rng.logistic(0, NOISE) if rng.random() >= SLIP else rng.normal(0, 1.5)
    tie = STRICT_TIE if name == "strict" else TIE
    word = "equal" if abs(seen) < tie else "A" if seen > 0 else "B"
    word = OPPOSITE[word] if name == "swapped" else word
    return word, int(np.clip(round(1 + abs(seen) + rng.normal(0, 0.7)), 1, 5))


def _source(pair, said):
    """The copycat sits beside the first honest one."""
    return said.get(("honest0", pair.pair_id))


def without_hints(answers):
    """The same answers with pair, annotator and preference only, as data from elsewhere may be."""
    return [replace(Answered(a.pair_id, a.annotator_id, a.preference)) for a in answers if not a.duplicate]


def draw_crowd(seed, votes=2, careless=0.0, people=10, judgments=200):
    """(ballots, pair → what is right, pair → stratum) of `people`, a share of whom clicks at random."""
    rng = np.random.default_rng([seed, 5])
    names = [f"person{i}" for i in range(people)]
    pairs, gaps = _pairs(round(judgments * people / votes), rng)
    ballots = {pair.pair_id: {} for pair in pairs}
    for k, (name, own) in enumerate(_assign(len(pairs), names, votes, rng).items()):
        kind = "clicker" if k < round(careless * people) else name
        for i in own:
            x = gaps[pairs[i].pair_id] + float(rng.logistic(0, TASTE))
            ballots[pairs[i].pair_id][name] = _answer(kind, pairs[i], x, "A", 0, {}, rng)[0]
    truth = {key: "equal" if abs(x) < TIE else "A" if x > 0 else "B" for key, x in gaps.items()}
    return ballots, truth, {pair.pair_id: pair.stratum for pair in pairs}


def draw_varied(seed, votes=2, people=40, judgments=70, sd=0.8):
    """Answers of honest people who differ in when they say equal: thresholds are lognormal, `sd` in logarithms; all
    are drawn alike."""
    rng = np.random.default_rng([seed, 17])
    names = [f"person{i}" for i in range(people)]
    ties = dict(zip(names, TIE * np.exp(rng.normal(0, sd, people)), strict=True))
    pairs, gaps = _pairs(round(judgments * people / votes), rng)
    answers = []
    for name, own in _assign(len(pairs), names, votes, rng).items():
        for i in own:
            pair, left = pairs[i], str(rng.choice(["A", "B"]))
            seen = gaps[pair.pair_id] + rng.logistic(0, TASTE) if rng.random() >= SLIP else rng.normal(0, 1.5)
            word = "equal" if abs(seen) < ties[name] else "A" if seen > 0 else "B"
            answers.append(
                Answered(pair.pair_id, name, word, left=left, stratum=pair.stratum, task_type=pair.task_type)
            )
    return answers
