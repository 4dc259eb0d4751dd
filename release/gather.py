"""Everything that a release is made of: a workspace in, `Source` out, checked to belong together.

Whatever is missing or does not fit is an error before the first file of a release exists. Quality control is computed
again, from answers under released names: names are not searched and replaced in finished pages, since an annotator may
be called what a source is, or a word of the page.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from importer.pool import read_episode
from importer.pool.dataset import find_dataset, open_dataset
from importer.pool.video import clean_frames, sample_rows
from ml_backend.loop.features import FeatureStore
from ml_backend.loop.models import trained_with
from ml_backend.loop.spec import features_for
from ml_backend.loop.train import fingerprint
from ml_backend.loop.validate import PAGE, validate_model
from ml_backend.reward.encoder import Encoder, load
from ml_backend.reward.layout import UNSEEN
from ml_backend.reward.model import ModelSpec, RewardModel
from preference.artifacts import confined, read_json
from preference.config import Reward
from preference.errors import ConfigError, DataError, NotReady, UserError
from preference.records import (
    ADOPTED,
    Annotator,
    AssignmentView,
    Batch,
    Certification,
    Judgment,
    ModelVersion,
    Pair,
    Preference,
    Trajectory,
)
from preference.workspace import Workspace
from qc_reports.answers import Answered, join
from qc_reports.qc import check
from qc_reports.report.batch_report import BatchReport
from release.onnx import Example
from release.preferences import RETRAIN, labelled, own_names, preference_table, pseudonyms, read_split
from release.safetensors import CONFIG

PARITY_EXAMPLES = 4
"""Real trajectories on which the exported graph is compared with torch, including the shortest and the longest."""
_RETRAIN = "Run `robopref train` again."


@dataclass(frozen=True)
class Source:
    """What goes into a release."""

    ws: Workspace
    preferences: list[Preference]
    """All resolved pairs, with and without a label."""
    labels: pd.DataFrame
    """preferences.parquet."""
    names: dict[str, str]
    """Annotator id → released name."""
    trajectories: list[Trajectory]
    pairs: list[Pair]
    """Of the released labels."""
    batches: list[Batch]
    judgments: list[Judgment]
    """On all resolved pairs."""
    left_out: int
    """How many of them count in no label, because QC flagged the annotator."""
    views: list[AssignmentView]
    annotators: list[Annotator]
    certifications: list[Certification]
    record: ModelVersion
    trained: Reward
    """The settings that the model was trained with, even if robopref.toml has changed since."""
    model: RewardModel
    encoder: Encoder | None
    features: FeatureStore
    examples: list[Example]
    columns: dict[str, Any]
    """Where the model's inputs are in the source dataset; see `contract_of`."""
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
        return sorted({*self.labels["trajectory_a_id"], *self.labels["trajectory_b_id"]})

    @cached_property
    def rewards(self) -> dict[str, float]:
        """trajectory_id → reward of every trajectory with features."""
        ids = list(self.features)
        values, _ = self.model.score([self.features[i] for i in ids])
        return dict(zip(ids, values.tolist(), strict=True))

    @property
    def date(self) -> str:
        """ISO date of the newest input, so that two runs over the same inputs write the same release."""
        stamps = [self.record.created_at, *(j.created_at for j in self.judgments)]
        return max(stamp[:10] for stamp in stamps if stamp) if any(stamps) else "1970-01-01"

    @cached_property
    def answers(self) -> list[Answered]:
        """Every answer on a resolved pair, under released names."""
        known = join(self.judgments, self.views)
        return [replace(answer, annotator_id=self.names[answer.annotator_id]) for answer in known]

    @cached_property
    def reports(self) -> list[BatchReport]:
        """Quality control of each batch with released answers, in the batches' order; the gate's verdict is the stored
        one."""
        # the reviewer, and the reason given, may name people
        reviews = [
            replace(review, annotator_id=self.names[review.annotator_id], by="the team", why="reviewed")
            for review in self.ws.store.reviews()
        ]
        reports = []
        for batch in self.batches:
            own = self.answers_of(batch.batch_id)
            if batch.kind != "calibration" and own:
                views = [view for view in self.views if view.assignment.batch_id == batch.batch_id]
                report = check(self.ws, batch.batch_id, views, own, reviews)
                reports.append(replace(report, status=batch.status))
        return reports

    def answers_of(self, batch_id: str) -> list[Answered]:
        ids = {view.assignment.assignment_id for view in self.views if view.assignment.batch_id == batch_id}
        return [answer for answer in self.answers if answer.assignment_id in ids]


def gather(ws: Workspace) -> Source:
    """Read and check what is to be released; where `robopref validate` has not run yet, validate the model.

    Raises:
        NotReady: there are no preferences, or no model.
        UserError: the model was trained on other preferences, or a compared trajectory has no clip.
        DataError: a file of the model is broken.
    """
    preferences = ws.store.preferences()
    released = labelled(preferences)
    record = ws.store.active_model()
    if record is None:
        raise NotReady("There is no reward model.", fix="Run `robopref train` first.")
    folder = confined(ws.root, record.path)
    annotators, trajectories = ws.store.annotators(), ws.store.trajectories()
    names = (
        pseudonyms((a.annotator_id for a in annotators), ws.config.name)
        if ws.config.release.pseudonyms
        else own_names(annotators)
    )
    judgments = ws.store.judgments()
    labels = preference_table(released, read_split(folder), names, judgments=judgments, fix=_way_out(ws, record))
    compared = {*labels["trajectory_a_id"], *labels["trajectory_b_id"]}
    _check_clips(ws, trajectories, compared)
    model = RewardModel.load(folder / "model.pt")
    training = read_json(folder / "training.json", fix=_RETRAIN)
    trained = _trained_with(folder / "training.json", training)
    _check_labels(ws, record, released, training, trained)
    _check_units(ws, model.spec)
    features = features_for(ws, model.spec, folder)
    if lost := sorted(compared - set(features)):
        raise DataError(
            f"{len(lost)} compared trajectories can no longer be read, such as {lost[0]}.",
            fix="Run `robopref pool` and see failures.csv.",
        )
    ids, resolved = set(labels["pair_id"]), {p.pair_id for p in preferences}
    return Source(
        ws=ws,
        preferences=preferences,
        labels=labels,
        names=names,
        trajectories=trajectories,
        pairs=[p for p in ws.store.pairs() if p.pair_id in ids],
        batches=ws.store.batches(),
        judgments=[j for j in judgments if j.pair_id in resolved],
        left_out=ws.store.resolution().left_out["judgments"],
        views=ws.store.assignments(),
        annotators=annotators,
        certifications=ws.store.certifications(),
        record=record,
        trained=trained,
        model=model,
        encoder=load(features.encoder) if features.encoder else None,
        features=features,
        examples=_examples(ws, model.spec, trajectories, features),
        columns=_columns(ws, model.spec, _here(trajectories, features), features),
        validation=_validation(ws, record, folder),
    )


def _validation(ws: Workspace, record: ModelVersion, folder: Path) -> dict[str, Any]:
    """The complete validation.json, with its page beside it."""
    found = read_json(folder / "validation.json", fix=_RETRAIN)
    if (folder / PAGE).is_file() and "checks" in found:
        return found
    validate_model(ws, record.version)
    return read_json(folder / "validation.json")


def _check_clips(ws: Workspace, trajectories: Sequence[Trajectory], compared: set[str]) -> None:
    clips = {t.trajectory_id: t.clip for t in trajectories if not t.adopted}
    compared = compared & set(clips)
    missing = sorted(i for i in compared if not clips.get(i) or not confined(ws.root, clips[i]).is_file())
    if missing:
        raise UserError(
            f"{len(missing)} compared trajectories have no clip, such as {missing[0]}: nobody could see again what "
            "the annotators judged.",
            fix="Run `robopref clips`, then release again.",
        )


def _trained_with(path: Path, training: Mapping[str, Any]) -> Reward:
    try:
        return trained_with(training["reward"])
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}, reward: {error}", fix=_RETRAIN) from None


def _check_labels(
    ws: Workspace,
    record: ModelVersion,
    preferences: Sequence[Preference],
    training: Mapping[str, Any],
    trained: Reward,
) -> None:
    """The pairs may be the same and the labels not: the fingerprint that training left tells.

    Raises:
        UserError: labels, confidences, trajectories or settings changed since the model was trained, or it was trained
            by a version that learned otherwise.
    """
    left = record.metrics.get("fingerprint")
    then = Workspace(ws.config.model_copy(update={"reward": trained, "seed": training.get("seed")}))
    then.store = ws.store
    if left and left != fingerprint(then, preferences, training.get("encoder_digest", "")):
        raise UserError(
            f"The model {record.version} was not trained on what is to be released: labels, confidences, the pool's "
            "trajectories, their qualities or settings have changed since, or a version before this one trained it.",
            fix=_way_out(ws, record),
        )


def _way_out(ws: Workspace, record: ModelVersion) -> str:
    """What to do about a model in use that does not know the labels; training again helps unless that was kept back."""
    newest = ws.store.model_versions()[-1]
    if newest.version == record.version or not (why := newest.metrics.get("kept_back")):
        return RETRAIN
    return (
        f"{newest.version} was trained on newer labels and kept back: {why}. Collect more labels (`robopref round`), "
        f"or run `robopref models promote {newest.version}` and release that one, which is worse on those pairs."
    )


def _check_units(ws: Workspace, spec: ModelSpec) -> None:
    known = [*spec.action_names, *spec.state_names]
    if wrong := [name for name in ws.config.release.units if name not in known]:
        raise ConfigError(
            f"release.units names {wrong[0]!r}, which is not one of this model's actions and state; expected one of "
            f"{', '.join(known)}."
        )


def _examples(
    ws: Workspace, spec: ModelSpec, trajectories: Sequence[Trajectory], features: FeatureStore
) -> list[Example]:
    """Real trajectories at the model's rate: the shortest, the longest, and some in between."""
    ranked = sorted(_here(trajectories, features), key=lambda t: len(features[t.trajectory_id]))
    picks = np.unique(np.linspace(0, len(ranked) - 1, PARITY_EXAMPLES).round().astype(int))
    examples = []
    for t in (ranked[i] for i in picks):
        episode = read_episode(ws.config.pool, t)
        start, end = t.seen
        span = (start, end, spec.sample_fps, spec.max_frames)
        rows = sample_rows(episode.time, *span)
        views: list[np.ndarray | None] = [np.zeros((len(rows), 0, 0, 3), dtype=np.uint8)]
        if "frames" in spec.inputs:
            seen = list(episode.views.values()) if len(spec.cameras) > 1 else [episode.video]
            views = [clean_frames(episode, *span, view)[0] if view is not None else None for view in seen]
        primary = np.zeros((len(rows), 0, 0, 3), dtype=np.uint8) if views[0] is None else views[0]
        robot, task = features.places.get(t.trajectory_id, (0, UNSEEN))
        arrays = primary, episode.actions[rows], episode.state[rows]
        examples.append(Example(t.trajectory_id, *arrays, tuple(views[1:]), robot, task))
    return examples


def _here(trajectories: Sequence[Trajectory], features: FeatureStore) -> list[Trajectory]:
    """Those whose episodes can be read.

    Raises:
        NotReady: all came with an adopted release.
    """
    found = [t for t in trajectories if t.trajectory_id in features.paths and not t.adopted]
    if not found:
        fix = "Name your dataset under [[pool.dataset]], and run `robopref pool`."
        raise NotReady("All trajectories came with the adopted release, so there is nothing new to release.", fix=fix)
    return found


def _columns(ws: Workspace, spec: ModelSpec, trajectories: Sequence[Trajectory], store: FeatureStore) -> dict[str, Any]:
    """Where the model's values are in the datasets that it was trained on (`onnx.contract_of`)."""
    known = spec.layout.robots
    if len(known) == 1:
        return {**_columns_of(ws, trajectories[0]), "type": known[0].name}
    kinds = [store.robot_of(t) for t in trajectories]
    before = _columns_before(ws)
    found = []
    for robot in known:
        # one that lacks neither actions nor state
        own = [robot.takes(k) and (k.actions, k.state) == (robot.actions, robot.state) for k in kinds]
        columns = _columns_of(ws, trajectories[own.index(True)]) if any(own) else before.get(str(robot))
        if columns is None:  # its datasets are with an adopted release that does not say
            continue
        views = dict(zip(columns.get("cameras", []), spec.cameras, strict=False))
        found.append({**columns, "robot": str(robot), "type": robot.name, "views": views})
    return {**(found[0] if found else _columns_of(ws, trajectories[0])), "robots": found}


def _columns_before(ws: Workspace) -> dict[str, dict[str, Any]]:
    """Robot → its columns in an adopted release, whose datasets are not here."""
    record = next((r for r in ws.store.model_versions() if ADOPTED in r.metrics), None)
    if record is None:
        return {}
    described = read_json(confined(ws.releases, record.metrics[ADOPTED]["release"]) / CONFIG)
    return {one["robot"]: one for one in json.loads(described["contract"])["columns"].get("robots", ())}


def _columns_of(ws: Workspace, trajectory: Trajectory) -> dict[str, Any]:
    """Camera, and columns of actions and state, of the dataset that a trajectory comes from."""
    reader = open_dataset(find_dataset(ws.config.pool, trajectory)).reader
    mapping = reader.mapping
    refs = {"actions": mapping.action, "state": mapping.state}
    cameras = {"cameras": list(mapping.cameras)} if len(mapping.cameras) > 1 else {}
    widths = {r.column: reader.schema.columns[r.column].width for r in (*mapping.action, *mapping.state)}
    columns = {kind: [(r.column, list(r.dims)) for r in found] for kind, found in refs.items()}
    return {"camera": mapping.camera, **cameras, **columns, "widths": widths}
