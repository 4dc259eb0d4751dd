"""The stages as actions: long work that the worker does, each with the function of the command of its name."""

from __future__ import annotations

from collections import Counter

from importer.calibration import build as calibrate
from importer.clips.build import build_clips
from importer.pairs.annotators import add_annotators
from importer.pool.build import build_pool
from importer.studio.pull import pull
from importer.studio.push import push
from ml_backend.loop.queue_order import publish
from ml_backend.loop.rounds import update_labels
from preference.errors import needs
from preference.records import TRAIN
from preference.workspace import Workspace
from qc_reports import certification
from qc_reports.qc import qc
from robopref.console.desk import Action, Pressed


def pushed(ws: Workspace) -> str:
    """Everything that is planned into Label Studio, as a sentence."""
    made = push(ws, scores=publish(ws))
    if not (made.users or made.projects or made.tasks):
        return "Label Studio has everything."
    return f"{made.users} accounts, {made.projects} projects and {made.tasks} tasks made in Label Studio."


def _pool(ws: Workspace, _: Pressed) -> str:
    made = build_pool(ws)
    failed = f" {len(made.failures)} episodes could not be read: pool/failures.csv." if made.failures else ""
    return " ".join([f"{len(made.trajectories)} trajectories are in the pool.{failed}", *made.notes])


def _clips(ws: Workspace, _: Pressed) -> str:
    made = build_clips(ws)
    failed = f" {len(made.failures)} could not be rendered." if made.failures else ""
    return f"{made.rendered} clips rendered, {made.kept} kept.{failed}"


def _calibration(ws: Workspace, _: Pressed) -> str:
    add_annotators(ws)
    calibrate.build(ws)
    waiting = calibrate.waiting_for_expert(ws)
    then = f" When the expert has answered {waiting} training pairs, build again for the annotators." if waiting else ""
    return f"The calibration sets are there. {pushed(ws)}{then}"


def _pull(ws: Workspace, _: Pressed) -> str:
    found = pull(ws)
    return " ".join([f"{found.new} answers fetched, {found.updated} changed, {found.rejected} rejected.", *found.notes])


def _certify(ws: Workspace, pressed: Pressed) -> str:
    results = certification.certify(ws, pressed.subject or certification.FIRST)
    if not results:
        return f"Nobody has answered all of {pressed.subject or certification.FIRST} yet."
    words = [f"{r.annotator_id}: {'certified' if r.certified else 'undecided' if r.undecided else 'not certified'} "
             f"(kappa {r.kappa:.2f})" for r in results]  # fmt: skip
    return f"{'; '.join(words)}."


def _retest(ws: Workspace, pressed: Pressed) -> str:
    results = certification.certify(ws, pressed.subject or certification.FIRST)
    failed = [r.annotator_id for r in results if not r.certified]
    if failed:
        calibrate.retest(ws, failed)
    return f"What comes next for {', '.join(failed) or 'nobody'} is planned. {pushed(ws)}"


def _qc(ws: Workspace, pressed: Pressed) -> str:
    report = qc(ws, pressed.subject)
    word = {"accepted": "is accepted", "held": "is on hold", "open": "is still open"}[report.status]
    return f"{pressed.subject} {word}. {' '.join(report.reasons)}"


def _resolve(ws: Workspace, _: Pressed) -> str:
    counts = Counter("labelled" if p.preference is not None else p.reason for p in update_labels(ws))
    others = ", ".join(
        f"{number} {reason.replace('_', ' ')}" for reason, number in counts.items() if reason != "labelled"
    )
    return f"{counts['labelled']} pairs have a label{f'; {others}' if others else ''}."


def _train(ws: Workspace, pressed: Pressed) -> str:
    """The worker trains by itself where there is a request (`ml_backend.loop.worker.train_as_requested`)."""
    return ""


def _can_train(ws: Workspace, pressed: Pressed) -> None:
    from ml_backend.loop.train import check_accepted

    needs("torch", "timm")
    check_accepted(ws)


def nothing(ws: Workspace, subject: str) -> object:
    """Of what may be asked for at any time: it does what is missing."""
    return ""


def _certificates(ws: Workspace, subject: str) -> object:
    return [(r.annotator_id, r.batch_id, r.pairs, r.certified) for r in ws.store.certifications()]


def _batch(ws: Workspace, subject: str) -> object:
    return [(b.batch_id, b.status, b.decisions) for b in ws.store.batches() if b.batch_id == subject]


ACTIONS = {
    "pool": Action(_pool, nothing, long=True),
    "clips": Action(_clips, nothing, long=True),
    "calibration build": Action(_calibration, nothing, long=True),
    "push": Action(lambda ws, _: pushed(ws), nothing, long=True),
    "pull": Action(_pull, nothing, long=True),
    "certify": Action(_certify, nothing),
    "certify --retest": Action(_retest, _certificates, long=True),
    "qc": Action(_qc, _batch, long=True),
    "resolve": Action(_resolve, nothing, long=True),
    TRAIN: Action(_train, nothing, long=True, check=_can_train),
}
