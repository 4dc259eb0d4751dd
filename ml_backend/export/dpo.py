"""Chosen and rejected trajectories, one JSON object per line, as trainers for preference optimization (DPO) read them.

In: the resolved preferences, and the reward model where there is one. Out: `prompt` (the task type), `chosen` and
`rejected` (trajectory ids), and with them where each episode is, the split, the annotators' confidence and the model's
margin. These trainers have no notion of ties, which are left out and counted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ml_backend.loop.queue_order import rewards_in_use
from ml_backend.release.preferences import labelled, read_split
from preference.artifacts import confined, write_jsonl
from preference.errors import UserError
from preference.records import Preference, Trajectory
from preference.workspace import Workspace


@dataclass(frozen=True)
class DpoExport:
    """What was written."""

    path: Path
    pairs: int
    ties_left_out: int
    model: str
    """Version of the model that the margins come from; empty without one."""


def export_dpo(ws: Workspace, path: Path) -> DpoExport:
    """Write `path`, best named .jsonl; an existing file is replaced when the new one is complete.

    Raises:
        NotReady: there are no resolved preferences.
        UserError: every label is a tie, or `path` is a folder.
    """
    if path.is_dir():
        raise UserError(f"{path} is a folder.", fix="Name a file, such as pairs.jsonl.")
    preferences = labelled(ws.store.preferences())
    decided = [p for p in preferences if p.preference != 0.5]
    if not decided:
        raise UserError(f"All {len(preferences)} labels are ties, so no trajectory is preferred over another.")
    record = ws.store.active_model()
    trajectories = {t.trajectory_id: t for t in ws.store.trajectories()}
    split = read_split(confined(ws.root, record.path)) if record else {}
    rewards = rewards_in_use(ws)
    write_jsonl(path, (row(p, trajectories, split, rewards) for p in decided))
    return DpoExport(path, len(decided), len(preferences) - len(decided), record.version if record else "")


def row(
    preference: Preference,
    trajectories: Mapping[str, Trajectory],
    split: Mapping[str, str],
    rewards: Mapping[str, float],
) -> dict[str, Any]:
    """One line.

    Args:
        preference: Not a tie.
        split: pair_id → train, validation or test, of the pairs that the model knows.
        rewards: trajectory_id → reward; `margin` is r(chosen) − r(rejected), below 0 where the model disagrees with
            the annotators, and null where it has not seen one of them.
    """
    chosen, rejected = preference.trajectory_a_id, preference.trajectory_b_id
    if preference.preference == 0.0:
        chosen, rejected = rejected, chosen
    known = chosen in rewards and rejected in rewards
    return {
        "prompt": trajectories[chosen].task_type,
        "chosen": chosen,
        "rejected": rejected,
        "pair_id": preference.pair_id,
        "split": split.get(preference.pair_id),
        "margin": round(rewards[chosen] - rewards[rejected], 6) if known else None,
        "confidence": preference.confidence_mean,
        "agreement": preference.agreement,
        "num_annotators": preference.num_annotators,
        "chosen_episode": _episode(trajectories[chosen]),
        "rejected_episode": _episode(trajectories[rejected]),
    }


def _episode(t: Trajectory) -> dict[str, Any]:
    """Where the trajectory is in its source dataset."""
    return {"dataset": t.dataset, "episode_index": t.episode_index, "start_s": t.start_s, "end_s": t.end_s}
