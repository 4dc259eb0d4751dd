"""Segments: pieces of trajectories that are compared and trained on as trajectories are.

A segment is a view of some steps of a trajectory's features, under an id of its own, such as `demo-7[20:69]`: steps 20
to 69, both included, counted as the features count them. `segment_features` gives the views; whatever takes features
takes them too, so pairs of segments are trained on as pairs of trajectories are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import overload

from ml_backend.reward.features import Features
from preference.errors import DataError


@dataclass(frozen=True)
class Segment:
    """Steps `first` to `last` of a trajectory, both included."""

    trajectory_id: str
    first: int
    last: int

    @property
    def segment_id(self) -> str:
        """Its place in a list of ids."""
        return f"{self.trajectory_id}[{self.first}:{self.last}]"


@dataclass(frozen=True)
class FeatureViews(Sequence[Features]):
    """Trajectories and pieces of them; each is read when asked for."""

    whole: Sequence[Features]
    views: Sequence[tuple[int, int, int]]
    """Row in `whole`, first step, and one more than the last."""

    @overload
    def __getitem__(self, index: int) -> Features: ...
    @overload
    def __getitem__(self, index: slice) -> FeatureViews: ...
    def __getitem__(self, index: int | slice) -> Features | FeatureViews:
        if isinstance(index, slice):
            return FeatureViews(self.whole, self.views[index])
        row, first, end = self.views[index]
        item = self.whole[row]
        return Features(item.frames[first:end], item.actions[first:end], item.state[first:end])

    def __len__(self) -> int:
        return len(self.views)


def segment_features(features: Sequence[Features], ids: Sequence[str], segments: Sequence[Segment]) -> FeatureViews:
    """A view for each of `segments`, in their order.

    Args:
        features: Of the trajectories `ids`, in the same order.

    Raises:
        DataError: a segment's trajectory is not here, or the segment reaches beyond it.
    """
    place = {name: row for row, name in enumerate(ids)}
    lengths: dict[int, int] = {}
    views = []
    for segment in segments:
        row = place.get(segment.trajectory_id)
        if row is None:
            raise DataError(
                f"Segment {segment.segment_id}: there is no trajectory {segment.trajectory_id!r} among the {len(ids)}.",
                fix="Name trajectories as manifest.csv does.",
            )
        if row not in lengths:
            lengths[row] = len(features[row])
        if not 0 <= segment.first <= segment.last < lengths[row]:
            raise DataError(
                f"Segment {segment.segment_id}: expected steps within 0 to {lengths[row] - 1}, the first not after the "
                f"last; found {segment.first} to {segment.last}.",
                fix="Count steps as the features do, from 0.",
            )
        views.append((row, segment.first, segment.last + 1))
    return FeatureViews(features, views)
