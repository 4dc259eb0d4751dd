"""Which two trajectories are compared: stratified pairs for production, and pairs that the ranking chose.

Trajectories with a task type and a quartile go in, `Pair` records come out. A pair is always within one task type;
its stratum is how far apart the two quartiles are (same 0, adjacent 1, distant 2 or 3). Distant pairs are the gold
items: which one is better is known. Nothing about a pair tells its stratum but the field of that name: ids are
hashes, and which of the two is `a` is drawn at random.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Literal

import numpy as np

from importer.pairs.strata import CELLS, PairKey, StratifiedPool
from preference.errors import UserError
from preference.records import Answer, Kind, Pair, Stratum, Trajectory

UNIFORM = "uniform"
"""`Pair.strategy` of pairs that no rule chose: a round's audit pairs."""


def stratum_of(first: Trajectory, second: Trajectory) -> Stratum:
    """How far apart two trajectories of one task type are.

    Raises:
        UserError: they are not of one task type, or one is not ranked.
    """
    if first.task_type != second.task_type:
        raise UserError(
            f"{first.trajectory_id} ({first.task_type}) and {second.trajectory_id} ({second.task_type}) "
            "have different task types.",
            fix="Only trajectories of one task type can be compared.",
        )
    for trajectory in (first, second):
        if trajectory.quartile not in (1, 2, 3, 4):
            raise UserError(
                f"{trajectory.trajectory_id} has quartile {trajectory.quartile}, expected 1 to 4: it is not ranked.",
                fix="Run `robopref pool`; a task type needs at least four trajectories.",
            )
    apart = abs(first.quartile - second.quartile)
    return "same" if apart == 0 else "adjacent" if apart == 1 else "distant"


def pair_id_of(first_id: str, second_id: str) -> str:
    """The same for (x, y) and (y, x), in every batch, so that a pair cannot come in twice."""
    return hashlib.sha256("\n".join(sorted((first_id, second_id))).encode()).hexdigest()[:20]


def make_pair(
    a: Trajectory, b: Trajectory, kind: Kind, batch_id: str, *, dimension: str = "", strategy: str = ""
) -> Pair:
    """The record of one pair; a gold one knows its answer."""
    expected: Answer | None = None
    if kind == "gold":
        expected = "A" if a.quality > b.quality else "B"
    return Pair(
        pair_id_of(a.trajectory_id, b.trajectory_id),
        a.trajectory_id,
        b.trajectory_id,
        a.task_type,
        stratum_of(a, b),
        kind,
        batch_id,
        expected,
        dimension=dimension,
        strategy=strategy,
    )


def asked(pairs: Iterable[Pair]) -> set[PairKey]:
    """The keys of pairs that exist already, for `exclude`."""
    return {frozenset((pair.trajectory_a_id, pair.trajectory_b_id)) for pair in pairs}


def likely_answers(pairs: Iterable[Pair], trajectories: Iterable[Trajectory]) -> dict[str, Literal["A", "B"]]:
    """`pair_id` → the one of higher quality. For planning only: not an answer."""
    quality = {trajectory.trajectory_id: trajectory.quality for trajectory in trajectories}
    return {
        pair.pair_id: "A" if quality[pair.trajectory_a_id] > quality[pair.trajectory_b_id] else "B" for pair in pairs
    }


def sample_pairs(
    trajectories: Sequence[Trajectory],
    count: int,
    *,
    strata: Mapping[Stratum, float],
    rng: np.random.Generator,
    batch_id: str,
    exclude: Collection[PairKey] = frozenset(),
    fill: bool = False,
) -> list[Pair]:
    """`count` pairs in the given strata, in random order.

    The strata are exact to rounding over the whole, and split over the task types in proportion to their
    trajectories; a task type that has no more of a stratum leaves its share to the others. Every trajectory is used
    about equally often, counting the pairs in `exclude`.

    Args:
        trajectories: Those without a quartile are left out.
        strata: Share of each stratum; they sum to 1.
        exclude: Pairs that must not come again.
        fill: What a stratum lacks comes from the nearest one that has it; `shortfalls` says what that changed.

    Raises:
        StratumError: a stratum (with `fill`, all together) has fewer pairs left than are wanted; with the numbers.
    """
    pool = StratifiedPool(trajectories, exclude, rng)
    pairs: list[Pair] = []
    for stratum, task, cell, number in list(pool.plan(count, strata, fill=fill)):
        kind = "gold" if stratum == "distant" else "production"
        for _ in range(number):
            first, second = pool.draw(task, cell)
            if rng.random() < 0.5:
                first, second = second, first
            pairs.append(make_pair(first, second, kind, batch_id))
    return [pairs[i] for i in rng.permutation(len(pairs))]


def shortfalls(pairs: Sequence[Pair], strata: Mapping[Stratum, float]) -> list[str]:
    """One sentence for each stratum that has more or fewer pairs than its share."""
    counts = Counter(pair.stratum for pair in pairs)
    wanted = {name: strata.get(name, 0.0) * len(pairs) for name in CELLS}
    return [
        f"{counts[name]} {name} pairs instead of {wanted[name]:.0f}: "
        + ("the pool has no more of them." if counts[name] < wanted[name] else "they stand in for other strata.")
        for name in CELLS
        if abs(counts[name] - wanted[name]) >= 1
    ]


def active_pairs(
    chosen: Sequence[tuple[str, str]],
    strategies: Sequence[str],
    trajectories: Iterable[Trajectory],
    batch_id: str,
    *,
    rng: np.random.Generator,
) -> list[Pair]:
    """Pairs that the ranking proposed, as records; which one becomes `a` is drawn anew.

    Distant pairs that were drawn uniformly are gold items, so that there are some in most rounds. A pair that a rule
    chose is none: the model is unsure of it, and so may its quartiles be wrong.

    Raises:
        UserError: an id is not in `trajectories`.
    """
    by_id = {trajectory.trajectory_id: trajectory for trajectory in trajectories}
    pairs = []
    for ids, strategy in zip(chosen, strategies, strict=True):
        if missing := [i for i in ids if i not in by_id]:
            raise UserError(f"The trajectory {missing[0]!r} is not in the pool.", fix="Run `robopref pool` again.")
        first, second = (by_id[i] for i in (ids if rng.random() < 0.5 else ids[::-1]))
        gold = strategy == UNIFORM and stratum_of(first, second) == "distant"
        pairs.append(make_pair(first, second, "gold" if gold else "active", batch_id, strategy=strategy))
    return pairs
