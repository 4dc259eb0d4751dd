"""Make a release: a workspace and a version in, `robopref-NAME-VERSION/`, its archive and its checksum out.

The folder and the archive are made under temporary names; the checksum beside the archive is written last, so that
its existence means that the release is complete. The same inputs give the same bytes, and a complete release is
never replaced by different contents under the same version.
"""

from __future__ import annotations

import hashlib
import shutil
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pandas as pd
import pyarrow as pa
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from pyarrow import parquet

from importer.pool.manifest import write_manifest
from ml_backend.loop.validate import PAGE
from ml_backend.reward import checkpoint
from ml_backend.reward.linear import EITHER
from preference.artifacts import read_json, replacing, sha256_of, write_csv, write_json, write_jsonl, write_text
from preference.errors import UserError
from preference.workspace import Workspace
from qc_reports.report.files import write_folder
from qc_reports.report.page import write_report
from release import onnx
from release.archive import write_archive, write_sums
from release.card import card_facts, plot_labels, plot_rewards, write_card, write_croissant
from release.gather import Source, gather
from release.preferences import judgment_table
from release.safetensors import write_safetensors
from release.versions import (
    Changes,
    Version,
    compare,
    folder_name,
    growth,
    is_complete,
    labels_of,
    parse_version,
    released,
    released_before,
)

FILES = {
    "preferences.parquet": "the resolved label of each pair, with its split",
    "preferences.jsonl": "the same, one JSON object per line",
    "judgments.parquet": "the individual answers behind the labels",
    "manifest.csv": "each trajectory's source dataset, episode, quality and clip checksum",
    "rewards.csv": "the released model's reward of each trajectory in the pool",
    "reward_model.onnx": "the reward model: frames, actions and state in, reward out",
    "reward_model.safetensors": "the weights of head and encoder, with their description",
    "config.json": "the same description for LeRobot's reward models (integrations/lerobot_reward_robopref)",
    "reward_model.pt": "the same for PyTorch: head, encoder and description, loadable with weights_only",
    "inference.py": "scores trajectories; needs only numpy and onnxruntime",
    "INPUT_FORMAT.md": "the expected format of images, actions and state",
    "features.npz": "frame features and their projection, actions, state of compared trajectories, for the notebook",
    "reproduce.ipynb": "trains a model from scratch on the labels and tests it on the held-out pairs",
    "training.json": "the settings that the model was trained with, for the notebook",
    "validation.html": "can the model be trusted? Accuracy, calibration, probes, filmstrips of the best and worst",
    "validation.json": "every figure of that page",
    "reports": "quality control of each batch: report.html, and its figures as qc.json and CSV",
    "croissant.json": "this dataset described in Croissant 1.0",
    "CITATION.cff": "how to cite this dataset",
    "CHANGELOG.md": "what changed from version to version",
    "LICENSE": "the license",
    "SHA256SUMS": "checksums: sha256sum --check SHA256SUMS",
}
PARITY = 1e-4
"""The exported graph's rewards may differ from torch's by this much; where rewards spread wider than 1, by this much of
their standard deviation: both runtimes compute in single precision."""
STEPS = (("Use the labels in preferences.parquet. This page and README.md say which answers they exclude.", ""),)
"""What a quality report tells the release's readers to do next."""


@dataclass(frozen=True)
class ReleaseResult:
    """A complete release."""

    version: str
    path: Path
    """Its folder."""
    archive: Path
    sha256: str
    """Of the archive."""
    pairs: int
    parity: float
    """Largest difference between any of ONNX Runtime's outputs and torch's, on real trajectories."""
    changes: list[str]
    """Sentences on what changed since the last release."""
    suggested: str
    """The version that these changes call for."""


class VersionTaken(UserError):
    """The version was released before, with other contents; `suggested` is the one that the changes call for."""

    def __init__(self, message: str, suggested: str) -> None:
        super().__init__(message, fix=f"Release this as {suggested}; a released version never changes.")
        self.suggested = suggested


def build_release(ws: Workspace, version: str) -> ReleaseResult:
    """Make release `version`; an identical one that exists already is left as it is.

    Raises:
        UserError: `version` is not a semantic version.
        VersionTaken: it was released before with other contents.
        NotReady: preferences or a model are missing.
    """
    parsed = parse_version(version)
    source = gather(ws)
    name = folder_name(ws.config.name, parsed)
    folder, archive = ws.releases / name, ws.releases / f"{name}.tar.gz"
    _refuse_older(ws, parsed)
    before = released_before(ws.releases, ws.config.name, parsed)
    changes = _changes(source, before)
    told = [*changes.sentences(), *(_growth(source, before, changes.model_changed) if before else ())]
    with replacing(archive) as packed, replacing(folder) as building:
        building.mkdir()
        parity = write_contents(source, str(parsed), _changelog(before, f"{parsed}, {source.date}", told), building)
        write_sums(building)
        write_archive(building, packed, name)
        digest = sha256_of(packed)
        _refuse_other(source, folder, digest, parsed)
    write_text(archive.with_name(archive.name + ".sha256"), f"{digest}  {archive.name}\n")
    return ReleaseResult(
        version=str(parsed),
        path=folder,
        archive=archive,
        sha256=digest,
        pairs=len(source.labels),
        parity=parity,
        changes=told,
        suggested=str(changes.suggested),
    )


def _refuse_older(ws: Workspace, version: Version) -> None:
    """
    Raises:
        UserError: the version is none of the released ones, and older than the newest of them.
    """
    there = released(ws.releases, ws.config.name)
    newest = max(there, default=version)
    if version < newest and version not in there:
        raise UserError(f"Version {version} is older than {newest}, which is released.", fix="Choose a later one.")


def _changes(source: Source, before: tuple[Version, Path] | None) -> Changes:
    """What is different from the release `before`."""
    labels = dict(zip(source.labels["pair_id"], source.labels["preference"], strict=True))
    if before is None:
        return compare({}, labels, previous=None, model_changed=True)
    training = read_json(before[1] / "training.json")
    changed = training.get("model_sha256") != sha256_of(source.model_file)
    return compare(labels_of(before[1]), labels, previous=before[0], model_changed=changed)


def _growth(source: Source, before: tuple[Version, Path], model_changed: bool) -> list[str]:
    judged = (judgment.pair_id for judgment in source.judgments)
    labels: list[Any] = source.labels.to_dict("records")
    return growth(before, labels, judged, source.rewards if model_changed else {})


def _changelog(before: tuple[Version, Path] | None, heading: str, changes: Sequence[str]) -> str:
    """This version's entry above those of the releases before it."""
    older = (before[1] / "CHANGELOG.md").read_text(encoding="utf-8") if before else "# Changes\n"
    title, _, entries = older.partition("\n")
    lines = "".join(f"- {line}\n" for line in changes)
    return f"{title}\n\n## {heading}\n\n{lines}{entries}"


def _refuse_other(source: Source, folder: Path, digest: str, version: Version) -> None:
    """A complete release may only be made again with the same bytes."""
    beside = folder.with_name(f"{folder.name}.tar.gz.sha256")
    if not is_complete(folder) or beside.read_text(encoding="utf-8")[:64] == digest:
        return
    changes = _changes(source, (version, folder))
    raise VersionTaken(
        f"Version {version} was released before, with other contents: {folder}. {' '.join(changes.sentences())}",
        str(changes.suggested),
    )


def write_contents(source: Source, version: str, changelog: str, folder: Path) -> float:
    """Every file of the release but SHA256SUMS; returns the measured parity."""
    tables = {
        "preferences.parquet": source.labels,
        "judgments.parquet": judgment_table(source.judgments, source.views, source.names),
        "rewards.csv": pd.DataFrame(sorted(source.rewards.items()), columns=["trajectory_id", "reward"]),
    }
    for name in ("preferences.parquet", "judgments.parquet"):
        write_parquet(tables[name], folder / name)
    write_jsonl(folder / "preferences.jsonl", source.labels.to_dict("records"))
    write_csv(folder / "rewards.csv", tables["rewards.csv"], float_format="%.6f")
    write_manifest(folder / "manifest.csv", source.trajectories)
    contract, parity = _write_model(source, version, folder)
    _write_training(source, folder)
    _write_reports(source, folder / "reports")
    plot_labels(source.labels, folder / "plots" / "labels.png")
    plot_rewards(source.trajectories, source.rewards, folder / "plots" / "rewards.png")
    listed = {name: words for name, words in FILES.items() if source.reports or name != "reports"}
    facts = card_facts(source, version=version, parity=parity, files=listed)
    write_card(folder, facts, contract | {"graph": onnx.describe_graph(folder / "reward_model.onnx")})
    write_text(folder / "CHANGELOG.md", changelog)
    write_text(folder / "LICENSE", _license(source.ws.config.release.license))
    write_croissant(folder, facts, tables)
    return parity


def write_parquet(table: pd.DataFrame, path: Path) -> None:
    """Not `DataFrame.to_parquet`, which adds pandas' own types and metadata that other readers have no use for."""
    parquet.write_table(pa.Table.from_pylist(table.to_dict("records")), path, compression="zstd")


def _write_model(source: Source, version: str, folder: Path) -> tuple[dict[str, Any], float]:
    """reward_model.onnx and .pt; returns the contract and the parity.

    Raises:
        UserError: the exported graph does not compute what the model does.
    """
    spec, ws = source.spec, source.ws
    contract = onnx.contract_of(
        spec, list(source.features.values()), ws.config.clips, source.examples, source.columns, ws.config.release.units,
        name=ws.config.name, version=version,
    )  # fmt: skip
    whole = onnx.WholePath(source.model, source.encoder)
    path = folder / "reward_model.onnx"
    onnx.export_onnx(whole, spec, contract, path, onnx.kept_graph(source.model_file.parent))
    parity = onnx.parity(path, whole, spec, source.examples)
    size = max(1.0, statistics.pstdev(source.rewards.values()))
    for name, difference in parity.items():
        allowed = PARITY if name.startswith(spec.outcomes) else PARITY * size
        if not difference <= allowed:
            raise UserError(
                f"{name} of reward_model.onnx differs from the model's by {difference:.2g}; at most {allowed:.2g} is "
                "allowed.",
                fix="These versions of torch and onnxruntime do not work together; see constraints.txt.",
            )
    saved = checkpoint.load(source.model_file, "reward model", fix="Run `robopref train`.")
    # The encoder too: a random one exists nowhere else, a pretrained one may disappear from its host some day
    saved["encoder_state"] = source.encoder.module.state_dict() if source.encoder else {}
    saved["contract"] = contract
    checkpoint.save(saved, folder / "reward_model.pt")
    write_safetensors(folder, saved["spec"], contract, source.model, source.encoder)
    return contract, max(parity.values())


def _write_training(source: Source, folder: Path) -> None:
    """The scripts that users of the release run, and what the notebook needs: features and settings."""
    _write_features(source, folder / "features.npz")
    spec = source.spec
    # weights may be a path of this machine, and what fine-tuning was set to says nothing of the model
    settings = source.trained.model_dump(exclude={"weights", "finetune"})
    settings |= {"projection": spec.projection, "inputs": list(spec.inputs), "seed": source.ws.config.seed}
    settings |= {"model_version": source.record.version, "model_sha256": sha256_of(source.model_file)}
    settings |= {"weak_pairs": source.validation.get("weak_pairs", {})}
    settings |= {"outcomes": list(spec.outcomes), "encoder_saw_labels": source.validation.get("encoder_saw_labels")}
    told = read_json(source.model_file.with_name("training.json"))
    settings["linear"] = told.get("weights", {}).get("linear", 0.0)
    settings["linear_in"] = ["inputs"] * spec.linear + ["progress"] * spec.progress
    settings["progress_expected"] = EITHER
    # where annotators could not be told apart, the votes were fitted
    settings["reliability"] = "crowd_bt" if told.get("reliability") else "vote"
    settings["simulated"] = sorted(source.names[a.annotator_id] for a in source.annotators if a.teacher)
    write_json(folder / "training.json", settings, sort_keys=True)
    write_json(folder / "validation.json", source.validation, sort_keys=True)
    shutil.copyfile(source.model_file.with_name(PAGE), folder / PAGE)
    write_text(folder / "reproduce.ipynb", notebook(_template("reproduce.py")))
    write_text(folder / "inference.py", _template("inference.py"))


def _write_features(source: Source, path: Path) -> None:
    """features.npz: what the notebook trains on, so that it needs neither videos nor the encoder.

    All trajectories one after the other, in the order of `trajectory_ids`; the rows of trajectory i are
    `offsets[i]:offsets[i + 1]`. The projection of the frames was measured on the whole pool, so it comes along.
    Where progress counts in the reward, so does each trajectory's mean progress. numpy dates the members of an npz
    1980, so the bytes do not vary.
    """
    items = [source.features[name] for name in source.compared]
    said = {}
    if source.spec.progress:
        said["progress"] = source.model.mean_progress(items).astype(np.float32)
    np.savez_compressed(
        path,
        trajectory_ids=np.array(source.compared),
        offsets=np.cumsum([0, *map(len, items)]).astype(np.int64),
        frames=np.concatenate([item.frames for item in items]),
        actions=np.concatenate([item.actions for item in items]),
        state=np.concatenate([item.state for item in items]),
        frame_mean=source.model.frame_mean.numpy(),
        frame_projection=source.model.frame_projection.numpy(),
        action_names=np.array(source.spec.action_names, dtype=np.str_),
        state_names=np.array(source.spec.state_names, dtype=np.str_),
        **said,
    )


def notebook(source: str) -> str:
    """A Python file with `# %%` cells as a Jupyter notebook, the same bytes each time.

    The repository keeps notebooks as Python, so that they can be read, linted and diffed.
    """
    cells = []
    for number, block in enumerate(("\n" + source).split("\n# %%")[1:]):
        head, _, body = block.partition("\n")
        make, text = new_code_cell, body.strip("\n")
        if "[markdown]" in head:
            make = new_markdown_cell
            text = "\n".join(line.removeprefix("#").removeprefix(" ") for line in text.splitlines())
        # nbformat's own ids are random, so every release would differ
        cells.append(make(text, id=hashlib.sha256(f"{number}{text}".encode()).hexdigest()[:8]))
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    made = new_notebook(cells=cells, metadata={"kernelspec": kernel, "language_info": {"name": "python"}})
    return nbformat.writes(made) + "\n"


def _write_reports(source: Source, folder: Path) -> None:
    """BATCH/{qc.json, report.html, *.csv} under `folder`, without commands that only the project's people can run."""
    pairs, quality = source.ws.store.pairs(), source.ws.config.quality
    for report in source.reports:
        own = source.answers_of(report.batch_id)
        asked = [pair for pair in pairs if pair.batch_id == report.batch_id]
        write_folder(folder / report.batch_id, report, write_report(report, own, asked, quality=quality, steps=STEPS))


def _license(identifier: str) -> str:
    """The license's text where Robopref carries it, otherwise where to read it."""
    text = files("release").joinpath("templates", "licenses", f"{Path(identifier).name}.txt")
    if text.is_file():
        return text.read_text(encoding="utf-8")
    return f"SPDX-License-Identifier: {identifier}\n\nThe text of the license: https://spdx.org/licenses/{identifier}.html\n"


def _template(name: str) -> str:
    return files("release").joinpath("templates", name).read_text(encoding="utf-8")
