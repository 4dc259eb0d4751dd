"""Third opinions: where two annotators differ, a third is asked about the pair, in the pair's own batch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence

from importer.pairs.annotators import certified_ids
from importer.pairs.assignments import assign_thirds
from importer.pairs.batches import append
from preference.records import Assignment, Pair
from preference.workspace import Workspace

MOST_ANNOTATORS = 3
"""Nobody is asked after the third: where three differ, the pair itself is ambiguous."""


def ask_third(ws: Workspace, pair_ids: Sequence[str], left_out: Collection[tuple[str, str]] = ()) -> list[Assignment]:
    """One more annotator for each of the pairs, at the end of their queue in the pair's own batch.

    A pair is left alone if it still waits for an answer, has three annotators whose answers count, or was seen by
    everybody who is certified; so asking again adds nothing.

    Args:
        left_out: (batch, annotator) whose answers do not count; they are not asked either.

    Returns:
        The new assignments.
    """
    wanted = set(pair_ids)
    done = ws.store.answered() | ws.store.skipped().keys()
    free_places: Counter[tuple[str, str]] = Counter()
    pairs: dict[str, Pair] = {}
    seen: dict[str, set[str]] = {}
    counting: Counter[str] = Counter()
    waiting: set[str] = set()
    for view in ws.store.assignments():
        a = view.assignment
        free_places[a.annotator_id, a.batch_id] = max(free_places[a.annotator_id, a.batch_id], a.position + 1)
        if a.pair_id in wanted and a.duplicate_of is None:
            pairs[a.pair_id] = view.pair
            seen.setdefault(a.pair_id, set()).add(a.annotator_id)
            counting[a.pair_id] += (a.batch_id, a.annotator_id) not in left_out
            if a.assignment_id not in done and (a.batch_id, a.annotator_id) not in left_out:
                waiting.add(a.pair_id)
    contested = sorted(key for key in pairs if key not in waiting and counting[key] < MOST_ANNOTATORS)
    if not contested:
        return []
    for batch_id, name in left_out:
        for key in contested:
            if pairs[key].batch_id == batch_id:
                seen[key].add(name)
    made = assign_thirds(
        [(pairs[key], seen[key]) for key in contested],
        certified_ids(ws),
        start_positions=free_places,
        rng=ws.secret_rng(f"thirds {' '.join(contested)}"),
    )
    append(ws, made)
    return made
