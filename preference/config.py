"""robopref.toml: everything that a run depends on, typed; defaults are the protocol's numbers, or say why not.

A field's docstring is its description: `robopref init` writes it as a comment, editors show it from the JSON Schema.
`preference.config_file` reads the file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    SecretStr,
    SerializerFunctionWrapHandler,
    field_serializer,
    field_validator,
    model_serializer,
    model_validator,
)

CONFIG_NAME = "robopref.toml"
Fraction = Annotated[float, Field(ge=0, le=1)]
Agreement = Annotated[float, Field(ge=-1, le=1)]


def _fits_a_header(secret: SecretStr) -> SecretStr:
    text = secret.get_secret_value()
    if not text.isascii() or not text.isprintable() or text != text.strip():
        raise ValueError("expected letters, digits and signs of ASCII without spaces around them, as HTTP carries it")
    return secret


HeaderSecret = Annotated[SecretStr, AfterValidator(_fits_a_header)]
"""One that HTTP carries; Label Studio, browsers and we would each encode other characters in another way."""


IMAGE_SIZES = (32, 1024)
"""Smaller pictures are less than one cell of most networks' maps; larger ones are more than a robot's camera sees."""


def _an_image(size: int) -> int:
    low, high = IMAGE_SIZES
    if size and not low <= size <= high:
        raise ValueError(f"found {size}, expected {low} to {high} pixels, or 0 for the network's own size")
    return size


class Section(BaseModel):
    """A table of robopref.toml. An unknown key is an error."""

    model_config = ConfigDict(extra="forbid", validate_default=True, use_attribute_docstrings=True, allow_inf_nan=False)


class Columns(Section):
    """Where a dataset keeps what the pool needs. `robopref pool inspect` shows the columns and what was detected.

    One number of a wider column is `column[3]`, or its name if it has one.
    """

    camera: list[str] = []
    """The primary camera, which people see; or several, the primary one first: the reward model sees all of them.
    Default: the first one."""
    action: list[str] = []
    """Column of the actions, or several; in a table of single numbers `action_0, action_1` are one column `action`."""
    state: list[str] = []
    """Columns that the reward model sees besides frames and actions."""
    effector: list[str] = []
    """Position of the end effector: one column that starts with x, y, z, or three columns."""
    gripper: str = ""
    """Column of the gripper; `none` = do not use one."""
    gripper_range: list[float] = []
    """Its values when open and when closed; default: [0, 1]."""
    force: str = ""
    """Contact force in N. Of a vector or a wrench, the first three numbers are used."""
    success: str = ""
    """Per row or per episode."""
    source: str = ""
    """Per episode."""
    robot: str = ""
    """Per episode: the robot's type; default: `robot_type`, or what the metadata say."""
    quality: str = ""
    """Per episode: your own ground-truth quality; default: Robopref's score."""

    @field_validator("camera", "action", mode="before")
    @classmethod
    def _one_or_several(cls, value: object) -> object:
        return ([value] if value else []) if isinstance(value, str) else value

    @field_validator("camera")
    @classmethod
    def _each_once(cls, value: list[str]) -> list[str]:
        if len(set(value)) < len(value):
            raise ValueError(f"expected each camera once, found {', '.join(value)}")
        return value

    @field_serializer("camera")
    def _as_it_was(self, value: list[str]) -> str | list[str]:
        """One camera as text: keys of clips and features that were made before there could be several stay the same."""
        return value if len(value) > 1 else "".join(value)

    @field_validator("gripper_range")
    @classmethod
    def _two_different(cls, value: list[float]) -> list[float]:
        if value and (len(value) != 2 or value[0] == value[1]):
            raise ValueError(f"expected two different numbers (open, closed), found {value!r}")
        return value


class Dataset(Section):
    """One dataset of the pool."""

    path: Path
    """A folder or an HDF5 file, relative to robopref.toml."""
    name: str = ""
    """Part of every trajectory_id, so keep it stable; default: the name of the folder or file."""
    format: Literal["auto", "lerobot_v2", "lerobot_v3", "robomimic", "robosuite", "folder", "mcap"] = "auto"
    """`auto` looks at the files."""
    source: str = ""
    """Who made these episodes, if the data do not say."""
    success: bool | None = None
    """Whether these episodes succeeded, if the data do not say."""
    task_type: str = ""
    """Default: what the data say."""
    environment_id: str = ""
    """Default: what the data say."""
    robot: str = ""
    """Type of the robot. Default: what the data say."""
    fps: Annotated[float, Field(ge=0)] = 0.0
    """Rows per second, if the data do not say."""
    sidecar: str = ""
    """A CSV file with the column `episode` (number or name) and any of source, success, task_type, environment_id,
    robot, quality, return. It overrides the data."""
    columns: Columns = Columns()


class Pool(Section):
    dataset: list[Dataset] = []
    expert_share: Fraction = 0.2
    """Share of the demonstrations that forms the expert tier."""
    demonstrations: list[str] = ["expert", "novice", "scripted"]
    """Sources that count as demonstrations."""
    measures: str = ""
    """A CSV file with `trajectory_id` and a column of numbers for each further measure that `robopref validate` probes
    the reward with, such as the share of frames in which the camera sees the gripper. Relative to this file."""


class Clips(Section):
    size: Annotated[int, Field(ge=64, multiple_of=2)] = 480
    """Width and height in pixels."""
    fps: Annotated[int, Field(ge=1, le=60)] = 15
    crf: Annotated[int, Field(ge=0, le=51)] = 23
    """H.264 quality; lower is better and larger."""
    before_s: Annotated[float, Field(ge=0)] = 1.0
    """Seconds kept before the first non-trivial action."""
    after_s: Annotated[float, Field(ge=0)] = 2.0
    """Seconds kept after completion or time-out."""
    freeze_s: Annotated[float, Field(ge=0)] = 2.0
    """Seconds that the last frame is held."""
    equal_length: bool = False
    """Hold each last frame until the longest clip of the task type has ended. Only for Label Studio without the plugin,
    which stops both players when the shorter clip ends."""
    cameras: Literal["primary", "grid"] = "primary"
    """What clips show of datasets whose `columns.camera` names several: the first, or all of them in a grid."""
    watermark: Literal["code", "trajectory_id", "none"] = "code"
    """What the corner shows. `code`: one that `robopref clips --find CODE` resolves. `trajectory_id`: the id, which
    names the dataset, so annotators may learn the source. `none`: nothing. Differs from the protocol, which shows the
    id: annotators should not learn who made an episode."""


class Strata(Section):
    """Shares of the pairs by the distance of their quality quartiles; they sum to 1."""

    adjacent: Fraction = 0.4
    same: Fraction = 0.3
    distant: Fraction = 0.3
    """Two or three quartiles apart: the gold items."""

    @model_validator(mode="after")
    def _whole(self) -> Strata:
        if abs((total := self.adjacent + self.same + self.distant) - 1.0) > 1e-6:
            raise ValueError(f"adjacent, same and distant must sum to 1, found {total:g}")
        return self


class Pairs(Section):
    batch: Annotated[int, Field(ge=1)] = 200
    """Pairs in a batch; the protocol says 200-500. The first batch has `active.bootstrap` where that is fewer."""
    strata: Strata = Strata()
    duplicates: Fraction = 0.07
    """Share of each annotator's pairs that is shown again with the sides swapped; 5-10 %."""
    duplicate_distance: Annotated[int, Field(ge=1)] = 20
    """Minimum number of tasks between a pair and its duplicate, or half of the person's tasks, where they are fewer."""
    overlap: Annotated[int, Field(ge=1)] = 2
    """Annotators per pair; 3 for high stakes."""
    question: str = "Which robot did the task better?"
    """Shown above the two clips."""


class Calibration(Section):
    pairs: Annotated[int, Field(ge=4)] = 40
    """Pairs of each test set that everybody answers; the protocol says 30-50."""
    more_pairs: Annotated[int, Field(ge=0)] = 10
    """Pairs of each test set for those whose kappa is still too uncertain to certify or refuse them."""
    training_pairs: Annotated[int, Field(ge=0)] = 30
    """Pairs for practice before the test: after answering, annotators see the expert's answer and reasoning, and once
    enough in a row about one dimension were right, its others are skipped. Differs from the protocol, which walks
    through the 30 to 50 pairs of the test: these are apart from it, so that nobody is tested on what they were shown.
    """
    min_kappa: Agreement = 0.65
    """Cohen's kappa with the expert that certifies an annotator. Differs from the protocol, which looks at the value
    alone: its interval decides, because on 40 pairs a true kappa of 0.58 exceeds 0.65 in a quarter of tests."""


ResolutionMethod = Literal["vote", "dawid_skene", "weighted_bt"]


class Quality(Section):
    flags: Literal["tested", "protocol"] = "tested"
    """What raises a flag. `tested`: exceeding a limit by more than chance and hard pairs explain, with at most 5 %
    false flags over all people and kinds. `protocol`: exceeding one of the protocol's plain limits, which every report
    shows in any case. `tested` differs from the protocol: its plain limits accuse people who are all alike."""
    min_alpha: Agreement = 0.55
    """Krippendorff's alpha required of stratified batches and of the whole dataset: a batch is held when even the upper
    end of alpha's 95 % interval is below it (with `flags = "protocol"`, when alpha is). Active batches only report it,
    because their pairs are chosen to be hard. Differs from the protocol, which asks it of the whole dataset only and
    looks at alpha alone: a bad batch should be seen before the next is asked, and that rule holds a quarter of good
    ones."""
    max_gold_disagreement: Fraction = 0.2
    """Limit for a flag: share of gold items answered against the gold answer."""
    min_response_s: Annotated[float, Field(ge=0)] = 3.0
    """Limit for a flag: mean or median response time, without idle time."""
    min_self_consistency: Fraction = 0.8
    """Limit for a flag: share of an annotator's duplicates that were answered alike."""
    min_majority_agreement: Fraction = 0.6
    """Limit for a flag: share of answers that agree with the majority of the others. Differs from the protocol, which
    asks for enough agreement and names no number."""
    min_answers: Annotated[int, Field(ge=1)] = 10
    """No flag is raised on fewer answers of the relevant kind; of repeats, 5 are enough. Differs from the
    protocol, which has no smallest sample: a share of three answers says nothing."""
    bootstrap: Annotated[int, Field(ge=0)] = 1000
    """Resamples per confidence interval."""
    resolution: ResolutionMethod = "vote"
    """How votes become a label. `vote`: the majority. `dawid_skene`: what most careful people would say, given each
    annotator's reliability and each pair's difficulty. `weighted_bt`: Bradley-Terry over all votes, each weighted by
    its annotator's agreement with the others. Reports show where the three differ."""


Teacher = Literal["expert", "good", "oracle", "mistake", "noisy", "skip", "myopic", "equal", "careless", "left_biased"]


class SimulatedAnnotator(Section):
    """An annotator simulated by Robopref: a B-Pref teacher that sees the simulator's return."""

    id: str
    teacher: Teacher = "good"


class Annotators(Section):
    expert: str = ""
    """E-mail address (or simulated id) of the person whose calibration answers are the truth. `robopref calibration
    build` needs it."""
    people: list[str] = []
    """E-mail addresses of the annotators."""
    simulated: list[SimulatedAnnotator] = []
    """Simulated annotators, such as [{ id = "ann", teacher = "good" }]; `robopref simulate --help` lists the teachers.
    They need a dataset with the simulator's return."""
    email_domain: str = "annotators.example"
    """Simulated annotators sign in as id@email_domain."""
    outside: Annotated[int, Field(ge=0)] = 0
    """People from outside who may join by a signed link (`robopref annotators invite`); 0 = nobody."""
    outside_pairs: Annotated[int, Field(ge=1)] = 50
    """Production pairs after which one of them gets a completion code, and is done."""
    hand_over_after_h: Annotated[float, Field(ge=0)] = 24.0
    """Open pairs of somebody who has not answered for so many hours go to others who have; 0 = never."""


class Bucket(Section):
    """A bucket of an S3-compatible store."""

    bucket: str = ""
    """Empty = none."""
    prefix: str = ""
    """Folder in the bucket; use a different one for each project that shares the bucket."""
    endpoint: str = ""
    """Address of a service other than AWS."""
    region: str = ""
    access_key: SecretStr = SecretStr("")
    """Prefer ROBOPREF_S3_ACCESS_KEY."""
    secret_key: SecretStr = SecretStr("")
    """Prefer ROBOPREF_S3_SECRET_KEY."""


class S3(Bucket):
    """An S3-compatible store for the clips: `robopref push` uploads them, Label Studio passes them on, and stores both
    keys to sign links."""

    prefix: str = "clips"
    """Folder in the bucket; use a different one for each project that shares the bucket."""
    link_minutes: Annotated[int, Field(ge=1)] = 60
    """How long a link to a clip is valid."""


class Cluster(Bucket):
    """With `executor = "ray"`: a bucket by way of which the cluster's machines get the data and return what they made.
    Without one they must share the folders of the data and the work folder."""

    prefix: str = "cluster"
    """Folder in the bucket; use a different one for each project that shares the bucket."""


class LabelStudio(Section):
    url: str = "http://127.0.0.1:8080"
    """Address of your own Label Studio. Left as it is and without a token: the one that `robopref up` runs."""
    public_url: str = ""
    """Where people's browsers reach it, if that is not `url`, such as https://label.example.org; all links for people
    start so. Prefer ROBOPREF_PUBLIC_URL."""
    token: HeaderSecret = SecretStr("")
    """Legacy token or personal access token; prefer ROBOPREF_LABEL_STUDIO_TOKEN."""
    clips: Literal["local", "s3", "url"] = "local"
    """How browsers get the clips: from Label Studio's `local` file serving, from `s3`, or from a web server (`url`)."""
    clips_url: str = ""
    """With `url`: where the web server has the files of work/clips, such as https://example.org/clips."""
    s3: S3 = S3()
    document_root: str = ""
    """Folder that Label Studio may serve files from (LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT); default: the work
    folder."""
    guidelines: str = "/robopref/guidelines"
    """Target of the guidelines link on the screen: the plugin's page, or your own on a server without the plugin."""
    watch_to_end: bool = True
    """Accept an answer only after both clips were watched to the end. Fixed for a project when it is created."""
    request_timeout_s: Annotated[float, Field(gt=0)] = 30.0

    @property
    def address(self) -> str:
        """For people: what links to it start with."""
        return (self.public_url or self.url).rstrip("/")

    @model_validator(mode="after")
    def _reachable(self) -> LabelStudio:
        if self.public_url and not self.public_url.startswith(("http://", "https://")):
            raise ValueError(f"public_url: expected an address (http:// or https://), found {self.public_url!r}")
        if not self.guidelines.startswith(("http://", "https://", "/")):
            raise ValueError(f"guidelines: expected an address (http://, https:// or /), found {self.guidelines!r}")
        if self.clips == "url" and not self.clips_url.startswith(("http://", "https://", "/")):
            raise ValueError(f'clips = "url" needs clips_url, an address; found {self.clips_url!r}')
        if self.clips == "s3" and not self.s3.bucket:
            raise ValueError('clips = "s3" needs s3.bucket')
        return self


class Finetune(Section):
    """Of `robopref train --finetune`. The defaults are the protocol's recipe."""

    learning_rate: Annotated[float, Field(gt=0)] = 1e-4
    schedule: Literal["cosine", "constant"] = "cosine"
    batch_pairs: Annotated[int, Field(ge=1)] = 64
    epochs: Annotated[int, Field(ge=1)] = 50
    """The protocol says 50-100."""
    patience: Annotated[int, Field(ge=1)] = 10
    """Stop after this many epochs without improvement on the validation pairs."""


class Questions(Section):
    """Asked beside the comparison, of production pairs; nobody has to answer. Fixed for a project when it is created.
    docs/screen.md has the keys."""

    outcome: bool = False
    """Whether each clip is a success, a partial success or a failure."""
    where: bool = False
    """Where it went wrong, as marks on the time line, and what: missed grasp, slip, collision, hesitation, wrong
    object."""
    why: bool = False
    """In what the better one is better: approach, grasp, transport, placement, recovery, efficiency."""
    part: bool = False
    """In which part of the time one of them is better."""


class Reward(Section):
    encoder: str = "resnet18"
    """Any timm model, such as resnet18 or vit_small_patch16_224."""
    weights: str = "imagenet"
    """`imagenet`, `none` (a fixed random network) or a local file. If ImageNet weights cannot be downloaded, training
    says so and continues with `none`."""
    image_size: Annotated[int, AfterValidator(_an_image)] = 0
    """Pixels of the square that a frame is resized to for the encoder, 32 to 1024; 0 = the network's own, such as 224,
    or 518 for DINOv2, which a CPU encodes slowly. A vision transformer takes multiples of its patch size."""
    inputs: Annotated[list[Literal["frames", "actions", "state"]], Field(min_length=1)] = ["frames", "actions", "state"]
    sample_fps: Annotated[float, Field(gt=0)] = 5.0
    """Frames per second that the model sees."""
    max_frames: Annotated[int, Field(ge=2)] = 64
    """Longer trajectories are sampled more sparsely."""
    parts: Annotated[list[Literal["linear", "kernel", "network"]], Field(min_length=1)] = ["network"]
    """What the reward is made of. `linear` and `kernel` are Bayesian models on what summarizes a trajectory; of several
    parts, the labels choose the weights. On people's answers about a robot the network alone was slightly ahead of all
    three together (docs/reward_model.md)."""
    progress_prior: bool = True
    """Progress, which is learned from the trajectories that succeeded, counts in the reward's linear part. Before any
    answer it is as likely that people prefer it as that it means nothing to them; answers decide. Not used if fewer
    than five trajectories are known to have succeeded, without a linear part, or if `parts` names others than the
    network (docs/reward_model.md)."""
    linear_until: Annotated[int, Field(ge=0)] = 100
    """A linear model of the steps is part of the reward, and labels choose how much it counts. Before they are looked
    at, it is expected to be 1 − (n/linear_until)² of the reward with n labels, and the network the rest; with
    progress it takes twice as many labels until nothing is expected of it, and with fewer than half of linear_until
    it is the whole reward. 0 = no linear part. With few labels it is ahead of the network, with more both together
    are (docs/reward_model.md). If a model sees no state, or knows several task types, only progress is in it; it is
    not used if `parts` names others than the network."""
    temporal: Literal["mean", "conv1d", "transformer"] = "conv1d"
    """The layer that looks at a step: by itself (`mean`), with its two neighbours (`conv1d`), or with all others
    (`transformer`). The reward is the mean over the steps."""
    hidden: Annotated[int, Field(ge=1)] = 32
    """Width of the network's two layers, which see each step; 32 trains about as fast as 64 did over the mean."""
    members: Annotated[int, Field(ge=1)] = 5
    """Size of the ensemble. Differs from the protocol, which trains one model: the spread says how sure the reward is,
    and the active rules need it."""
    ties: Literal["soft", "davidson", "margin", "drop"] = "soft"
    """How `equal` is learned: as a label of 0.5, with Davidson's model, with a margin, or not at all."""
    margin: Annotated[float, Field(ge=0)] = 0.3
    """Of `margin`: tied rewards should differ by less."""
    reliability: Literal["vote", "crowd_bt"] = "vote"
    """`vote`: learn from each pair's resolved label. `crowd_bt`: learn from every answer, and each annotator's
    reliability along with the reward; for annotators of whom some guess."""
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    """Differs from the protocol, whose 1e-4 is for an encoder that is trained as well. Chosen with an earlier network,
    which underfitted at 1e-4 from a few hundred pairs; not tuned again since."""
    weight_decay: Annotated[float, Field(ge=0)] = 1e-2
    """L2, as a Gaussian prior on the weights. Differs from the protocol, which has none. Chosen with an earlier
    network, not tuned again since."""
    slip: Annotated[float, Field(ge=0, lt=0.5)] = 0.1
    """Share of answers assumed to be slips; 0 = none. Crowd-BT learns its own. Differs from the protocol, which has
    none: without it one wrong answer on an obvious pair weighs more than many right ones."""
    quality_prior: bool = True
    """Learn a little from the pool's quality as well: up to 200 pairs two or more quartiles apart, in the order that
    the quality gives them, count as ten labels together; less, or not at all, the more often labels contradict it.
    No accuracy counts such pairs. Set it to false if the reward is to be compared with that same quality."""
    batch_pairs: Annotated[int, Field(ge=1)] = 64
    epochs: Annotated[int, Field(ge=1)] = 100
    patience: Annotated[int, Field(ge=1)] = 20
    """Stop looking for the best epoch after this many without improvement on what the folds leave out."""
    min_preferences: Annotated[int, Field(ge=5)] = 20
    """No model is trained on fewer. Differs from the protocol, which has no smallest sample: fewer leave three pairs
    to test on."""
    finetune: Finetune = Finetune()

    @model_serializer(mode="wrap")
    def _without_size(self, plain: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """A size that is not set is left out, so that models of before there was the setting keep their keys."""
        return {name: value for name, value in plain(self).items() if value or name != "image_size"}


class Active(Section):
    strategy: Literal["uniform", "smallest_difference", "closest", "disagreement", "bald", "d_optimal", "v_optimal"] = (
        "v_optimal"
    )
    """docs/active_learning.md explains the strategies; `scripts/bench/label_efficiency.py` compares them. Differs
    from the protocol, whose plain rule is `smallest_difference`, and within 0.5 standard deviations `closest`: where
    answers on close pairs are coin flips, these learn little."""
    pairs: Annotated[int, Field(ge=1)] = 50
    """Pairs per round; the protocol says 50-100."""
    bootstrap: Annotated[int, Field(ge=1)] = 50
    """Comparisons before the first active round, and pairs of the first batch (more, where `reward.min_preferences`
    asks for more). Differs from the protocol, which says 200-500 at random: rounds that start sooner save labels
    (docs/active_learning.md), and of pairs in strata some are gold. 200 is the protocol's plan."""
    plan_next_at: Annotated[float, Field(gt=0, le=1)] = 0.8
    """The next round is planned once this share of each batch before is answered (or half of it, if somebody at work
    would run out of pairs), so that nobody waits for the slowest; QC of what is answered has to pass first. Differs
    from the protocol, which waits for the last answer, as 1 does."""
    audit: Fraction = 0.1
    """Share of each round that is drawn uniformly: the unbiased test set. Differs from the protocol, which has none:
    accuracy on pairs chosen to be hard cannot show whether rounds help."""
    most_per_point: Annotated[int, Field(ge=0)] = 2000
    """Stop when one more point of accuracy takes more labelled pairs even at best, by the upper end of the learning
    curve's interval; 0 = never stop for that."""
    budget: Annotated[int, Field(ge=0)] = 0
    """Labelled pairs after which no further round is made; 0 = no limit."""
    within_sd: Annotated[float, Field(gt=0)] = 0.5
    """Of `closest`: candidates' rewards differ by less than this many standard deviations."""


class Service(Section):
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 9090
    """`robopref up` takes a free port, unless you set one other than 9090."""
    url: str = ""
    """Where Label Studio reaches the ML backend; `robopref push` connects it. Empty = not connected; `robopref up` sets
    its own."""
    public_url: str = ""
    """What links of invitations start with, if that is not `url`. Prefer ROBOPREF_SERVICE_PUBLIC_URL."""
    user: str = "robopref"
    password: HeaderSecret = SecretStr("")
    """Basic auth; prefer ROBOPREF_SERVICE_PASSWORD. Without it, reports, status and metrics stay closed once a webhook
    secret is set."""
    webhook_secret: HeaderSecret = SecretStr("")
    """Value of the X-Robopref-Secret header; prefer ROBOPREF_WEBHOOK_SECRET."""
    console_secret: HeaderSecret = SecretStr("")
    """Label Studio's plugin sends it with the name of the manager who uses the console; prefer ROBOPREF_CONSOLE_SECRET.
    If it is set, the password does not open the console."""

    @property
    def address(self) -> str:
        """For people: what links to it start with; empty where it has no address."""
        return (self.public_url or self.url).rstrip("/")

    @property
    def login(self) -> str:
        """What Label Studio's Basic auth carries: the password, or else the webhook secret; empty = nobody is asked."""
        return self.password.get_secret_value() or self.webhook_secret.get_secret_value()


class Release(Section):
    license: str = "Apache-2.0"
    """SPDX identifier."""
    authors: list[str] = []
    """Named in the citation."""
    pseudonyms: bool = True
    """Replace annotators' ids in the release."""
    units: dict[str, str] = {}
    """Units of actions and state by name, such as { hand_x = "m" }; INPUT_FORMAT.md lists them."""


class Config(Section):
    """Settings of a Robopref project."""

    name: str = "preferences"
    """Name of the dataset; part of the release's name."""
    work: Path = Path("work")
    """Folder for everything that Robopref writes, relative to robopref.toml."""
    database: SecretStr = SecretStr("")
    """Database URL (may contain a password); default: SQLite in the work folder."""
    seed: Annotated[int, Field(ge=0)] = 0
    salt: Annotated[int, Field(ge=0)] = 0
    """Secret number from which each annotator's order and sides and the codes on the clips are drawn. 0 = the project
    draws its own and keeps it in the database. Set it only to repeat a run exactly, as the demo does."""
    workers: Annotated[int, Field(ge=0)] = 0
    """Processes for work on trajectories; 0 = one per core."""
    logs: Literal["text", "json"] = "text"
    """Lines that the service and the worker log: `text` for people, or one `json` object each (ROBOPREF_LOGS)."""
    executor: Literal["processes", "ray"] = "processes"
    """Where that work runs: on this machine, or on a Ray cluster (`pip install "robopref[scale]"`; RAY_ADDRESS selects
    it)."""
    cluster: Cluster = Cluster()
    pool: Pool = Pool()
    clips: Clips = Clips()
    pairs: Pairs = Pairs()
    calibration: Calibration = Calibration()
    quality: Quality = Quality()
    annotators: Annotators = Annotators()
    label_studio: LabelStudio = LabelStudio()
    questions: Questions = Questions()
    reward: Reward = Reward()
    active: Active = Active()
    service: Service = Service()
    release: Release = Release()
    _file: Path = PrivateAttr(Path(CONFIG_NAME))
    _embedded: bool = PrivateAttr(False)

    @property
    def file(self) -> Path:
        """Where the settings were read from."""
        return self._file

    @property
    def embedded(self) -> bool:
        """Whether Label Studio is the one that `robopref up` runs, because the settings name no other."""
        return self._embedded


def is_server(url: str) -> bool:
    """Whether a database's URL names a server (PostgreSQL) and not a file (SQLite)."""
    return not url.startswith("sqlite")
