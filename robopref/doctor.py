"""`robopref doctor`: find problems before they interrupt a run, and say how to fix them."""

from __future__ import annotations

import importlib.metadata
import shutil
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from labeling_config import STUDIO_VERSION
from labeling_config.contract import MISSING_CLIP, preference_of
from ml_backend.reward.encoder_weights import WITHOUT_A_HUB, own_size
from preference.config_file import outside_protocol
from preference.errors import EXTRAS, MissingExtra, UserError, explained, installed
from preference.records import SETTLED, AssignmentView
from preference.workspace import Workspace
from robopref.init import SCHEMA_NAME, schema_text
from robopref.studio import SETTINGS

if TYPE_CHECKING:
    from importer.studio.client import LabelStudio

LOW_DISK = 2_000_000_000
LARGE_FRAME = 384
"""Pixels of a side: more takes a CPU at least three times as long as the usual 224."""
MOST_NAMED = 10
"""Clips that are named in one sentence."""


@dataclass(frozen=True)
class Finding:
    """The result of one check."""

    level: Literal["good", "note", "bad"]
    what: str
    fix: str = ""


def examine(config_path: Path) -> list[Finding]:
    """Check packages, settings, disk, datasets, database, Label Studio, ML backend, encoder and
    weights, in this order."""
    findings = list(_packages())
    if not config_path.exists():
        return [
            *findings,
            Finding("note", f"File not found: {config_path}.", "Run `robopref init`, or name it with -c."),
        ]
    try:
        ws = Workspace.open(config_path)
    except UserError as error:
        return [*findings, Finding("bad", error.message, error.fix)]
    findings.append(Finding("good", f"{config_path} is valid."))
    schema = config_path.parent / SCHEMA_NAME
    if schema.exists() and schema.read_text(encoding="utf-8") != schema_text():
        findings.append(
            Finding("note", f"{schema} is not of this version.", "Update it with `robopref init --schema`.")
        )
    for look in (
        _protocol, _disk, _datasets, _workers, _database, _people, _clip_store, _label_studio, _backend, _encoder,
        _weights,
    ):  # fmt: skip
        try:
            findings.extend(look(ws))
        except UserError as error:
            findings.append(Finding("bad", error.message, error.fix))
        except ModuleNotFoundError as error:
            if not (missing := explained(error)):
                raise
            findings.append(Finding("bad", missing.message))
    return findings


def _packages() -> Iterator[Finding]:
    from imageio_ffmpeg import get_ffmpeg_exe

    yield Finding("good", f"Robopref {importlib.metadata.version('robopref')}.")
    try:
        yield Finding("good", f"ffmpeg: {Path(get_ffmpeg_exe()).name}.")
    except RuntimeError as error:
        yield Finding("bad", f"No ffmpeg: {error}.", "Reinstall imageio-ffmpeg.")
    missing = sorted({extra for module, (_, extra) in EXTRAS.items() if not installed(module)})
    extras = {extra for _, extra in EXTRAS.values()} - set(missing)
    fix = f'Needed only by commands that ask for them: pip install "robopref[{",".join(missing)}]"'
    yield Finding("good", f"Extras installed: {', '.join(sorted(extras)) or 'none'}.")
    if missing:
        yield Finding("note", f"Extras not installed: {', '.join(missing)}.", fix)
    if "studio" in extras and (found := importlib.metadata.version("label-studio")) != STUDIO_VERSION:
        yield Finding("note", f"Label Studio {found} is installed; the plugin is tested with {STUDIO_VERSION}.")


def _protocol(ws: Workspace) -> Iterator[Finding]:
    for sentence in outside_protocol(ws.config):
        yield Finding("note", sentence)


def _disk(ws: Workspace) -> Iterator[Finding]:
    free = shutil.disk_usage(ws.root).free
    text = f"{free / 1e9:.1f} GB free for {ws.root}."
    yield Finding("good", text) if free > LOW_DISK else Finding("bad", text, "Free some space before rendering clips.")


def _datasets(ws: Workspace) -> Iterator[Finding]:
    from importer.pool.dataset import open_dataset

    if not ws.config.pool.dataset:
        yield Finding("note", "There is no dataset.", "Add [[pool.dataset]] to robopref.toml.")
    for dataset in ws.config.pool.dataset:
        count = len(open_dataset(dataset).episodes)
        yield Finding("good", f"Dataset {dataset.name}: {count} episodes.")


def _workers(ws: Workspace) -> Iterator[Finding]:
    if ws.config.executor == "ray" and installed("ray"):
        yield Finding("good", "Ray is installed. RAY_ADDRESS selects its cluster; without it, Ray starts here.")
    elif ws.config.executor == "ray":
        yield Finding("bad", 'executor = "ray", but Ray is not installed.', f"{MissingExtra('ray')}")


def _clip_store(ws: Workspace) -> Iterator[Finding]:
    from importer.clips.s3 import check_bucket

    if ws.config.label_studio.clips == "s3":
        check_bucket(ws.config.label_studio.s3)
        yield Finding("good", f"The bucket {ws.config.label_studio.s3.bucket} accepts the keys.")


def _database(ws: Workspace) -> Iterator[Finding]:
    store = ws.store
    place = store.engine.url.render_as_string(hide_password=True)
    counts = f"{len(store.trajectories())} trajectories, {store.count_judgments()} judgments"
    yield Finding("good", f"Database {place}: {counts}.")
    if rejections := [rejection for rejection in store.rejections() if rejection.reason != SETTLED]:
        were = "1 answer was" if len(rejections) == 1 else f"{len(rejections)} answers were"
        yield Finding("note", f"{were} rejected; the newest: {rejections[-1].reason}.")
    yield from _unseen(ws)
    if store.engine.dialect.name == "sqlite" and len(store.annotators()) > 10:
        yield Finding(
            "note",
            "More than 10 annotators on SQLite.",
            "PostgreSQL handles concurrent annotators better; set `database` to its URL.",
        )


def _people(ws: Workspace) -> Iterator[Finding]:
    from importer.pairs.annotators import annotators_of

    named = annotators_of(ws.config.annotators)
    ids = {annotator.annotator_id for annotator in named}
    everybody = [*named, *(a for a in ws.store.annotators() if a.active and a.annotator_id not in ids)]
    people = [a.annotator_id for a in everybody if a.role == "annotator"]
    overlap = ws.config.pairs.overlap
    if len(people) < overlap:
        fix = "Name people under [annotators] in robopref.toml, or use `robopref annotators add`."
        yield Finding("bad", f"{len(people) or 'No'} annotators are named, and each pair goes to {overlap}.", fix)
    elif len(people) == len(everybody):
        yield Finding("bad", "No expert is named.", "Set annotators.expert: their answers are the truth of the tests.")
    else:
        yield Finding("good", f"{len(people)} annotators and an expert.")


def _unseen(ws: Workspace) -> Iterator[Finding]:
    """Pairs that nobody answered because a clip could not be shown, training and tests included."""
    skipped = ws.store.skipped()
    people: dict[str, set[str]] = defaultdict(set)
    for view in ws.store.assignments():
        why = skipped.get(view.assignment.assignment_id, "")
        if why.startswith(MISSING_CLIP):
            for side in ("left", "right"):
                if side in why:
                    people[_clip_on(view, side)].add(view.assignment.annotator_id)
    if people:
        shown = [f"{clip} (to {', '.join(sorted(who))})" for clip, who in sorted(people.items())]
        more = f" and {len(shown) - MOST_NAMED} more" if len(shown) > MOST_NAMED else ""
        what = f"Clips that could not be shown: {', '.join(shown[:MOST_NAMED])}{more}."
        yield Finding("bad", what, "Run `robopref clips`, and see whether the files play; the pairs stay skipped.")


def _clip_on(view: AssignmentView, side: Literal["left", "right"]) -> str:
    first = preference_of(side, view.assignment.left) == "A"
    return view.pair.trajectory_a_id if first else view.pair.trajectory_b_id


def _label_studio(ws: Workspace) -> Iterator[Finding]:
    from importer.studio.client import connect
    from importer.studio.clip_check import clip_trouble
    from importer.studio.queues import all_pushed
    from importer.studio.repair import check_present

    studio = connect(ws)
    version = studio.version()
    yield Finding("good", f"Label Studio {version} answers at {studio.url} and accepts the token.")
    if version != STUDIO_VERSION:
        fix = "What differs for the plugin is said below; docs/upgrade.md says how to try a new version."
        yield Finding("note", f"The plugin was tested with Label Studio {STUDIO_VERSION}, not {version}.", fix)
    yield from _plugin(studio, equal_length=ws.config.clips.equal_length)
    pushed = all_pushed(ws)
    check_present(studio, pushed, studio.projects([queue.project_id for queue in pushed]) if pushed else [])
    if trouble := clip_trouble(ws, studio):
        yield Finding("bad", trouble.message, trouble.fix)
    elif pushed:
        yield Finding("good", f"{len(pushed)} projects are there, and annotators can see the clips.")


def _plugin(studio: LabelStudio, *, equal_length: bool) -> Iterator[Finding]:
    health = studio.plugin_health()
    if health is None:
        fix = f"Start it with DJANGO_SETTINGS_MODULE={SETTINGS} so that annotators see only their own work."
        yield Finding("note", "Label Studio runs without the plugin: no keyboard shortcuts, no access rules.", fix)
        if not equal_length:
            fix = "Set clips.equal_length in robopref.toml and run `robopref clips` again, or use the plugin."
            yield Finding("note", "Without the plugin, both clips stop when the shorter one ends.", fix)
        return
    found = [*health["server"], *health["screen"]]
    if not found:
        yield Finding("good", f"The plugin works as with Label Studio {health['made_for']}.")
    for sentence in found:
        fix = f"Run Label Studio {health['made_for']}, or a Robopref for your version; the templates work meanwhile."
        yield Finding("bad", sentence, fix)


def _backend(ws: Workspace) -> Iterator[Finding]:
    import httpx

    service = ws.config.service
    own = f"http://{service.host}:{service.port}"
    places = {service.url.rstrip("/"): "service.url"} if service.url else {}
    for url, setting in {**places, own: "service.port"}.items():
        try:
            answer = httpx.get(f"{url}/health", timeout=2)
            yield Finding("good", f"The ML backend answers at {url} with model {answer.json()['model_version']}.")
        except httpx.TransportError:
            yield Finding("note", f"No ML backend at {url}.", "Start it with `robopref up`, or `robopref serve`.")
        except (httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError, TypeError):
            said = f"What answers at {url} is not Robopref's ML backend."
            yield Finding("bad", said, f"Correct {setting} in robopref.toml, or stop the other program.")


def _encoder(ws: Workspace) -> Iterator[Finding]:
    """Of the next training; its weights are not downloaded."""
    reward = ws.config.reward
    if "frames" not in reward.inputs or not installed("timm"):
        return
    from ml_backend.loop.features import assumed
    from ml_backend.reward.encoder import load
    from ml_backend.reward.encoder_weights import resolve_weights

    weights = "none" if reward.weights == "imagenet" else reward.weights
    settings = resolve_weights(reward.encoder, weights, reward.image_size)
    if reward.image_size:
        load(settings)
    side = reward.image_size or (settings.image_size if reward.weights != "imagenet" else own_size(reward.encoder))
    yield Finding("good", f"Encoder {reward.encoder}: frames are resized to {side} x {side} pixels.")
    if side > LARGE_FRAME:
        fix = "reward.image_size makes frames smaller; a GPU encodes them as they are."
        yield Finding("note", f"{reward.encoder} encodes {side} x {side} pixels, which is slow on a CPU.", fix)
    if told := assumed(ws, settings):
        yield Finding("note", told)


def _weights(ws: Workspace) -> Iterator[Finding]:
    model = ws.store.active_model()
    if model is None:
        yield Finding("note", "No reward model yet.")
    elif model.weights == "none":
        yield Finding(
            "note",
            f"Model {model.version} uses a random {model.encoder}: ImageNet weights could not be downloaded.",
            f"Train with network access, name a local file in reward.weights, or: {WITHOUT_A_HUB}.",
        )
    else:
        yield Finding("good", f"Model {model.version}: {model.encoder} with {model.weights} weights.")
