"""Who gets which pair, in which order, with which trajectory on the left.

Pairs and annotators go in, `Assignment` records come out. Loads are equal to within one, any two annotators share as
even a number of pairs as can be, and some pairs come back later with the sides swapped. For each annotator A is on
the left as often as B, and so is the one that is probably better: somebody who always says left agrees with
nobody by chance. Assignment ids are hashes under a random salt: they appear in task data and reveal nothing.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Literal

import numpy as np

from importer.pairs.overlap import teams
from preference.errors import UserError
from preference.records import Assignment, Pair

Letter = Literal["A", "B"]
FEW = 6
"""Nobody with fewer pairs in a batch is shown one again after half of them: that is too soon."""


def assign(
    pairs: Sequence[Pair],
    annotators: Sequence[str],
    *,
    overlap: int,
    duplicates: float,
    duplicate_distance: int,
    batch_id: str,
    rng: np.random.Generator,
    likely: Mapping[str, Letter] | None = None,
) -> list[Assignment]:
    """Each pair to `overlap` annotators, and `duplicates` (a share) of each annotator's pairs to them a second time.

    A duplicate comes at least `spacing` tasks after its original. Where an annotator's load is too small for that
    there are fewer duplicates; `plan_table` says so.

    Args:
        likely: `pair_id` → which one is probably better, so that the sides can be balanced against it.

    Raises:
        UserError: there are fewer annotators than `overlap`.
    """
    if len(annotators) < overlap:
        raise UserError(
            f"Each pair goes to {overlap} annotators, but only {len(annotators)} can be asked.",
            fix="Certify more annotators, or lower pairs.overlap.",
        )
    shares: dict[str, list[Pair]] = {name: [] for name in annotators}
    # Alike pairs lie together and the teams take turns, so everybody gets their share of gold and of each task type.
    draws = rng.random(len(pairs))
    order = sorted(range(len(pairs)), key=lambda i: (pairs[i].stratum, pairs[i].task_type, draws[i]))
    for i, team in zip(order, teams(len(pairs), len(annotators), overlap, rng), strict=True):
        for member in team:
            shares[annotators[member]].append(pairs[i])
    salt = rng.bytes(16)
    return [
        assignment
        for name, share in shares.items()
        for assignment in _queue(share, name, duplicates, duplicate_distance, batch_id, salt, rng, likely or {})
    ]


def assign_everyone(
    pairs: Sequence[Pair],
    annotators: Sequence[str],
    *,
    batch_id: str,
    rng: np.random.Generator,
    likely: Mapping[str, Letter] | None = None,
) -> list[Assignment]:
    """Every pair to every annotator, each in an order of their own: a calibration set. `likely` as in `assign`."""
    salt = rng.bytes(16)
    return [
        assignment
        for name in annotators
        for assignment in _queue(pairs, name, 0.0, 1, batch_id, salt, rng, likely or {})
    ]


def assign_thirds(
    pairs: Sequence[tuple[Pair, Collection[str]]],
    annotators: Sequence[str],
    *,
    start_positions: Mapping[tuple[str, str], int],
    rng: np.random.Generator,
) -> list[Assignment]:
    """One more annotator, who has not seen it, for each pair; the additional loads are kept even.

    Args:
        pairs: Each with the annotators who had it. A pair that all have seen gets nobody.
        start_positions: (annotator, batch) → the first free place in that queue; 0 where it is not named.
    """
    chosen = choose_unseen([set(seen) for _, seen in pairs], annotators, rng)
    position = dict(start_positions)
    sides: dict[str, Counter[str]] = {name: Counter() for name in annotators}
    salt = rng.bytes(16)
    assignments = []
    for i in map(int, rng.permutation(len(pairs))):
        pair, name = pairs[i][0], chosen[i]
        if name is None:
            continue
        place = position.get((name, pair.batch_id), 0)
        position[name, pair.batch_id] = place + 1
        left = _less_shown(sides[name], rng)
        sides[name][left] += 1
        token = _token(salt, name, pair.pair_id, "third")
        assignments.append(Assignment(token, pair.pair_id, name, pair.batch_id, place, left, third=True))
    return assignments


def choose_unseen(seen: Sequence[set[str]], annotators: Sequence[str], rng: np.random.Generator) -> list[str | None]:
    """One of `annotators` for each pair, who is not among those who have seen it, evenly; None where there is none."""
    load = Counter(dict.fromkeys(annotators, 0))
    ties = dict(zip(annotators, rng.random(len(annotators)), strict=True))
    chosen: list[str | None] = [None] * len(seen)
    for i in map(int, rng.permutation(len(seen))):
        if free := [name for name in annotators if name not in seen[i]]:
            chosen[i] = name = min(free, key=lambda name: (load[name], ties[name]))
            load[name] += 1

    def move_one() -> bool:
        """Hand a pair over from somebody with more to somebody with less."""
        for i, name in enumerate(chosen):
            if name is not None:
                for other in annotators:
                    if load[name] - load[other] > 1 and other not in seen[i]:
                        chosen[i] = other
                        load[name] -= 1
                        load[other] += 1
                        return True
        return False

    while move_one():
        pass
    return chosen


def _queue(
    pairs: Sequence[Pair],
    annotator: str,
    duplicates: float,
    distance: int,
    batch_id: str,
    salt: bytes,
    rng: np.random.Generator,
    likely: Mapping[str, Letter],
) -> list[Assignment]:
    """One annotator's tasks in a random order, duplicates among them."""
    order = [pairs[i].pair_id for i in rng.permutation(len(pairs))]
    left = _sides(order, likely, rng)
    # (pair, is it the duplicate); a further insertion can only move an original and its duplicate apart
    places = [(pair_id, False) for pair_id in order]
    distance = spacing(len(order), distance)
    for pair_id in _repeated(order, left, wanted_duplicates(len(order), duplicates), distance, rng):
        earliest = places.index((pair_id, False)) + distance
        places.insert(int(rng.integers(earliest, len(places) + 1)), (pair_id, True))
    tokens = {pair_id: _token(salt, annotator, pair_id, "first") for pair_id in order}
    return [
        Assignment(
            _token(salt, annotator, pair_id, "again") if again else tokens[pair_id],
            pair_id,
            annotator,
            batch_id,
            position,
            _other(left[pair_id]) if again else left[pair_id],
            duplicate_of=tokens[pair_id] if again else None,
        )
        for position, (pair_id, again) in enumerate(places)
    ]


def wanted_duplicates(load: int, share: float) -> int:
    """How many of `load` pairs a share asks for."""
    return math.floor(load * share + 0.5)


def spacing(load: int, distance: int) -> int:
    """Tasks between a pair and its duplicate: `pairs.duplicate_distance`, or half of the annotator's `load` pairs of
    the batch, where they are fewer. So small batches have duplicates too, unless the load is under `FEW`."""
    return distance if load < FEW else min(distance, load // 2)


def _repeated(
    order: Sequence[str], left: Mapping[str, Letter], wanted: int, distance: int, rng: np.random.Generator
) -> list[str]:
    """The pairs to show again: early enough in the order, and such that both sides stay equally often the left."""
    early = order[: max(0, len(order) - distance + 1)]
    waiting: dict[Letter, list[str]] = {"A": [], "B": []}
    for pair_id in (early[int(i)] for i in rng.permutation(len(early))):
        waiting[left[pair_id]].append(pair_id)
    surplus = sum(1 if side == "A" else -1 for side in left.values())
    chosen: list[str] = []
    while len(chosen) < wanted:
        side: Letter = "A" if surplus > 0 or (surplus == 0 and rng.random() < 0.5) else "B"
        if surplus == 0 and not waiting[side]:
            side = _other(side)
        if not waiting[side]:
            break
        chosen.append(waiting[side].pop())
        surplus += -1 if side == "A" else 1  # its duplicate has the other one on the left
    return chosen


def _sides(order: Sequence[str], likely: Mapping[str, Letter], rng: np.random.Generator) -> dict[str, Letter]:
    """`pair_id` → what is on the left: A as often as B among the pairs where A is likely better, and among the others.

    In turn through each group, but the group in an order of its own: taken as the pairs are asked, the better one would
    change sides with every second pair, and who knows the last answer could guess the next.
    """
    start = int(rng.integers(2))
    shuffled = rng.spawn(1)[0].permutation(order).tolist()
    ranked = sorted(shuffled, key=lambda pair_id: likely.get(pair_id, ""))  # stable
    return {pair_id: "A" if (place + start) % 2 else "B" for place, pair_id in enumerate(ranked)}


def _less_shown(shown: Mapping[str, int], rng: np.random.Generator) -> Letter:
    if shown["A"] == shown["B"]:
        return "A" if rng.random() < 0.5 else "B"
    return "A" if shown["A"] < shown["B"] else "B"


def _other(side: Letter) -> Letter:
    return "B" if side == "A" else "A"


def _token(salt: bytes, *parts: str) -> str:
    return hashlib.blake2b("\n".join(parts).encode(), key=salt, digest_size=12).hexdigest()
