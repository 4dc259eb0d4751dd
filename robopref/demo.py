"""`robopref demo`: the whole loop, in a real Label Studio: the sample pool and simulated annotators on `robopref up`.

Every step is the stage that a real project would run, so the demo is also the shortest description of the workflow.
Each stage does only what is missing, so an interrupted demo continues where it stopped.
"""

from __future__ import annotations

import shutil
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ml_backend.reward.encoder_weights import NETWORK, packaged_file
from preference.artifacts import read_json, write_json, write_text
from preference.config import CONFIG_NAME
from preference.errors import UserError
from preference.work import console, output, terminal
from preference.workspace import Workspace
from robopref.studio import DATA_FOLDER
from robopref.summary import summarize, tell
from robopref.supervisor import Project
from robopref.up import LONGEST_STOP_S, launch, stop

if TYPE_CHECKING:
    from release.build import ReleaseResult

POOL = Path(__file__).resolve().parent.parent / "examples" / "pool"
NEEDED_BYTES = 1_000_000_000
"""The demo writes about 300 MB and checks for more than enough before it starts."""

CONFIG = """# Written by `robopref demo` at every start.
name = "metaworld-demo"
work = "work"
seed = 7
salt = 7

[annotators]
expert = "expert"
people = ["{guest}"]
simulated = [
  {{ id = "expert", teacher = "expert" }},
  {{ id = "alice", teacher = "good" }},
  {{ id = "bo", teacher = "good" }},
  {{ id = "chidi", teacher = "good" }},
  {{ id = "dana", teacher = "good" }},
  {{ id = "hasty", teacher = "careless" }},
  {{ id = "lefty", teacher = "left_biased" }},
]

[[pool.dataset]]
path = "{pool}"
name = "sample"
"""


SHORT = """
[active]
bootstrap = 200  # a project's default is 50; the demo makes one round only, so the first batch has most of its pairs

[calibration]
training_pairs = 12  # a project's default is 30, as the protocol's sets; fewer leave the demo its ten minutes
"""

GUEST = "you@annotators.example"
"""The person who tries it afterwards; a training set and the first calibration set wait for them."""


class Clock:
    """Seconds per stage, as summary.json reports them."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str, title: str) -> Iterator[None]:
        console.print(f"\n[bold]{title}[/]")
        start = time.monotonic()
        yield
        self.seconds[name] = round(self.seconds.get(name, 0.0) + time.monotonic() - start, 1)


def run_demo(
    root: Path, *, fresh: bool = False, exit_: bool = False, port: int = 0, pool: Path = POOL, extra: str | None = None
) -> None:
    """Run all stages, print what happened and write `root`/summary.json.

    Args:
        root: Folder for everything; created if it does not exist.
        fresh: Start over.
        exit_: Stop the servers at the end instead of leaving them running for a person.
        port: Label Studio's; 0 = a free one.
        pool: A LeRobot v3.0 dataset to run on.
        extra: More TOML for the demo's robopref.toml, for smaller sets for example. None = a short training, and an
            encoder whose ImageNet weights are installed, if there is one.

    Raises:
        UserError: the sample pool is missing, `root` is not a demo's folder, the disk is full, a port is taken, or a
            server did not start. The servers are stopped, and the next run continues.
    """
    root = root.resolve()
    _check(root, pool)
    clock = Clock()
    stop_servers(root)
    if fresh:
        shutil.rmtree(root, ignore_errors=True)
    config_path = root / CONFIG_NAME
    write_text(config_path, CONFIG.format(guest=GUEST, pool=pool) + (SHORT + _pretrained() if extra is None else extra))
    project = Project(config_path)
    with ExitStack() as servers:
        with clock.stage("up", "Starting Label Studio (the first start takes about 40 seconds) and the ML backend"):
            up = launch(project, port=port or None, worker=False)  # the stages do its work
            servers.callback(up.stop, LONGEST_STOP_S)
        ws = Workspace.open(config_path)  # which finds them
        summary = summarize(ws, clock.seconds, run_stages(ws, clock))
        write_json(root / "summary.json", summary)
        tell(summary, root)
        if not exit_:
            servers.pop_all()
            up.leave_running()
            _say_where(ws, read_json(project.credentials))


def run_stages(ws: Workspace, clock: Clock) -> ReleaseResult:
    """Pool → clips → calibration → certification → production → QC → reward model → active round → validation →
    release."""
    from importer.clips.build import build_clips
    from importer.pool import build_pool
    from ml_backend.loop.train import train

    with clock.stage("pool", "Reading the trajectory pool"):
        build_pool(ws)
    with clock.stage("clips", "Rendering clips"):
        build_clips(ws)
    with clock.stage("calibration", "Calibration: the expert explains, everybody practises and is tested"):
        _calibrate(ws)
    with clock.stage("production", "Production: stratified pairs for certified annotators"):
        _produce(ws)
    with clock.stage("round", "Active round: train, rank, ask about the most informative pairs"):
        _active_round(ws)
    with clock.stage("train", "Training the reward model on all preferences"):
        train(ws)
    with clock.stage("validate", "Validating the reward model"):
        _validate(ws)
    with clock.stage("release", "Packaging the release"):
        return _release(ws)


def _calibrate(ws: Workspace) -> None:
    from importer.calibration import build as calibrate
    from importer.pairs.annotators import add_annotators
    from importer.simulate.answering import simulate
    from importer.studio.pull import pull
    from importer.studio.push import push
    from qc_reports.certification import certify

    add_annotators(ws)
    for _ in range(2):  # first the expert alone; then everybody practises with the expert's answers and is tested
        calibrate.build(ws)
        push(ws)
        simulate(ws)
        pull(ws)
    # each set is at most 40 pairs, then ten more for those whom these do not decide
    for batch_id in ("calibration-1", "calibration-1", "calibration-2", "calibration-2"):
        results = certify(ws, batch_id)
        undecided = [r.annotator_id for r in results if r.undecided]
        refused = [r.annotator_id for r in results if not r.certified and not r.undecided]
        if calibrate.retest(ws, [*undecided, *refused]):
            if undecided:
                console.print(f"Not decided by {batch_id} yet: {', '.join(undecided)}. They answer more pairs.")
            if refused:
                console.print(
                    f"Not certified by {batch_id}: {', '.join(refused)}. They get a second training and the second set."
                )
            push(ws)
            simulate(ws)
            pull(ws)


def _produce(ws: Workspace) -> None:
    from importer.pairs import batches
    from importer.studio.push import push

    if not any(batch.kind == "production" for batch in ws.store.batches()):
        batches.next_batch(ws)
    push(ws)
    _answer_and_check(ws)


def _active_round(ws: Workspace) -> None:
    from importer.studio.push import push
    from ml_backend.loop.rounds import run_round

    if not any(batch.kind == "active" for batch in ws.store.batches()):
        run_round(ws)
    push(ws)
    _answer_and_check(ws)


def _answer_and_check(ws: Workspace) -> None:
    """Answers, third answers where two disagree, then QC of every open batch."""
    from importer.simulate.answering import simulate
    from ml_backend.loop.rounds import update_labels
    from qc_reports.qc import qc

    for _ in range(2):
        simulate(ws)
        update_labels(ws)
    for batch in ws.store.batches(calibration=False):
        if batch.status == "open":
            report = qc(ws, batch.batch_id)
            console.print(terminal(f"{batch.batch_id}: {report.status}. {' '.join(report.reasons)}"), highlight=False)


def _validate(ws: Workspace) -> None:
    """The active model's page; made once, because the same model gives the same page."""
    from ml_backend.loop.validate import page_of, validate_model

    if not page_of(ws).exists():
        validate_model(ws)


def _release(ws: Workspace) -> ReleaseResult:
    """1.0.0, or if a person has answered since then, the version that the changes call for."""
    from release.build import VersionTaken, build_release
    from release.versions import released

    version = str(max(released(ws.releases, ws.config.name), default="1.0.0"))
    while True:
        try:
            return build_release(ws, version)
        except VersionTaken as taken:
            version = taken.suggested


def _check(root: Path, pool: Path) -> None:
    if not pool.is_dir():
        raise UserError(f"Sample pool not found: {pool}.", fix="Run the demo from a checkout of Robopref.")
    if root.exists() and any(root.iterdir()) and not (root / CONFIG_NAME).exists() and not _ours(root):
        raise UserError(f"{root} is not empty and is not a demo's folder.", fix="Name another folder with --root.")
    existing = root if root.exists() else root.parent
    if (free := shutil.disk_usage(existing).free) < NEEDED_BYTES:
        raise UserError(
            f"Only {free // 10**6} MB are free on the disk of {existing}; the demo needs {NEEDED_BYTES // 10**6} MB.",
            fix="Free some space, or name a folder on another disk with --root.",
        )


def _ours(root: Path) -> bool:
    """A first start that was killed leaves these and no robopref.toml."""
    return {path.name for path in root.iterdir()} <= {DATA_FOLDER, "work"}


def stop_servers(root: Path) -> None:
    """End the servers that an earlier run left running on `root`, if any."""
    if (config := root / CONFIG_NAME).exists():
        stop(config)


def _pretrained() -> str:
    return f'[reward]\nencoder = "{NETWORK}"\n' if packaged_file(NETWORK) else ""


def _say_where(ws: Workspace, manager: dict[str, str]) -> None:
    from importer.calibration.sets import TRAINING
    from importer.studio.push import credentials

    guest = next(a.annotator_id for a in ws.store.annotators() if a.email == GUEST)
    own = [view.assignment for view in ws.store.assignments() if view.assignment.annotator_id == guest]
    pairs = Counter(a.batch_id for a in own)
    url, config = ws.config.label_studio.url, ws.config.file
    places = {a.batch_id: f"{url}/projects/{a.project_id}/data?labeling=1" for a in own}
    practice = f"practise on {pairs[TRAINING]} pairs, which show the expert's answer after yours:\n"
    practice = f"{practice}  {places[TRAINING]}\nthen " if TRAINING in places else ""
    output.print(
        f"\n[bold]Your turn:[/] {practice}get certified on {pairs['calibration-1']} pairs:\n"
        f"  {places['calibration-1']}\n"
        f"  Sign in as {GUEST}, password {credentials(ws)[GUEST]}\n"
        f"  Then run `robopref pull -c {config}` and `robopref certify -c {config}` to see your result.\n"
        f"Manager's view: {url}, {manager['username']}, password {manager['password']}\n"
        "Both servers keep running; `robopref demo --stop` stops them.",
        highlight=False,
        soft_wrap=True,
    )
