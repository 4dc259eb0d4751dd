"""Where a project stands: its stage, who owes which answers, and the next command.

A workspace comes in, a `Status` goes out. It reads the database, and the report of a held batch, so it is the same
whether Label Studio runs or not, and is as of the last `robopref pull` or webhook.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from shlex import quote

from importer.calibration.build import to_retest, waiting_for_expert
from importer.calibration.sets import SETS, TRAINING
from importer.pairs.annotators import annotators_of, certified_ids
from importer.pairs.batches import to_replace
from importer.studio.queues import phases_of, title_of
from ml_backend.loop.rounds import bootstrap_labels
from preference.adjudicated import ADJUDICATION
from preference.artifacts import read_json
from preference.config_file import outside_protocol
from preference.errors import ConfigError, DataError
from preference.records import ADOPTED, DISAGREES, Annotator, Batch, ModelVersion
from preference.workspace import Workspace
from qc_reports.annotators.history import settled_later
from qc_reports.resolution.disputed import without_third
from qc_reports.resolve import lost


@dataclass(frozen=True)
class Owed:
    """Answers that a project in Label Studio still waits for."""

    annotator_id: str
    role: str
    project: str
    answered: int
    open: int


@dataclass(frozen=True)
class Step:
    """What comes next."""

    stage: str
    """Where the project stands, in a sentence."""
    command: str
    """Empty where a person has to do something else first, which `why` says."""
    why: str = ""


@dataclass(frozen=True)
class Status:
    """The answer to `robopref status`."""

    stage: str
    next: str
    why: str
    owed: list[Owed] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def status(ws: Workspace) -> Status:
    """Everything that `robopref status` shows."""
    step = next_step(ws)
    trajectories = [t for t in ws.store.trajectories() if t.in_pool]
    labels = ws.store.labelled() if ws.store.resolved() else []
    counts = {
        "trajectories": len(trajectories),
        "clips": sum(bool(t.clip) for t in trajectories),
        "pairs": len(ws.store.pairs(calibration=False)),
        "judgments": ws.store.count_judgments(),
        "labels": len(labels),
        "models": len(ws.store.model_versions()),
    }
    notes = [*outside_protocol(ws.config), *_retests(ws, step), *_thirds(ws)]
    return Status(step.stage, step.command, step.why, owed(ws), counts, notes)


def _retests(ws: Workspace, step: Step) -> list[str]:
    """Who can go on with the calibration, where the next command is another: enough may have passed."""
    names = [record.annotator_id for record in to_retest(ws)]
    if not names or "--retest" in step.command:
        return []
    more = "`robopref certify --retest` gives them more pairs or a second training."
    return [f"Not certified yet: {', '.join(names)}. {more}"]


def _thirds(ws: Workspace) -> list[str]:
    """Labels that are not coming by themselves."""
    count = len(without_third(ws)) if ws.store.resolved() else 0
    if not count:
        return []
    differ = "Two people differ on a pair" if count == 1 else f"Two people differ on {count} pairs"
    return [f"{differ}, and nobody certified is left to ask. Certify one more, or `robopref adjudicate --to NAME`."]


def owed(ws: Workspace) -> list[Owed]:
    """Open answers of each active annotator, by project."""
    phases = phases_of(ws.store.batches())
    roles = {annotator.annotator_id: annotator.role for annotator in ws.store.annotators()}
    sums: dict[tuple[str, str], tuple[int, int]] = {}
    for name, batch_id, answered, waiting in ws.store.progress_by_annotator():
        before = sums.get((name, phases[batch_id]), (0, 0))
        sums[name, phases[batch_id]] = (before[0] + answered, before[1] + waiting)
    return [
        Owed(name, roles[name], title_of(phase, name), answered, waiting)
        for (name, phase), (answered, waiting) in sums.items()
        if waiting
    ]


def next_step(ws: Workspace) -> Step:
    """The first thing that is missing, in the order the data flows."""
    before = (_people, _calibration, _ready, _certification)
    if ws.store.batches(calibration=False):  # who came later is tested while others go on
        before = (_ready,)
    for look in (_pool, *before, _batch):
        if step := look(ws):
            return step
    return _model(ws)


def _pool(ws: Workspace) -> Step | None:
    trajectories = [t for t in ws.store.trajectories() if t.in_pool]
    if not trajectories:
        if not ws.config.pool.dataset:
            why = f"Name your dataset under [[pool.dataset]] in {ws.config.file} first."
            return Step("There is no dataset yet.", "robopref pool", why)
        return Step("The datasets have not been read yet.", "robopref pool")
    if not any(t.quartile for t in trajectories):
        why = "A task type needs 4 trajectories or more: add episodes, or give all one task_type."
        return Step("No trajectory could be ranked.", "robopref pool", why)
    if lacking := sum(not t.clip for t in trajectories):
        return Step(f"{lacking} of {len(trajectories)} trajectories have no clip.", "robopref clips")
    return None


def _people(ws: Workspace) -> Step | None:
    try:
        named = annotators_of(ws.config.annotators)
    except ConfigError as error:
        return Step(str(error), "robopref doctor", f"Correct [annotators] in {ws.config.file}.")
    ids = {a.annotator_id for a in named}
    everybody = [*named, *(a for a in ws.store.annotators() if a.active and a.annotator_id not in ids)]
    experts = [a for a in everybody if a.role == "expert"]
    people = len(everybody) - len(experts)
    if experts and people >= ws.config.pairs.overlap:
        return None
    who = f"{people} annotator{'s' * (people != 1)} and {'one' if experts else 'no'} expert"
    stage = f"{who} are named; each pair goes to "
    why = f"Set expert and people under [annotators] in {ws.config.file} first."
    return Step(f"{stage}{ws.config.pairs.overlap} annotators.", "robopref calibration build", why)


def _pushed(ws: Workspace) -> Step | None:
    if waiting := ws.store.count_without_task():
        if ws.config.embedded and not ws.config.label_studio.token.get_secret_value():
            stage = f"{waiting} tasks are planned, and this project has no Label Studio yet."
            return Step(stage, "robopref up", "Then `robopref push`.")
        return Step(f"{waiting} planned tasks are not in Label Studio yet.", "robopref push")
    return None


def _calibration(ws: Workspace) -> Step | None:
    present = {batch.batch_id for batch in ws.store.batches()}
    if not {SETS[0], SETS[1]} <= present:
        return Step("There are no calibration sets yet.", "robopref calibration build")
    if step := _pushed(ws):
        return step
    active = [a for a in ws.store.annotators() if a.active]
    if TRAINING in present and (left := waiting_for_expert(ws)):
        return _waits(ws, f"{_names(active, 'expert')} has to answer {left} training pairs first.")
    begun = {name for name, batch_id, *_ in ws.store.progress_by_annotator() if batch_id == SETS[0]}
    if new := [a.annotator_id for a in active if a.annotator_id not in begun]:
        return Step(f"{', '.join(new)} have no calibration set yet.", "robopref calibration build")
    return None


def _ready(ws: Workspace) -> Step | None:
    """Somebody finished a test, and so did the expert."""
    tests = {name for name in ws.store.calibration_sets() if not name.startswith((TRAINING, ADJUDICATION))}
    records = ws.store.latest_certifications()
    experts = ws.store.experts()
    progress = ws.store.progress_by_annotator()
    true = {batch_id for name, batch_id, answered, left in progress if name in experts and answered and not left}
    latest = {row[0]: row for row in progress if row[1] in tests and row[0] not in experts}  # in the sets' order
    ready: dict[str, list[str]] = {}
    for name, batch_id, answered, left in latest.values():
        record = records.get(name)
        known = record is not None and record.batch_id == batch_id and record.pairs >= answered
        if not left and batch_id in true and not known:
            ready.setdefault(batch_id, []).append(name)
    for batch_id, names in ready.items():
        option = "" if batch_id == SETS[0] else f" --batch {batch_id}"
        return Step(f"{', '.join(names)} finished {batch_id}.", f"robopref certify{option}")
    return None


def _certification(ws: Workspace) -> Step | None:
    enough, people = ws.config.pairs.overlap, certified_ids(ws)
    if len(people) >= enough:
        return None
    if waiting := sorted({who.annotator_id for who in owed(ws)}):
        return _waits(ws, f"Calibration waits for {', '.join(waiting)}.")
    stage = f"{len(people)} annotators are certified, and each pair goes to {enough}."
    return Step(stage, "robopref certify --retest", "Or add people: `robopref annotators add NAME@EXAMPLE.ORG`.")


def _batch(ws: Workspace) -> Step | None:
    batches = ws.store.batches(calibration=False)
    if not batches:
        return Step("Enough annotators are certified.", "robopref pairs", "`robopref pairs --plan` shows it first.")
    if step := _pushed(ws):
        return step
    waiting = ws.store.open_by_batch()
    for batch in batches:
        if batch.status == "held" and batch.decisions:  # by a person, whose word comes last
            command = f"robopref batch accept {batch.batch_id} --by YOU --why REASON"
            return Step(f"{batch.batch_id} is held. {batch.reasons[-1]}", command, "Or fix what is wrong first.")
        if batch.status == "held":
            return _held(ws, batch)
        if left := waiting.get(batch.batch_id):
            return _waits(ws, f"{batch.batch_id} waits for {left} answers.")
        if batch.status == "open":
            return Step(f"{batch.batch_id} is answered.", f"robopref qc --batch {batch.batch_id}")
    resolved = {p.pair_id for p in ws.store.preferences()} if ws.store.resolved() else set()
    if any(pair.pair_id not in resolved for pair in ws.store.pairs(calibration=False)):
        return Step(f"{batches[-1].batch_id} is accepted.", "robopref resolve")
    return _reviews(ws)


def _held(ws: Workspace, batch: Batch) -> Step:
    """A batch that the gate holds: whom to review, as its report names them; else it is corrected or accepted."""
    stage = f"{batch.batch_id} is held. {' '.join(batch.reasons[:1])}"
    folder = ws.reports / batch.batch_id
    try:
        pending = read_json(folder / "qc.json").get("left_out", {}).get("pending", [])
    except DataError:  # an older one, or removed: `robopref qc` writes it again
        pending = []
    signed, read = "--by YOU --why REASON", f"Read {folder / 'report.html'} first"
    accept = f"robopref batch accept {batch.batch_id}"
    if not pending:
        again = f"robopref pull && robopref qc --batch {batch.batch_id}"
        return Step(stage, f"{accept} {signed}", f"{read}; after corrections in Label Studio, `{again}` instead.")
    name, others = pending[0], pending[1:]
    also = f", then the same for {', '.join(others)}" if others else ""
    command = f"robopref batch review {quote(name)} --batch {batch.batch_id} --keep {signed}"
    return Step(
        stage,
        command,
        f"{read}{also}; or --leave-out where answers should not count. `{accept}` takes the batch as it is.",
    )


def _reviews(ws: Workspace) -> Step | None:
    """Answers that count in no label, as of the last resolution, because a flag waits for a person. The newest batch
    comes first: a review there settles self-consistency in those before."""
    asked = ws.store.resolution().left_out.get("reviews", [])
    reviews = ws.store.reviews()
    covered = {(r.batch_id, r.annotator_id): r for r in reviews}
    order = [batch.batch_id for batch in ws.store.batches()]
    waiting = []
    for one in sorted(asked, key=lambda one: order.index(one["batch_id"]), reverse=True):
        review = covered.get((one["batch_id"], one["annotator_id"]))
        later = one["annotator_id"] in settled_later(order, one["batch_id"], reviews)
        kinds = set(one["kinds"]) - ({"self_consistency"} if later else set())
        kept = set(review.kinds) if review else set()
        if kinds and not (review and review.verdict == "leave_out") and not kinds <= kept:
            waiting.append(one)
    if waiting:
        whose = ", ".join(f"{one['annotator_id']} in {one['batch_id']}" for one in waiting)
        name, batch_id = waiting[0]["annotator_id"], waiting[0]["batch_id"]
        command = f"robopref batch review {name} --batch {batch_id} --keep --by YOU --why REASON"
        fallen = sorted({one["annotator_id"] for one in waiting if set(one["kinds"]) & set(DISAGREES)})
        refresh = (
            f" `robopref annotators refresh {fallen[0]}` gives {fallen[0]} training pairs again." if fallen else ""
        )
        return Step(f"Answers of {whose} are left out until reviewed.", command, f"Or --leave-out.{refresh}")
    return Step("All flags are reviewed.", "robopref resolve") if asked else None


def _model(ws: Workspace) -> Step:
    labels, models = len(ws.store.labelled()), ws.store.model_versions()
    enough = ws.config.reward.min_preferences
    if labels < enough:
        return _more_pairs(ws, f"{labels} pairs have a label; a model needs {enough}.")
    if not models and labels < (rounds := bootstrap_labels(ws)):
        why = "`robopref train` works by now, and `robopref release` after it."
        return _more_pairs(ws, f"{labels} pairs have a label; rounds start at {rounds}.", why)
    newest, active = models[-1] if models else None, ws.store.active_model()
    if newest is None or newest.preferences != labels:
        return Step(f"{labels} pairs have a label.", "robopref train")
    if ADOPTED in newest.metrics:
        stage = f"{newest.metrics[ADOPTED]['release']} is adopted, and none of its pairs are asked again."
        return _people(ws) or _calibration(ws) or _certification(ws) or Step(stage, "robopref pairs")
    if active is None or not active.verdict:
        return Step(f"{(active or newest).version} is not validated yet.", "robopref validate")
    met = "reached every target" if active.trusted else "missed a target: `robopref validate` says which"
    stage = f"{active.version} is in use and {met}."
    if kept := kept_back(newest):
        why = (
            f"{newest.version} was kept back ({kept}); more labels help, or `robopref models promote {newest.version}`."
        )
        return Step(stage, "robopref round", why)
    return Step(stage, "robopref round", "It asks the pairs worth most. Or `robopref release --version 1.0.0`.")


def _more_pairs(ws: Workspace, stage: str, why: str = "") -> Step:
    """Labels are missing: new pairs for the lost ones first, then the next batch."""
    if gone := to_replace(ws, lost(ws)).total() if ws.store.resolved() else 0:
        return Step(stage, "robopref pairs --replace", f"Lost pairs: {gone}; it asks as many new ones. {why}".strip())
    return Step(stage, "robopref pairs", why)


def kept_back(record: ModelVersion) -> str:
    """Why this model was not promoted; empty if it was."""
    return "" if record.active else str(record.metrics.get("kept_back", ""))


def _waits(ws: Workspace, stage: str) -> Step:
    url = ws.config.label_studio.address
    return Step(stage, "robopref pull", f"It fetches what people answered at {url}; `robopref up` does so by itself.")


def _names(people: list[Annotator], role: str) -> str:
    return ", ".join(a.annotator_id for a in people if a.role == role) or f"The {role}"
