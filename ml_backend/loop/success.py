"""Which trajectories succeeded, and when: what the dataset and the annotators say, as a model can learn it."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ml_backend.reward.dataset import Known
from preference.config import Config
from preference.records import Trajectory
from preference.workspace import Workspace
from qc_reports.resolve import set_aside_now


@dataclass(frozen=True)
class Outcomes:
    """What is known of a pool."""

    known: list[Known]
    """In the order of the trajectories."""
    by_people: int
    """How many are known from the annotators alone."""
    contradictory: list[str]
    """trajectory_ids of which the dataset and most annotators say the opposite; neither is learned from."""

    @property
    def words(self) -> str:
        """About contradictions; empty without."""
        if not self.contradictory:
            return ""
        first, more = self.contradictory[0], len(self.contradictory)
        return (
            f"Of {more} trajectories the dataset and most annotators say the opposite about success, the first is "
            f"{first}: nothing is learned from their success. Correct the dataset's success, or the answers."
        )


def known_outcomes(
    ws: Workspace, trajectories: Sequence[Trajectory], steps: Sequence[int], sample_fps: float
) -> Outcomes:
    """
    Args:
        steps: How many steps the model sees of each trajectory.
        sample_fps: Of the model.
    """
    told = said(ws)
    known, contradictory, by_people = [], [], 0
    for t, count in zip(trajectories, steps, strict=True):
        people, several = told.get(t.trajectory_id, (None, False))
        success = people if t.success is None else t.success
        by_people += t.success is None and people is not None
        if several and success != people:
            contradictory.append(t.trajectory_id)
            success = None
        done = done_step(t, count, sample_fps, ws.config) if success and t.success else None
        known.append(Known(success, done, t.task_type))
    return Outcomes(known, by_people, contradictory)


def done_step(t: Trajectory, steps: int, sample_fps: float, config: Config) -> int | None:
    """The first step at or after the completion of a trajectory that succeeded; None where the time is not known.

    It is told from the trimmed span, which ends `clips.after_s` after completion, or with the episode; in the latter
    case from the duration, which begins `clips.before_s` after the span does.
    """
    clips, length_s = config.clips, t.start_s + t.seen_s
    if t.end_s < length_s - 1e-6:
        completion = t.end_s - clips.after_s
    elif t.start_s > 0 and math.isfinite(t.duration_s):
        completion = t.start_s + clips.before_s + t.duration_s
    else:
        return None
    if completion >= length_s - 1e-6:
        return None
    # a long trajectory is sampled more thinly than at the model's rate
    thin = steps >= config.reward.max_frames
    rate = min(sample_fps, max(steps - 1, 1) / max(t.seen_s, 1e-6)) if thin else sample_fps
    return min(max(math.ceil((completion - t.start_s) * rate - 1e-6), 0), steps - 1)


def said(ws: Workspace) -> Mapping[str, tuple[bool, bool]]:
    """trajectory_id → whether most annotators who were asked for its outcome say success, not where half do; and
    whether several were asked. Only judgments that count for labels do here, and each person once."""
    answered = [judgment for judgment in ws.store.judgments() if judgment.questions.get("outcome")]
    if not answered:
        return {}
    held, out = set_aside_now(ws)
    views = {view.assignment.assignment_id: view for view in ws.store.assignments(calibration=False)}
    votes: dict[str, dict[str, bool]] = defaultdict(dict)
    for judgment in answered:
        if (view := views.get(judgment.assignment_id)) is None:
            continue
        batch = view.assignment.batch_id
        if batch in held or (batch, judgment.annotator_id) in out:
            continue
        for letter, word in judgment.questions["outcome"].items():
            name = view.pair.trajectory_a_id if letter == "A" else view.pair.trajectory_b_id
            votes[name][judgment.annotator_id] = word == "success"
    found = {name: list(own.values()) for name, own in votes.items()}
    return {name: (sum(own) * 2 > len(own), len(own) > 1) for name, own in found.items() if sum(own) * 2 != len(own)}
