"""The stage `validate`: everything that says whether a reward model can be trusted, as validation.json and one page.

What training measured is kept; counterfactuals, the gripper, the learning curve, the filmstrips and the verdict are
added here, since they take longer than a training. Where a probe fires, pairs are proposed that teach otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from importer.pairs.batches import shown
from importer.pairs.sampling import asked
from importer.pool import read_episode
from importer.pool.video import sample_rows
from ml_backend.loop.models import trained_with
from ml_backend.loop.spec import features_for, known_outcomes
from ml_backend.loop.train import labelled_pairs
from ml_backend.reward.dataset import SPLITS, Pairs, Split, share_right
from ml_backend.reward.features import Features, FeatureViews
from ml_backend.reward.model import RewardModel
from ml_backend.validation.accuracy import fit_folds
from ml_backend.validation.learning_curve import learning_curve
from ml_backend.validation.other_rewards import OURS, Scores, clock, read_scores, side_by_side
from ml_backend.validation.page import film_strips, shown_rows, write_page
from ml_backend.validation.probes import (
    Proposal,
    correlations,
    counterfactuals,
    gripper_columns,
    measures,
)
from ml_backend.validation.probes import (
    propose as propose_pairs,
)
from ml_backend.validation.verdict import check, verdict_of
from preference.artifacts import confined, read_csv, read_json, replacing, write_csv, write_json
from preference.config import Reward
from preference.errors import DataError, NotReady, UserError
from preference.records import ModelVersion, Trajectory
from preference.work import remark
from preference.workspace import Workspace
from qc_reports.agreement.ceiling import noise_ceiling
from qc_reports.answers import join

PAGE, PROPOSED = "validation.html", "proposed_pairs.csv"


@dataclass(frozen=True)
class Validated:
    """What `robopref validate` prints."""

    version: str
    trusted: bool
    verdict: str
    page: str
    proposed: int = 0
    proposed_pairs: str = ""


def validate_model(ws: Workspace, version: str = "", *, propose: int = 0, against: Sequence[Path] = ()) -> Validated:
    """Validate the active model, or a given one.

    Args:
        propose: How many pairs to propose where a probe fires.
        against: Files of other rewards' scores (`validation.other_rewards`), measured on the same test pairs.

    Raises:
        NotReady: there is no such model.
        DataError: its files are broken, its labels are gone, or a file does not score the trajectories of its test
            pairs.
    """
    record = _record(ws, version)
    folder = confined(ws.root, record.path)
    model = RewardModel.load(folder / "model.pt")
    names, fix = ("validation", "training", "split"), "Run `robopref train` again."
    figures, told, rows = (read_json(folder / f"{name}.json", fix=fix) for name in names)
    reward = trained_with(told["reward"])
    store = features_for(ws, model.spec, folder)
    trajectories = [t for t in ws.store.trajectories() if t.trajectory_id in store]
    features = store.sequence([t.trajectory_id for t in trajectories])
    pairs, split = _as_trained(ws, trajectories, reward, rows, folder)
    held = _held_out(pairs, split)
    theirs = _theirs(against, [trajectories[i] for i in held])
    rewards, members = model.score(features)
    rng = np.random.default_rng(told["seed"])
    lengths, tested = [len(item) for item in features], {pairs.pair_ids[i] for i in split.test}
    known = known_outcomes(ws, trajectories, lengths, model.spec.sample_fps, tested).known

    def accuracies(parts: list[np.ndarray], numbers: list[int]) -> list[float]:
        splits = [_with_some(part, split.test) for part in parts]
        seeds = [told["seed"] + number for number in numbers]
        label = pairs.label[split.test]
        found = fit_folds(
            features, pairs, model.spec, reward, splits, seeds, known, workers=ws.workers,
            description="Learning curve",
        )  # fmt: skip
        return [share_right(differences, label) for differences in found]

    grippers, speeds = _recorded(ws, trajectories, model)
    found = measures(features, trajectories, grippers, speeds) | _given_measures(ws, trajectories)
    figures["probes"] = correlations(rewards, trajectories, found)
    columns = gripper_columns(features, grippers) if grippers else []
    figures["counterfactuals"] = counterfactuals(
        lambda changed: model.score(changed)[0], features, trajectories, rewards, columns, rng,
        max_frames=model.spec.max_frames,
    )  # fmt: skip
    answers = join(ws.store.judgments(), ws.store.assignments(calibration=False))
    figures["noise_ceiling"] = noise_ceiling(ws.store.labelled(), answers, rng)
    fitted = np.sort(np.concatenate([split.train, split.validation]))
    figures["learning_curve"] = learning_curve(fitted, accuracies, rng)
    figures["against"] = {}
    if against:
        test, compared = _among(pairs.take(split.test), held), [trajectories[i] for i in held]
        rewarded = [_ours(model, [features[i] for i in held]), clock(compared), *theirs]
        figures["against"] = side_by_side(rewarded, compared, test, rng)
    checks = check(figures)
    figures["checks"] = [vars(one) for one in checks]
    figures["trusted"] = all(one.reached for one in checks)
    films = shown_rows(trajectories, rewards, members.std(axis=0))
    wanted = sorted({row for rows in films.values() for row in rows})
    strips = film_strips(ws, trajectories, wanted)
    dense = dict(zip(wanted, model.score_steps([features[row] for row in wanted]), strict=True))
    proposals = _proposals(ws, propose, figures, found, rewards, trajectories, rng)
    with replacing(folder / PAGE) as temporary:
        write_page(temporary, record, figures, checks, trajectories, rewards, members.std(axis=0), films, strips, dense)
    write_json(folder / "validation.json", figures)
    ws.store.put_verdict(record.version, figures["trusted"], verdict_of(checks))
    if proposals:
        _write_proposals(folder / PROPOSED, proposals)
    return Validated(
        version=record.version,
        trusted=figures["trusted"],
        verdict=verdict_of(checks),
        page=str((folder / PAGE).relative_to(ws.root)),
        proposed=len(proposals),
        proposed_pairs=str((folder / PROPOSED).relative_to(ws.root)) if proposals else "",
    )


def page_of(ws: Workspace, version: str = "") -> Path:
    """Where the page of the model in use (or a given one) is, or will be.

    Raises:
        NotReady, UserError: there is no model, or no such model.
    """
    return confined(ws.root, _record(ws, version).path) / PAGE


def _record(ws: Workspace, version: str) -> ModelVersion:
    known = {record.version: record for record in ws.store.model_versions()}
    record = known.get(version) if version else ws.store.active_model()
    if record is None:
        if known and version:
            raise UserError(f"There is no reward model {version!r}.", fix=f"Models: {', '.join(known)}.")
        raise NotReady("There is no reward model yet.", fix="Run `robopref train` first.")
    return record


def _as_trained(
    ws: Workspace, trajectories: Sequence[Trajectory], reward: Reward, rows: dict[str, list[str]], folder: Path
) -> tuple[Pairs, Split]:
    """The labels as they are now, with what the model's own settings add to them, in the split of the model."""
    preferences = ws.store.labelled()
    pairs = labelled_pairs(ws, preferences, trajectories, reward)
    place = {pair_id: row for row, pair_id in enumerate(pairs.pair_ids)}
    parts = [np.array([place[i] for i in rows[name] if i in place], dtype=np.int64) for name in SPLITS]
    if any(rows[name] and not len(part) for name, part in zip(SPLITS, parts, strict=True)):
        raise DataError(
            f"{folder / 'split.json'}: the pairs of this model no longer have labels.", fix="Run `robopref train`."
        )
    return pairs, Split(*parts)


def _held_out(pairs: Pairs, split: Split) -> np.ndarray:
    """Rows of the trajectories that the test pairs compare."""
    test = pairs.take(split.test)
    return np.unique(np.concatenate([test.a, test.b]))


def _theirs(files: Sequence[Path], trajectories: Sequence[Trajectory]) -> list[Scores]:
    """
    Raises:
        DataError: two files have one name, which tells their rewards apart; or one cannot be used.
    """
    found = [read_scores(path, trajectories) for path in files]
    names = [one.name for one in found]
    if twice := [name for name in names if names.count(name) > 1]:
        raise DataError(f"--against: two files are called {twice[0]!r}.", fix="Give each reward's file its own name.")
    return found


def _among(pairs: Pairs, rows: np.ndarray) -> Pairs:
    """The same pairs of the trajectories `rows` alone."""
    return replace(pairs, a=np.searchsorted(rows, pairs.a), b=np.searchsorted(rows, pairs.b))


def _ours(model: RewardModel, features: Sequence[Features]) -> Scores:
    """The model's reward of each trajectory; over time that of the trajectory up to there, once forwards and once there
    and back."""
    back = [Features(*(np.concatenate([own, own[::-1]]) for own in vars(whole).values())) for whole in features]
    return Scores(OURS, model.score(features)[0], _courses(model, features), _courses(model, back), "reward")


def _courses(model: RewardModel, features: Sequence[Features]) -> list[np.ndarray]:
    views = [FeatureViews([whole], [(0, 0, end) for end in range(1, len(whole) + 1)]) for whole in features]
    return [model.score(own)[0] for own in views]


def _with_some(rows: np.ndarray, test: np.ndarray) -> Split:
    """Only `rows` to learn from: a sixth of them are validation pairs, about as many as in a model's split."""
    validation = np.zeros(len(rows), bool)
    validation[::6] = len(rows) > 6
    return Split(rows[~validation], rows[validation], test)


def _recorded(
    ws: Workspace, trajectories: Sequence[Trajectory], model: RewardModel
) -> tuple[list[np.ndarray] | None, np.ndarray | None]:
    """Per trajectory the gripper's position at the steps of its features, and the effector's mean speed in what the
    model sees, m/s; None where a dataset does not have it."""
    positions, speeds = [], []
    try:
        for t in trajectories:
            episode = read_episode(ws.config.pool, t)
            rows = sample_rows(episode.time, *t.seen, model.spec.sample_fps, model.spec.max_frames)
            positions.append(np.asarray(episode.gripper, float)[rows])
            path = np.linalg.norm(np.diff(episode.effector[episode.time >= t.start_s], axis=0), axis=1).sum()
            speeds.append(float(path) / max(t.seen_s, 1e-9))
    except UserError as error:
        remark(f"Without the probes of gripper and effector: {error.message}")
        return None, None
    known = all(np.isfinite(own).all() for own in positions)
    return positions if known else None, np.array(speeds) if np.isfinite(speeds).all() else None


def _given_measures(ws: Workspace, trajectories: Sequence[Trajectory]) -> dict[str, np.ndarray]:
    """`pool.measures`: name → (N,); what no dataset records, such as whether the camera sees the gripper.

    Raises:
        DataError: the file lacks a trajectory, or a value is no number.
    """
    if not ws.config.pool.measures:
        return {}
    path = Path(ws.config.pool.measures)
    table = read_csv(path, fix="pool.measures in robopref.toml names it.")
    if "trajectory_id" not in table or len(table.columns) < 2:
        raise DataError(f"{path}: expected the columns trajectory_id and a measure, found {', '.join(table.columns)}.")
    rows = table.drop_duplicates("trajectory_id").set_index("trajectory_id")
    wanted = [t.trajectory_id for t in trajectories]
    if missing := [name for name in wanted if name not in rows.index]:
        raise DataError(
            f"{path}: {len(missing)} trajectories of the model are not in it, the first is {missing[0]!r}.",
            fix="Add a row for each, or leave the file out.",
        )
    found = {}
    for name in rows.columns:
        try:
            found[str(name)] = rows.loc[wanted, name].to_numpy(dtype=float)
        except ValueError as error:
            raise DataError(f"{path}, {name}: expected a number for each trajectory: {error}.") from None
        if not np.isfinite(found[str(name)]).all():
            raise DataError(f"{path}, {name}: expected a number for each trajectory, found nan or infinity.")
    return {name: values for name, values in found.items() if np.ptp(values) > 0}


def _proposals(
    ws: Workspace,
    count: int,
    figures: dict[str, Any],
    found: dict[str, np.ndarray],
    rewards: np.ndarray,
    trajectories: Sequence[Trajectory],
    rng: np.random.Generator,
) -> list[Proposal]:
    if not count:
        return []
    known, visible = asked(ws.store.pairs()), {t.trajectory_id for t in shown(ws)}

    def may_ask(a: str, b: str) -> bool:
        return a in visible and b in visible and tuple(sorted((a, b))) not in known

    probes = figures["probes"] | figures["counterfactuals"]
    return propose_pairs(count, probes, found, rewards, trajectories, may_ask=may_ask, rng=rng)


def _write_proposals(path: Path, proposals: Sequence[Proposal]) -> None:
    """As `scripts/import_pairs.py` reads it."""
    columns = ["trajectory_a_id", "trajectory_b_id", "probe"]
    write_csv(path, pd.DataFrame(map(asdict, proposals), columns=columns))
