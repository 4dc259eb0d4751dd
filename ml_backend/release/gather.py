"""Everything that a release is made of: a workspace in, `Source` out, checked to belong together.

Nothing is written here. Whatever is missing or does not fit is an error before the first file of a release exists.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_backend.loop.provenance import features_for
from ml_backend.release.onnx import Example
from ml_backend.release.preferences import SPLITS, labelled, own_names, preference_rows, pseudonyms
from preference.artifacts import confined, read_json
from preference.config import Reward
from preference.errors import ConfigError, DataError, NotReady, UserError
from preference.records import Annotator, Batch, Certification, Judgment, ModelVersion, Pair, Preference, Trajectory
from preference.store.store import AssignmentView
from preference.workspace import Workspace

if TYPE_CHECKING:
    from ml_backend.loop.features import FeatureStore
    from ml_backend.reward.encoder import Encoder
    from ml_backend.reward.model import ModelSpec, RewardModel

RETRAIN = "Run `robopref train` again."
PARITY_EXAMPLES = 4
"""Real trajectories on which the exported graph is compared with torch; the shortest and the longest are among them."""


@dataclass(frozen=True)
class Source:
    """What goes into a release."""

    ws: Workspace
    preferences: list[Preference]
    """All resolved pairs, with and without a label."""
    rows: list[dict[str, Any]]
    """Of preferences.parquet."""
    names: dict[str, str]
    """Annotator id → released name."""
    trajectories: list[Trajectory]
    pairs: list[Pair]
    """Of the released rows."""
    batches: list[Batch]
    judgments: list[Judgment]
    """On all resolved pairs."""
    left_out: int
    """How many of them count in no label, because quality control accuses who gave them."""
    views: list[AssignmentView]
    annotators: list[Annotator]
    certifications: list[Certification]
    record: ModelVersion
    trained: Reward
    """The settings that the model was trained with, whatever robopref.toml says by now."""
    model: RewardModel
    encoder: Encoder | None
    features: FeatureStore
    examples: list[Example]
    columns: dict[str, Any]
    """Where the model's inputs lie in the source dataset; see `onnx_export.contract_of`."""
    validation: dict[str, Any]

    @property
    def spec(self) -> ModelSpec:
        return self.model.spec

    @property
    def model_file(self) -> Path:
        return self.ws.root / self.record.path / "model.pt"

    @property
    def compared(self) -> list[str]:
        """Ids of the trajectories in a released pair, sorted."""
        return sorted({row[side] for row in self.rows for side in ("trajectory_a_id", "trajectory_b_id")})

    @cached_property
    def rewards(self) -> dict[str, float]:
        """trajectory_id → reward of every trajectory with features."""
        ids = list(self.features)
        values, _ = self.model.score([self.features[i] for i in ids])
        return dict(zip(ids, (float(v) for v in values), strict=True))

    @property
    def date(self) -> str:
        """ISO date of the newest input."""
        stamps = [self.record.created_at, *(j.created_at for j in self.judgments)]
        return max(stamp[:10] for stamp in stamps if stamp) if any(stamps) else "1970-01-01"


def gather(ws: Workspace) -> Source:
    """Read and check what is to be released.

    Raises:
        NotReady: there are no preferences, or no model.
        UserError: the model was trained on other preferences, or a compared trajectory has no clip.
    """
    from ml_backend.reward.model import RewardModel
    from qc_reports.resolve import read_preferences

    if not ws.preferences.is_file():
        raise NotReady("There are no resolved preferences.", fix="Run `robopref resolve` first.")
    preferences = read_preferences(ws.preferences)
    released = labelled(preferences)
    record = ws.store.active_model()
    if record is None:
        raise NotReady("There is no reward model.", fix="Run `robopref train` first.")
    folder = confined(ws.root, record.path)
    annotators, views = ws.store.annotators(), ws.store.assignments()
    names = _names(ws, annotators)
    rows = preference_rows(released, read_split(folder / "split.json"), names)
    trajectories = ws.store.trajectories()
    ids = {row["pair_id"] for row in rows}
    resolved = {p.pair_id for p in preferences}
    _check_clips(ws, trajectories, rows)
    model = RewardModel.load(folder / "model.pt")
    training = read_json(folder / "training.json", fix=RETRAIN)
    trained = _trained_with(folder / "training.json", training)
    _check_labels(ws, record, released, training)
    _check_units(ws, model.spec)
    compared = {row[side] for row in rows for side in ("trajectory_a_id", "trajectory_b_id")}
    encoder, features = _features(ws, model.spec, folder, compared)
    return Source(
        ws=ws,
        preferences=preferences,
        rows=rows,
        names=names,
        trajectories=trajectories,
        pairs=[p for p in ws.store.pairs() if p.pair_id in ids],
        batches=ws.store.batches(),
        judgments=[j for j in ws.store.judgments() if j.pair_id in resolved],
        left_out=_left_out(ws),
        views=views,
        annotators=annotators,
        certifications=ws.store.certifications(),
        record=record,
        trained=trained,
        model=model,
        encoder=encoder,
        features=features,
        examples=_examples(ws, model.spec, trajectories, features),
        columns=_columns(ws, next(t for t in trajectories if t.trajectory_id in features)),
        validation=read_json(folder / "validation.json", fix=RETRAIN),
    )


def read_split(path: Path) -> dict[str, str]:
    """pair_id → train, validation or test, as the model was trained.

    Raises:
        DataError: the file is missing or broken, or lists a pair twice.
    """
    found = read_json(path, fix=RETRAIN)
    split: dict[str, str] = {}
    for name in SPLITS:
        for pair_id in found.get(name, ()):
            if pair_id in split:
                raise DataError(f"{path}: pair {pair_id!r} is in {split[pair_id]} and in {name}.")
            split[pair_id] = name
    return split


def _left_out(ws: Workspace) -> int:
    from qc_reports.resolve import RESOLUTION

    return int(read_json(ws.reports / RESOLUTION, fix="Run `robopref resolve` again.")["left_out"]["judgments"])


def _names(ws: Workspace, annotators: Sequence[Annotator]) -> dict[str, str]:
    if ws.config.release.pseudonyms:
        return pseudonyms((a.annotator_id for a in annotators), ws.config.name)
    return own_names(annotators)


def _check_clips(ws: Workspace, trajectories: Sequence[Trajectory], rows: Sequence[Mapping[str, Any]]) -> None:
    clips = {t.trajectory_id: t.clip for t in trajectories}
    compared = {row[side] for row in rows for side in ("trajectory_a_id", "trajectory_b_id")}
    missing = sorted(i for i in compared if not clips.get(i) or not confined(ws.root, clips[i]).is_file())
    if missing:
        raise UserError(
            f"{len(missing)} compared trajectories have no clip, the first is {missing[0]}: what was judged could not "
            "be looked at again.",
            fix="Run `robopref clips`, then release again.",
        )


def _features(ws: Workspace, spec: ModelSpec, folder: Path, compared: set[str]) -> tuple[Encoder | None, FeatureStore]:
    """The encoder and the features that the model was trained on."""
    from ml_backend.reward.encoder import load

    store = features_for(ws, spec, folder)
    if lost := sorted(compared - set(store)):
        raise DataError(
            f"{len(lost)} compared trajectories can no longer be read, the first is {lost[0]}.",
            fix="Run `robopref pool` and see failures.csv.",
        )
    return (load(store.encoder) if store.encoder else None), store


def _trained_with(path: Path, training: Mapping[str, Any]) -> Reward:
    """The settings in training.json."""
    try:
        return Reward.model_validate(training["reward"])
    except (KeyError, ValueError) as error:
        raise DataError(f"{path}, reward: {error}", fix="Run `robopref train` again.") from None


def _check_labels(
    ws: Workspace, record: ModelVersion, preferences: Sequence[Preference], training: Mapping[str, Any]
) -> None:
    """Pairs may be the same and labels not: the fingerprint that training left tells.

    Raises:
        UserError: labels, confidences or trajectories changed since the model was trained.
    """
    from ml_backend.loop.provenance import fingerprint

    left = record.metrics.get("fingerprint")
    settings = {"reward": Reward.model_validate(training["reward"]), "seed": training.get("seed")}
    then = Workspace(ws.config.model_copy(update=settings))
    then.store = ws.store
    if left and left != fingerprint(then, preferences, training.get("encoder_digest", "")):
        raise UserError(
            f"The model {record.version} was trained on other preferences than those released: since then labels, "
            "confidences or the pool's trajectories have changed.",
            fix="Run `robopref train`, then release again.",
        )


def _check_units(ws: Workspace, spec: ModelSpec) -> None:
    known = [*spec.action_names, *spec.state_names]
    if wrong := [name for name in ws.config.release.units if name not in known]:
        raise ConfigError(
            f"release.units names {wrong[0]!r}, which is no number of this model's actions and state; it has "
            f"{', '.join(known)}."
        )


def _examples(
    ws: Workspace, spec: ModelSpec, trajectories: Sequence[Trajectory], features: FeatureStore
) -> list[Example]:
    """Real trajectories at the model's rate: the shortest, the longest, and some between."""
    import numpy as np

    from importer.pool import read_episode
    from importer.pool.video import clean_frames, sample_rows

    ranked = sorted((t for t in trajectories if t.trajectory_id in features.paths), key=lambda t: t.end_s - t.start_s)
    picks = np.unique(np.linspace(0, len(ranked) - 1, PARITY_EXAMPLES).round().astype(int))
    examples = []
    for t in (ranked[i] for i in picks):
        episode = read_episode(ws.config.pool, t)
        span = (t.start_s, t.end_s, spec.sample_fps, spec.max_frames)
        if "frames" in spec.inputs:
            frames, rows = clean_frames(episode, *span)
        else:
            rows = sample_rows(episode.time, *span)
            frames = np.zeros((len(rows), 0, 0, 3), dtype=np.uint8)
        examples.append(Example(t.trajectory_id, frames, episode.actions[rows], episode.state[rows]))
    return examples


def _columns(ws: Workspace, trajectory: Trajectory) -> dict[str, Any]:
    """Camera, and columns of actions and state, of the dataset that the model's names for them come from."""
    from importer.pool.dataset import find_dataset, open_dataset

    mapping = open_dataset(find_dataset(ws.config.pool, trajectory)).reader.mapping
    refs = {"actions": (mapping.action,), "state": mapping.state}
    return {"camera": mapping.camera, **{k: [(r.column, list(r.dims)) for r in v] for k, v in refs.items()}}
