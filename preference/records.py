"""The things that travel between the rooms, one frozen record each.

Conventions, stated once: a pair's first trajectory is `a`, its second `b`; an answer is `"A"`, `"B"` or `"equal"`;
a resolved label is the float 1.0 (A), 0.0 (B) or 0.5 (tie); P(a ≻ b) = σ(r_a − r_b).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, Self, get_args

Answer = Literal["A", "B", "equal"]
"""What one person said of one pair."""
Side = Literal["left", "equal", "right"]
"""The same as the screen shows it; `labeling_config.contract` maps one to the other."""
Stratum = Literal["same", "adjacent", "distant"]
Kind = Literal["production", "gold", "calibration", "active"]
Role = Literal["annotator", "expert"]
BatchStatus = Literal["open", "accepted", "held"]
ReviewVerdict = Literal["keep", "leave_out"]
RequestState = Literal["waiting", "running", "done", "failed"]
ResolutionReason = Literal[
    "unanimous", "majority", "single", "dawid_skene", "weighted_bt", "adjudicated",
    "ambiguous", "needs_third", "unanswered", "skipped", "needs_review", "left_out", "held",
]  # fmt: skip
"""Those of the first line come with a label, those of the second with none; docs/quality.md explains each."""

ANSWERS: tuple[Answer, ...] = get_args(Answer)
DISAGREES = ("turned", "gold", "majority")
"""Flags that say somebody's answers agree less than they should; training pairs with the expert's answers help."""
LABELS: dict[str, float] = {"A": 1.0, "B": 0.0, "equal": 0.5}
OPPOSITE: dict[Answer, Answer] = {"A": "B", "B": "A", "equal": "equal"}


CALIBRATION: Kind = "calibration"
"""Asked to test annotators, not for labels."""


class Record:
    """What all records share: a plain dictionary in, a plain dictionary out."""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)  # pyright: ignore[reportArgumentType]

    @classmethod
    def from_dict(cls, row: dict[str, Any]) -> Self:
        """Build the record from `row`; keys that the record does not have are left aside."""
        return cls(**{f.name: row[f.name] for f in fields(cls) if f.name in row})  # pyright: ignore[reportArgumentType]


@dataclass(frozen=True)
class Trajectory(Record):
    """One row of manifest.csv: an episode, where it came from and how good it is.

    A measure that could not be taken is `nan`, never 0.
    """

    trajectory_id: str
    dataset: str
    """Name of the dataset in robopref.toml."""
    episode_index: int
    source: str
    """`expert`, `novice`, `policy_checkpoint_N`, `scripted`, `random`, or the team's own word."""
    task_type: str
    environment_id: str = ""
    robot: str = ""
    """Type of the robot; empty where the data do not say."""
    cameras: str = ""
    """The cameras that it has, of those that `columns.camera` names; commas between them."""
    success: bool | None = None
    tier: str = ""
    """The quality class: `expert` for the best 20 % of demonstrations, otherwise the source."""
    quartile: int = 0
    """1 (worst) to 4 (best) by `quality`, within the task type; 0 = not ranked."""
    quality: float = float("nan")
    """Ground-truth quality, higher is better; only its order within a task type means anything."""
    true_return: float = float("nan")
    """The simulator's return where the dataset has one: for validation and simulated annotators only."""
    path_efficiency: float = float("nan")
    """Straight-line over travelled distance of the end effector, in (0, 1]; higher is better."""
    smoothness: float = float("nan")
    """Spectral arc length (SPARC), ≤ 0; higher is smoother."""
    grasp_stability: float = float("nan")
    """1 / times that the gripper grasped, in (0, 1]; higher is better."""
    peak_force: float = float("nan")
    """Largest contact force, N."""
    duration_s: float = float("nan")
    """Seconds from the first non-trivial action to completion or time-out; lower is better."""
    start_s: float = 0.0
    """Where the trimmed span begins, in seconds from the first frame."""
    end_s: float = 0.0
    """Where the trimmed span ends, in seconds from the first frame."""
    num_frames: int = 0
    """Frames of the episode as recorded."""
    fps: float = 0.0
    """Frames per second as recorded."""
    clip: str = ""
    """Path of the clip, relative to the work folder; empty = not rendered."""
    clip_sha256: str = ""
    in_pool: bool = True
    """False where a later `robopref pool` no longer found it: it stays, since pairs refer to it."""

    @property
    def adopted(self) -> bool:
        """Whether it came with an adopted release: its episode and clip are with those who made that."""
        return not self.in_pool and not self.clip and bool(self.clip_sha256)

    @property
    def seen(self) -> tuple[float, float]:
        """The span that the reward model sees, in seconds from the first frame: from `start_s` to the last frame.

        People's clips end at `end_s`, after success. The model's span does not, because a new rollout has no success
        flag, and would get another reward without it.
        """
        return self.start_s, math.inf

    @property
    def seen_s(self) -> float:
        """Seconds of that span; those of the trimmed one where frames or their rate are not known."""
        whole = self.num_frames / self.fps if self.num_frames > 0 and self.fps > 0 else self.end_s
        return whole - self.start_s


@dataclass(frozen=True)
class Pair(Record):
    """Two trajectories of one task type that somebody is to compare."""

    pair_id: str
    trajectory_a_id: str
    trajectory_b_id: str
    task_type: str
    stratum: Stratum
    kind: Kind
    batch_id: str = ""
    """The batch it is asked in; a calibration set (`calibration-1`, `calibration-2`) is a batch too."""
    expected: Answer | None = None
    """The answer to hold annotators against: the expert's for calibration, the ground truth's for gold."""
    dimension: str = ""
    """What a calibration pair is about: `smoothness`, `efficiency`, `grasp`, `recovery`."""
    reasoning: str = ""
    """The expert's words on a calibration pair."""
    strategy: str = ""
    """The selection rule that proposed an active pair; `uniform` marks the audit arm, `replacement` a pair that stands
    in for one that was lost."""


@dataclass(frozen=True)
class Annotator(Record):
    """A person, or a simulated one, who answers."""

    annotator_id: str
    email: str
    role: Role = "annotator"
    active: bool = True
    teacher: str = ""
    """For a simulated annotator its teacher's name; empty for a person."""
    studio_user_id: int | None = None
    added: str = ""
    """Who added them by `robopref annotators add`, when and why; empty for those whom robopref.toml names."""
    away: str = ""
    """Paused or removed by whom, when and why; then `active` is False whatever robopref.toml says."""


@dataclass(frozen=True)
class Assignment(Record):
    """One pair given to one annotator."""

    assignment_id: str
    """Opaque: shown to nobody, but also carried in task data, so it tells nothing of pair or quality."""
    pair_id: str
    annotator_id: str
    batch_id: str
    position: int
    """Place in the annotator's order within the batch, from 0."""
    left: Literal["A", "B"]
    """Which trajectory of the pair is shown on the left."""
    duplicate_of: str | None = None
    """The assignment that this one repeats with the sides swapped."""
    project_id: int | None = None
    task_id: int | None = None
    third: bool = False
    """Made because two others differed: it settles the pair, and is no measure of how far people agree."""
    part: int = 0
    """In a test, from 0: a later part is given only once those before it are answered."""
    given_at: str = field(default="", compare=False)
    """When this annotator got it, ISO 8601, UTC; the store fills it in."""


@dataclass(frozen=True)
class Judgment(Record):
    """An annotator's answer to one assignment, already mapped from left/right to A/B."""

    assignment_id: str
    annotator_id: str
    pair_id: str
    preference: Answer
    """`A`, `B` or `equal`."""
    confidence: int
    """1 (guess) to 5 (sure)."""
    response_time_ms: int
    """From first play to answer where the plugin measured it, otherwise Label Studio's lead time."""
    free_text_reason: str = ""
    lead_time_ms: int | None = None
    annotation_id: int | None = None
    task_id: int | None = None
    created_at: str = ""
    """ISO 8601, UTC."""
    raw: dict[str, Any] = field(default_factory=dict, compare=False)
    """Label Studio's annotation as it came."""
    questions: dict[str, Any] = field(default_factory=dict)
    """Answers to the optional questions, as labeling_config/questions.py has them; only those that were answered."""

    @property
    def unknown(self) -> list[str]:
        """What a judgment from elsewhere lacks: of `confidence`, `response_time_ms` and the assignment's `left`."""
        return list(self.raw.get("unknown", ())) if "imported_from" in self.raw else []

    request_id: str = field(default="", compare=False)
    """The webhook or the pull that brought it, as the logs name it."""


@dataclass(frozen=True)
class AssignmentView:
    """An assignment with its pair: what mapping an answer back, or showing a task, needs."""

    assignment: Assignment
    pair: Pair


SKIPPED = "skipped"
"""How the reason of a `Rejection` begins where the person skipped the pair; then ": why", if that is known."""
SETTLED = f"{SKIPPED}: right three times in a row"
"""The reason where the plugin closed a training pair unasked: nobody owes an answer to it."""


@dataclass(frozen=True)
class Rejection(Record):
    """An annotation that could not become a judgment, and why."""

    annotation_id: int
    task_id: int | None
    reason: str
    raw: dict[str, Any] = field(default_factory=dict, compare=False)
    request_id: str = field(default="", compare=False)
    """The webhook or the pull that brought it, as the logs name it."""


ADOPTED = "adopted"
"""Key of `ModelVersion.metrics`: `release` and `sums` of the release that the model came with."""
ADOPTED_FROM = "Adopted from "
"""Begins a note of each batch that came with a release."""
AS_RELEASED = "as released"
"""Why such a batch was accepted."""


def by_stratum(pairs: Iterable[Pair]) -> dict[str, int]:
    """How many pairs each stratum has."""
    found = Counter(pair.stratum for pair in pairs)
    return {name: found[name] for name in ("adjacent", "same", "distant")}


@dataclass(frozen=True)
class Batch(Record):
    """A set of pairs asked together; the gate between two batches is QC."""

    batch_id: str
    kind: Kind
    status: BatchStatus = "open"
    created_at: str = ""
    reasons: list[str] = field(default_factory=list)
    """Why the gate passed or held it."""
    notes: list[str] = field(default_factory=list)
    """What there was to say when it was planned: forced, filled from other strata, few people."""
    decisions: list[dict[str, str]] = field(default_factory=list)
    """What people decided against or beside the gate: `status`, `by`, `at`, `why`; the last one holds."""

    @property
    def adopted(self) -> bool:
        """It came with a release; its labels stay as they were released, whatever the settings."""
        accepted = any(said["why"] == AS_RELEASED for said in self.decisions)
        return accepted and any(note.startswith(ADOPTED_FROM) for note in self.notes)  # people write notes, too


@dataclass(frozen=True)
class Verdict(Record):
    """The answers that a batch was accepted for."""

    batch_id: str
    at: str
    """ISO 8601, UTC."""
    answers: dict[str, str]
    """Assignment → its answer then, such as `A4`."""


@dataclass(frozen=True)
class Review(Record):
    """What a person made of a flagged annotator's judgments in one batch."""

    batch_id: str
    annotator_id: str
    verdict: ReviewVerdict
    kinds: list[str]
    """The flags that were looked at; another one asks for another review."""
    by: str
    at: str
    """ISO 8601, UTC."""
    why: str


@dataclass(frozen=True)
class Certification(Record):
    """The outcome of one attempt at a calibration set."""

    annotator_id: str
    batch_id: str
    """The calibration set."""
    attempt: int
    kappa: float
    kappa_low: float
    kappa_high: float
    certified: bool
    pairs: int
    created_at: str = ""
    findings: list[str] = field(default_factory=list)
    """Error patterns, as sentences for the second training session."""
    review: list[str] = field(default_factory=list)
    """Pairs to go over again there, those that show a pattern first."""
    template: str = ""
    """Version of the labeling template that the set was answered in."""
    override: str = ""
    """Who allowed an attempt after the second, when and why; empty for the first two."""
    revoked: str = ""
    """Who took the certificate back, when and why; then `certified` is False."""
    undecided: bool = False
    """The interval of kappa holds the threshold: more pairs decide. Then `certified` is False."""


@dataclass(frozen=True)
class Preference(Record):
    """The resolved label of a pair, or the reason why it has none."""

    pair_id: str
    trajectory_a_id: str
    trajectory_b_id: str
    preference: float | None
    """1.0 (A), 0.0 (B), 0.5 (tie); missing where the pair has no label."""
    confidence_mean: float
    num_annotators: int
    agreement: float
    """Fraction of the annotators who gave the winning answer."""
    annotator_ids: list[str]
    reason: ResolutionReason


@dataclass(frozen=True)
class Resolution(Record):
    """What the newest resolution of all pairs did besides labelling them."""

    method: str
    """`vote`, `dawid_skene` or `weighted_bt`, as `quality.resolution` said."""
    left_out: dict[str, Any]
    """Whose judgments do not count, what that changes, and `reviews`: the `batch_id`, `annotator_id` and `kinds` of
    flags that wait for a person."""
    methods: list[dict[str, Any]]
    """Where the other methods would label otherwise."""


@dataclass(frozen=True)
class ModelVersion(Record):
    """A trained reward model and how good it is."""

    version: str
    path: str
    """Folder of the model, relative to the work folder."""
    created_at: str
    preferences: int
    """Labelled pairs that it was trained, validated and tested on."""
    ranking_accuracy: float
    """On held-out test pairs, ties left out."""
    spearman: float
    """Rank correlation with the ground truth, averaged over task types; nan without a ground truth."""
    encoder: str
    weights: str
    """`imagenet`, a file's name, or `none`."""
    active: bool = True
    metrics: dict[str, Any] = field(default_factory=dict)
    trusted: bool | None = None
    """Whether it reached every target of `robopref validate`; None before that has run."""
    verdict: str = ""
    """What it missed, in words."""


TRAIN = "train"
"""`Request.kind` of Start Training, in Label Studio or in the console."""
STOP, GO_ON = "rounds stop", "rounds go on"
"""The worker makes no rounds by itself from the one until the other."""


@dataclass(frozen=True)
class Request(Record):
    """What a manager asked for in the console, or by Start Training, and what became of it."""

    request_id: int
    kind: str
    """The command that does the same, such as `train`, `pairs`, `batch accept`."""
    subject: str = ""
    """The batch, annotator or version that it is about."""
    detail: dict[str, Any] = field(default_factory=dict)
    """Its further arguments."""
    by: str = ""
    """Who is signed in; empty where Label Studio did not say who pressed."""
    why: str = ""
    at: str = ""
    """ISO 8601, UTC."""
    state: RequestState = "waiting"
    result: str = ""
    """What became of it, in a sentence."""
    ended: str = ""
    press: str | None = None
    """Of the form that was sent: a form that arrives twice is one request."""


@dataclass(frozen=True)
class Activity(Record):
    """What the worker, or a training or round by hand, is doing."""

    doing: str
    """Such as `Round` or `Release 1.0.0`."""
    since: str
    """ISO 8601, UTC."""
    at: str
    """When this was written."""
    step: str = ""
    done: int = 0
    total: int | None = None
    """None where it is not known how much there is."""
