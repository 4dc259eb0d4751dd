"""Training: labels and the pool's features in, a validated and registered reward model out.

`train` is the stage of that name. `finetuned` trains the encoder as well (`robopref train --finetune`). The figures of
every epoch become event files under work/curves: `tensorboard --logdir work/curves` shows a training while it runs.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from importer.pool import read_episode
from importer.pool.quality import score
from importer.pool.video import clean_frames
from ml_backend.loop.features import ENCODERS, OWN_ENCODER, assumed, encode_pool, encoder_settings
from ml_backend.loop.models import digests, promotion_pairs, why_worse
from ml_backend.loop.queue_order import publish, rewards_in_use
from ml_backend.loop.spec import describe, known_outcomes
from ml_backend.reward.dataset import (
    SPLITS,
    Pairs,
    check_labels,
    index_judgments,
    index_pairs,
    index_quartiles,
    pair_keys,
    split_pairs,
)
from ml_backend.reward.encoder_weights import EncoderSettings
from ml_backend.validation.probes import groups
from preference.artifacts import plain, replacing, told_when_full, write_csv, write_json
from preference.config import Reward
from preference.errors import ConfigError, DataError, NotReady
from preference.formats import now
from preference.records import ModelVersion, Preference, Trajectory
from preference.work import console, progress, remark
from preference.workspace import Workspace
from qc_reports.answers import Answered, join
from qc_reports.resolve import outcomes_said

RECIPE = 13
"""Part of every fingerprint: raise it when the same labels and settings give another model."""
FRAMES_KEPT = 256
"""Trajectories whose frames stay in memory during fine-tuning: 40 frames of 240 x 240 are 7 MB."""


def train(ws: Workspace) -> ModelVersion:
    """Train, validate and register a reward model on the resolved preferences; nothing where that has been done.

    Writes models/VERSION/{model.pt, split.json, validation.json, training.json, rewards.csv}, all or nothing. A model
    that takes over gives the open tasks their new order (`publish`).

    Raises:
        NotReady: nothing is resolved, or too little.
        ConfigError: the encoder's weights were trained with another preprocessing.
    """
    preferences = _labels(ws)
    encoder = encoder_settings(ws.config.reward)
    key = fingerprint(ws, preferences, encoder.digest if encoder else "")
    record = next(
        (r for r in ws.store.model_versions() if r.metrics.get("fingerprint") == key and _exists(ws, r)), None
    )
    if record is None:
        record = _train(ws, preferences, encoder, key)
    elif not record.active and "kept_back" not in record.metrics:
        record = replace(record, active=True)
        ws.store.put_model_version(record)
    if record.active:
        publish(ws)
    return record


def check_accepted(ws: Workspace) -> None:
    """Labels of a batch that quality control has not accepted may still change.

    Raises:
        NotReady: there are some.
    """
    labelled = {p.pair_id for p in ws.store.labelled()}
    for batch in ws.store.batches(calibration=False):
        if batch.status == "open" and any(pair.pair_id in labelled for pair in ws.store.pairs(batch.batch_id)):
            raise NotReady(
                f"Batch {batch.batch_id} is still open: quality control has not accepted its labels.",
                fix=f"Run `robopref qc --batch {batch.batch_id}` once it is answered, or train with --force.",
            )


def fingerprint(
    ws: Workspace, preferences: Sequence[Preference], encoder_digest: str, reward: Reward | None = None
) -> str:
    """Of everything that the weights depend on: labels, settings, seed, trajectories, the encoder's weights.

    Args:
        reward: What a model was trained with; default: the workspace's settings.
    """
    reward = reward or ws.config.reward
    labels = sorted((p.pair_id, p.preference, round(p.confidence_mean, 6)) for p in preferences)
    spans = [(t.trajectory_id, *t.seen) for t in ws.store.trajectories()]
    settings = reward.model_dump(exclude={"weights"})
    answers = [(a.pair_id, a.annotator_id, a.preference, a.confidence) for a in single_answers(ws, reward)]
    successes = [(t.trajectory_id, t.success, t.end_s) for t in ws.store.trajectories()]
    told = [RECIPE, labels, settings, ws.config.seed, spans, encoder_digest, sorted(answers), successes]
    kinds = [(t.task_type, t.robot) for t in ws.store.trajectories()]
    # what the model sees of each dataset, and what says when a trajectory was done
    columns = [dataset.columns.model_dump(exclude={"robot"}) for dataset in ws.config.pool.dataset]
    done = [ws.config.clips.before_s, ws.config.clips.after_s, [t.duration_s for t in ws.store.trajectories()]]
    told += [columns, done, sorted(outcomes_said(ws).items())]
    told += [[t.quartile for t in ws.store.trajectories()]] if learns_quality(reward) else []
    text = json.dumps([*told, *([kinds] if len(set(kinds)) > 1 else [])], default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _in_quality(trajectories: Sequence[Trajectory]) -> bool:
    """Whether the dataset says of some whether they succeeded, and their quality is Robopref's score, which has it."""
    for rows in groups(trajectories).values():
        own = [trajectories[row] for row in rows]
        if any(t.success is not None for t in own) and np.allclose(score(own), [t.quality for t in own]):
            return True
    return False


def learns_quality(reward: Reward) -> bool:
    """Whether a training may use the pool's quartiles: the network alone learns from weak pairs."""
    return reward.quality_prior and "network" in reward.parts


def single_answers(ws: Workspace, reward: Reward) -> list[Answered]:
    """Each annotator's own answers, where a training fits these instead of the vote; otherwise none."""
    if reward.reliability == "vote":
        return []
    answers = join(ws.store.judgments(), ws.store.assignments())
    return [answer for answer in answers if not answer.duplicate]


def labelled_pairs(
    ws: Workspace, preferences: Sequence[Preference], trajectories: Sequence[Trajectory], reward: Reward
) -> Pairs:
    """The labels as arrays that index `trajectories`, with what else a training by `reward` learns from: the single
    answers, the quartiles."""
    pairs = index_pairs(preferences, {t.trajectory_id: i for i, t in enumerate(trajectories)})
    if learns_quality(reward):
        pairs = replace(pairs, quartiles=index_quartiles(trajectories))
    answers = single_answers(ws, reward)
    return replace(pairs, judgments=index_judgments(pairs.pair_ids, answers)) if answers else pairs


def _labels(ws: Workspace) -> list[Preference]:
    """The resolved preferences, without discards; NotReady where they are too few."""
    preferences = ws.store.labelled()
    check_labels([p.preference for p in preferences], ws.config.reward.min_preferences)
    return preferences


def _exists(ws: Workspace, record: ModelVersion) -> bool:
    return (ws.root / record.path / "model.pt").exists()


def _train(ws: Workspace, preferences: Sequence[Preference], encoder: EncoderSettings | None, key: str) -> ModelVersion:
    from ml_backend.reward.train import train_model
    from ml_backend.validation.accuracy import validate

    started = time.monotonic()
    reward, seed = ws.config.reward, ws.config.seed
    if told := assumed(ws, encoder):
        remark(told)
    store = encode_pool(ws, ws.store.trajectories(), encoder)
    if encoder is not None and encoder.note:
        remark(f"{encoder.note}.")
    trajectories = [t for t in ws.store.trajectories() if t.trajectory_id in store]
    ids = [t.trajectory_id for t in trajectories]
    spec = describe(ws, store, trajectories)
    features = store.placed(spec.layout, trajectories).sequence(ids)
    store.require(name for p in preferences for name in (p.trajectory_a_id, p.trajectory_b_id))
    pairs = labelled_pairs(ws, preferences, trajectories, reward)
    split = split_pairs(pair_keys(preferences), seed)
    tested = {pairs.pair_ids[i] for i in split.test}
    outcomes = known_outcomes(ws, trajectories, [len(item) for item in features], spec.sample_fps, tested)
    if outcomes.words:
        remark(outcomes.words)
    version = f"rm-{len(ws.store.model_versions()) + 1:04d}"
    checkpoint = ws.checkpoints / f"{key}.pt"
    with progress("Training", reward.epochs) as advance, _curves(ws.curves / version) as add:
        trained = train_model(
            features,
            pairs,
            split,
            spec,
            reward,
            seed=seed,
            names=ids,
            known=outcomes.known,
            checkpoint=checkpoint,
            on_epoch=advance,
            on_curves=add,
        )
        advance(reward.epochs - trained.epochs)
    if trained.note:
        remark(trained.note)
    asked = ws.store.pairs()
    figures = validate(
        trained,
        features,
        trajectories,
        pairs,
        split,
        reward,
        preferences,
        {pair.pair_id: pair.stratum for pair in asked},
        seed=seed,
        strategies={pair.pair_id: pair.strategy for pair in asked},
        answers=join(ws.store.judgments(), ws.store.assignments(calibration=False)),
        known=outcomes.known,
        workers=ws.workers,
    )
    figures["outcomes"] = {name: asdict(one) for name, one in trained.outcomes.items()}
    figures["weak_pairs"] = trained.weak
    figures["success_counts"] = trained.model.spec.progress and _in_quality(ws.store.trajectories())
    figures["outcomes_by_people"], figures["contradictory"] = outcomes.by_people, outcomes.contradictory
    tuned = _tuned(ws, encoder)
    figures |= {"encoder": spec.encoder, "weights": spec.weights, "encoder_saw_labels": tuned is not None}
    own = {task: found["temperature"] for task, found in figures["by_task"].items()}
    trained.model.cool(figures["calibration"]["temperature"], own)
    rewards, members = trained.model.score(features)
    kept_back = why_worse(rewards, _rewards_before(ws), ids, promotion_pairs(ws, pairs, split))
    if kept_back:
        remark(f"{version} was not promoted: {kept_back}.")
    with replacing(ws.models / version) as folder:
        folder.mkdir()
        trained.model.save(folder / "model.pt")
        if tuned:
            shutil.copyfile(tuned, folder / OWN_ENCODER)
        parts = {name: [pairs.pair_ids[i] for i in getattr(split, name)] for name in SPLITS}
        write_json(folder / "split.json", parts)
        settings = {"reward": reward.model_dump(), "seed": seed, "encoder_digest": spec.encoder_digest}
        settings |= {"curves": trained.curves, "reliability": trained.reliability}
        settings |= {"weights": trained.weights, "progress": trained.progress, "attribution": trained.attribution}
        settings |= {"note": trained.note}
        write_json(folder / "training.json", settings)
        write_json(folder / "validation.json", figures)
        table = {"trajectory_id": ids, "reward": rewards.tolist(), "member_sd": members.std(axis=0).tolist()}
        write_csv(folder / "rewards.csv", pd.DataFrame(table))
        files = digests(folder)
    took = {"files": files, "training_s": round(time.monotonic() - started, 1)}
    record = ModelVersion(
        version=version,
        path=str((ws.models / version).relative_to(ws.root)),
        created_at=now(),
        preferences=len(preferences),
        ranking_accuracy=figures["ranking_accuracy"]["value"],
        spearman=figures["spearman"],
        encoder=spec.encoder,
        weights=spec.weights,
        active=not kept_back,
        metrics={"fingerprint": key, **headline(figures), **took} | ({"kept_back": kept_back} if kept_back else {}),
    )
    ws.store.put_model_version(record)
    checkpoint.unlink(missing_ok=True)
    return record


def finetuned(ws: Workspace) -> Workspace | None:
    """A workspace whose `reward.weights` are an encoder trained on its labels; trained where that is not done yet.

    Test pairs are held out, and validation pairs select the epoch. A killed run resumes after the last whole epoch.
    Under torchrun, None in all processes but the first.

    Raises:
        NotReady: nothing is resolved, or too little.
        ConfigError: the model does not look at frames, or some are with those who made an adopted release; or the
            encoder's weights were trained with another preprocessing.
    """
    from ml_backend.reward.finetune import finetune, step_count

    reward = ws.config.reward
    encoder = encoder_settings(reward)
    if encoder is None:
        raise ConfigError(
            "--finetune trains the encoder, but the model does not use frames.", fix="Add frames to reward.inputs."
        )
    if told := assumed(ws, encoder):
        remark(told)
    preferences = _labels(ws)
    trajectories = ws.store.trajectories()
    if any(t.adopted for t in trajectories):
        raise ConfigError(
            "--finetune trains the encoder on videos, and the adopted release has none.",
            fix="Run `robopref train` without it: the release's encoder stays as it is.",
        )
    # the encoder learns from labels alone, so neither quartiles nor the linear part name its file
    labels_alone = reward.model_copy(update={"quality_prior": False, "progress_prior": False, "linear_until": 0})
    pairs = labelled_pairs(ws, preferences, trajectories, labels_alone)
    split = split_pairs(pair_keys(preferences), ws.config.seed)
    out = ws.root / ENCODERS / f"{fingerprint(ws, preferences, encoder.digest, labels_alone)}.pt"
    if not out.exists():
        out.parent.mkdir(parents=True, exist_ok=True)
        with progress("Fine-tuning the encoder", step_count(len(split.train), reward.finetune)) as advance:
            tuned = finetune(
                encoder,
                _frames_reader(ws, trajectories),
                pairs,
                split,
                out,
                reward,
                seed=ws.config.seed,
                checkpoint_to=out.with_suffix(".checkpoint"),
                on_step=advance,
            )
        if tuned.rank:
            return None
        memory = f", peak memory {tuned.peak_memory_mb:.0f} MB" if tuned.peak_memory_mb else ""
        console.print(f"Best epoch: {tuned.best_epoch}; {tuned.pairs_per_s:.1f} pairs/s{memory}", highlight=False)
    return Workspace(ws.config.model_copy(update={"reward": reward.model_copy(update={"weights": str(out)})}))


def _frames_reader(ws: Workspace, trajectories: Sequence[Trajectory]) -> Callable[[int], np.ndarray]:
    """The clean frames of what the model sees of a trajectory; those of the last few trajectories are kept."""
    reward = ws.config.reward

    @lru_cache(maxsize=FRAMES_KEPT)
    def frames_of(row: int) -> np.ndarray:
        t = trajectories[row]
        episode = read_episode(ws.config.pool, t)
        return clean_frames(episode, *t.seen, reward.sample_fps, reward.max_frames)[0]

    return frames_of


@contextmanager
def _curves(folder: Path) -> Iterator[Callable[[int, dict[str, float]], None]]:
    """Yields `add(epoch, figures)`; after a training that was killed, epochs seen twice count once.

    Written synchronously: TensorBoard's own writer does so from a thread, where a full disk ends in a traceback.

    Raises:
        DiskFull: there is no space for an event.
    """
    from tensorboard.compat.proto.event_pb2 import Event, SessionLog  # pyright: ignore[reportAttributeAccessIssue]
    from tensorboard.compat.proto.summary_pb2 import Summary  # pyright: ignore[reportAttributeAccessIssue]
    from tensorboard.summary.writer.record_writer import RecordWriter

    file = folder / f"events.out.tfevents.{time.time_ns():019d}.{os.getpid()}"
    writers: list[RecordWriter] = []

    def write(event: Event) -> None:
        event.wall_time = time.time()
        writers[0].write(event.SerializeToString())

    def add(epoch: int, figures: dict[str, float]) -> None:
        with told_when_full(file):
            if not writers:
                folder.mkdir(parents=True, exist_ok=True)
                writers.append(RecordWriter(opened.enter_context(file.open("wb", buffering=0))))
                write(Event(file_version="brain.Event:2"))
                # supersedes what an earlier run wrote for this epoch and later ones
                write(Event(step=epoch, session_log=SessionLog(status=SessionLog.START)))
            values = [Summary.Value(tag=k, simple_value=v) for k, v in figures.items() if math.isfinite(v)]
            write(Event(step=epoch, summary=Summary(value=values)))

    with ExitStack() as opened:
        yield add


def _rewards_before(ws: Workspace) -> dict[str, float]:
    """By the model in use; empty where there is none or its file is gone, and then nothing is compared."""
    try:
        return rewards_in_use(ws)
    except DataError:
        return {}


def _tuned(ws: Workspace, encoder: EncoderSettings | None) -> Path | None:
    """The weights file, where `--finetune` made it: a copy is kept beside the model."""
    path = Path(encoder.weights) if encoder and encoder.weights not in ("imagenet", "none") else None
    return path if path and path.parent == ws.root / ENCODERS else None


def headline(figures: dict[str, Any]) -> dict[str, Any]:
    """The figures of validation.json that the table of models shows."""
    names = ("ranking_accuracy", "cross_validated", "audit", "not_chosen", "unseen_trajectories", "noise_ceiling")
    return {name: plain(figures[name]) for name in ("target", *names)}
