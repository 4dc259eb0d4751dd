"""robopref.toml: everything that a run depends on, typed, with the protocol's numbers as defaults.

The only place that reads environment variables: secrets and addresses that differ between machines come from there
and win over the file.
"""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator, model_validator

from preference.errors import ConfigError

CONFIG_NAME = "robopref.toml"
Fraction = Annotated[float, Field(ge=0, le=1)]


class Section(BaseModel):
    """A table of robopref.toml; a key that it does not know is an error, not silently ignored."""

    model_config = ConfigDict(extra="forbid", validate_default=True)


class Columns(Section):
    """Where a dataset keeps what a pool needs; `robopref pool inspect` shows what there is and what is found by itself.

    One number of a wider column is `column[3]`, or its own name where it has one.
    """

    camera: str = ""
    """The primary camera; default: the first."""
    action: str = ""
    state: list[str] = []
    """What the reward model sees of the robot besides the frames."""
    effector: list[str] = []
    """Position of the end effector: one column that begins with x, y and z, or three numbers."""
    gripper: str = ""
    """`none` = there is none that should be used."""
    gripper_range: list[float] = []
    """Its value when open and when closed; default: [0, 1]."""
    force: str = ""
    """Contact force in N; of a vector (or a wrench) the first three numbers count."""
    success: str = ""
    """Per row or per episode."""
    source: str = ""
    """Per episode."""
    quality: str = ""
    """Per episode: a ground-truth quality of your own; default: Robopref's score."""

    @field_validator("gripper_range")
    @classmethod
    def _two_different(cls, value: list[float]) -> list[float]:
        if value and (len(value) != 2 or value[0] == value[1]):
            raise ValueError("expected two different numbers: open, closed")
        return value


class Dataset(Section):
    """One dataset of the pool."""

    path: Path
    """A folder, or an HDF5 file; relative paths start at robopref.toml."""
    name: str = ""
    """Default: the name of the folder or file. Part of every trajectory_id, so keep it stable."""
    format: Literal["auto", "lerobot_v2", "lerobot_v3", "robomimic", "robosuite", "folder"] = "auto"
    source: str = ""
    """Who made these episodes, where the data do not say."""
    success: bool | None = None
    """Whether these episodes succeeded, where the data do not say."""
    task_type: str = ""
    """Default: what the data say."""
    environment_id: str = ""
    fps: Annotated[float, Field(ge=0)] = 0.0
    """Rows per second, where the data do not say."""
    sidecar: str = ""
    """A CSV file with a column `episode` (number or name) and any of source, success, task_type, environment_id,
    quality, return. It wins over the data."""
    columns: Columns = Columns()


class Pool(Section):
    dataset: list[Dataset] = []
    expert_share: Fraction = 0.2
    """Share of the demonstrations that makes the expert tier."""
    demonstrations: list[str] = ["expert", "novice", "scripted"]
    """Sources that count as demonstrations."""


class Clips(Section):
    size: Annotated[int, Field(ge=64, multiple_of=2)] = 480
    fps: Annotated[int, Field(ge=1, le=60)] = 15
    crf: Annotated[int, Field(ge=0, le=51)] = 23
    before_s: Annotated[float, Field(ge=0)] = 1.0
    """Kept before the first non-trivial action."""
    after_s: Annotated[float, Field(ge=0)] = 2.0
    """Kept after completion or time-out."""
    freeze_s: Annotated[float, Field(ge=0)] = 2.0
    """The last frame stands still for so long."""


class Strata(Section):
    adjacent: Fraction = 0.4
    same: Fraction = 0.3
    distant: Fraction = 0.3

    @model_validator(mode="after")
    def _whole(self) -> Strata:
        if abs((total := self.adjacent + self.same + self.distant) - 1.0) > 1e-6:
            raise ValueError(f"adjacent, same and distant must sum to 1, found {total:g}")
        return self


class Pairs(Section):
    batch: Annotated[int, Field(ge=1)] = 200
    """Pairs in a batch; the protocol says 200-500."""
    strata: Strata = Strata()
    duplicates: Fraction = 0.07
    """Share of each annotator's pairs shown again with the sides swapped; 5-10 %."""
    duplicate_distance: Annotated[int, Field(ge=1)] = 20
    """At least so many tasks between a pair and its duplicate."""
    overlap: Annotated[int, Field(ge=1)] = 2
    """Annotators per pair; 3 for high stakes."""
    question: str = "Which robot did the task better?"


class Calibration(Section):
    pairs: Annotated[int, Field(ge=4)] = 40
    """Pairs in each of the two sets; the protocol says 30-50."""
    training_pairs: Annotated[int, Field(ge=0)] = 10
    """Pairs that annotators learn from before the test: they answer, and then see the expert's answer and reasoning."""
    min_kappa: float = 0.65


Resolution = Literal["vote", "dawid_skene", "weighted_bt"]


class Quality(Section):
    min_alpha: float = 0.55
    max_gold_disagreement: Fraction = 0.2
    min_response_s: float = 3.0
    min_self_consistency: Fraction = 0.8
    min_majority_agreement: Fraction = 0.6
    min_answers: Annotated[int, Field(ge=1)] = 10
    """No flag from fewer answers of the kind it looks at."""
    bootstrap: Annotated[int, Field(ge=0)] = 1000
    """Draws for each interval."""
    resolution: Resolution = "vote"
    """How votes become a label. `vote`: the majority. `dawid_skene`: the most probable answer given what each annotator
    mixes up. `weighted_bt`: Bradley-Terry over all votes, each weighted by its annotator's agreement with the others.
    Reports say where they differ."""


Teacher = Literal["expert", "good", "oracle", "mistake", "noisy", "skip", "myopic", "equal", "careless", "left_biased"]


class SimulatedAnnotator(Section):
    """An annotator played by Robopref: a B-Pref teacher over the simulator's return."""

    id: str
    teacher: Teacher = "good"


class Annotators(Section):
    expert: str = "expert"
    """E-mail address, or simulated id, of the person whose calibration answers are the truth."""
    people: list[str] = []
    """E-mail addresses."""
    simulated: list[SimulatedAnnotator] = []
    email_domain: str = "annotators.example"
    """Simulated annotators sign in as id@email_domain."""


class S3(Section):
    """An S3-compatible store for the clips; `push` uploads them, Label Studio hands out presigned links."""

    bucket: str = ""
    prefix: str = "clips"
    """Folder in the bucket; a name of its own for each project that shares it."""
    endpoint: str = ""
    """Address of a service that is not AWS."""
    region: str = ""
    access_key: SecretStr = SecretStr("")
    """Better in ROBOPREF_S3_ACCESS_KEY. Label Studio keeps both keys, to sign links with."""
    secret_key: SecretStr = SecretStr("")
    """Better in ROBOPREF_S3_SECRET_KEY."""
    link_minutes: Annotated[int, Field(ge=1)] = 60
    """How long a link to a clip is good for."""


class LabelStudio(Section):
    url: str = "http://127.0.0.1:8080"
    token: SecretStr = SecretStr("")
    """Legacy token or personal access token; better in ROBOPREF_LABEL_STUDIO_TOKEN."""
    clips: Literal["local", "s3", "url"] = "local"
    """How a browser gets the clips: Label Studio's `local` file serving, `s3`, or a web server (`url`)."""
    clips_url: str = ""
    """With `url`: where the web server has the files of work/clips, such as https://example.org/clips."""
    s3: S3 = S3()
    document_root: str = ""
    """Folder whose files Label Studio may serve (LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT); default: the work folder."""
    guidelines: str = "/robopref/guidelines"
    """Where the screen's link to the guidelines leads: the plugin's page, or on a server without it one of yours."""
    watch_to_end: bool = True
    """Take an answer only once both clips were seen to their end; said to each project when it is made."""
    request_timeout_s: float = 30.0

    @model_validator(mode="after")
    def _reachable(self) -> LabelStudio:
        if not self.guidelines.startswith(("http://", "https://", "/")):
            raise ValueError(f"guidelines: expected an address (http://, https:// or /), found {self.guidelines!r}")
        if self.clips == "url" and not self.clips_url.startswith(("http://", "https://", "/")):
            raise ValueError(f'clips = "url" needs clips_url, an address; found {self.clips_url!r}')
        if self.clips == "s3" and not self.s3.bucket:
            raise ValueError('clips = "s3" needs s3.bucket')
        return self


class Reward(Section):
    encoder: str = "resnet18"
    weights: str = "imagenet"
    """`imagenet`, `none` (a fixed random network), or a local file; where ImageNet weights cannot be had,
    the run says so and goes on with `none`."""
    inputs: list[Literal["frames", "actions", "state"]] = ["frames", "actions", "state"]
    sample_fps: Annotated[float, Field(gt=0)] = 5.0
    """Frames per second that the model looks at."""
    max_frames: Annotated[int, Field(ge=2)] = 64
    temporal: Literal["mean", "conv1d", "transformer"] = "conv1d"
    hidden: Annotated[int, Field(ge=1)] = 64
    members: Annotated[int, Field(ge=1)] = 5
    """Size of the ensemble."""
    ties: Literal["soft", "davidson", "margin", "drop"] = "soft"
    margin: float = 0.3
    reliability: Literal["vote", "crowd_bt"] = "vote"
    """`vote`: each pair's resolved label. `crowd_bt`: every single answer, with each annotator's reliability learned
    beside the reward; for annotators of whom some guess."""
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    """The protocol's 1e-4 is for an encoder that is trained as well. On a frozen one, with a few hundred pairs, it is
    still underfitted after 100 epochs: 0.82 on test pairs of the sample pool against 0.87, means of six seeds."""
    weight_decay: Annotated[float, Field(ge=0)] = 1e-2
    """L2, as a Gaussian prior on the weights. With `slip`, 0.89 became 0.91 on held-out pairs of 500 Meta-World
    episodes with 1,000 noisy labels; means of four seeds that the benchmark does not use."""
    slip: Annotated[float, Field(ge=0, lt=0.5)] = 0.1
    """Share of answers that are taken to be a slip of the hand; 0 = none. Crowd-BT learns its own."""
    batch_pairs: Annotated[int, Field(ge=1)] = 64
    epochs: Annotated[int, Field(ge=1)] = 100
    patience: Annotated[int, Field(ge=1)] = 20
    min_preferences: Annotated[int, Field(ge=5)] = 20


class Active(Section):
    strategy: Literal["uniform", "closest", "disagreement", "bald", "d_optimal"] = "d_optimal"
    """`scripts/bench/label_efficiency.py` compares them; docs/active_learning.md has the rules and the figures."""
    pairs: Annotated[int, Field(ge=1)] = 50
    """Pairs a round; the protocol says 50-100."""
    bootstrap: Annotated[int, Field(ge=1)] = 200
    """Stratified comparisons before the first active round; the protocol says 200-500."""
    audit: Fraction = 0.1
    """Share of each round drawn uniformly: the unbiased test set."""
    most_per_point: Annotated[int, Field(ge=0)] = 2000
    """No further round where the learning curve says that one more point of accuracy takes more comparisons; 0 = ask
    on."""
    within_sd: float = 0.5
    """`closest` takes candidates whose rewards differ by less than so many standard deviations."""


class Service(Section):
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 9090
    url: str = ""
    """Where Label Studio reaches the ML backend; `robopref push` connects it. Empty = not connected."""
    user: str = "robopref"
    password: SecretStr = SecretStr("")
    """Basic auth; better in ROBOPREF_SERVICE_PASSWORD."""
    webhook_secret: SecretStr = SecretStr("")
    """Value of the X-Robopref-Secret header; better in ROBOPREF_WEBHOOK_SECRET."""


class Release(Section):
    license: str = "Apache-2.0"
    """SPDX identifier."""
    authors: list[str] = []
    """Whom to cite."""
    pseudonyms: bool = True
    """Annotators' ids are replaced in what is released."""
    units: dict[str, str] = {}
    """Units of the numbers in actions and state by their names, such as { hand_x = "m" }: INPUT_FORMAT.md says them."""


class Config(Section):
    name: str = "preferences"
    """Name of the dataset: part of the release's name."""
    work: Path = Path("work")
    """Everything that Robopref writes; relative paths start at robopref.toml."""
    database: SecretStr = SecretStr("")
    """Database URL (it may hold a password); default: SQLite in the work folder."""
    seed: int = 0
    workers: Annotated[int, Field(ge=0)] = 0
    """Processes for work on trajectories; 0 = one per core."""
    executor: Literal["processes", "ray"] = "processes"
    """Where that work runs: here, or on a Ray cluster (`pip install robopref[scale]`; RAY_ADDRESS says which)."""
    pool: Pool = Pool()
    clips: Clips = Clips()
    pairs: Pairs = Pairs()
    calibration: Calibration = Calibration()
    quality: Quality = Quality()
    annotators: Annotators = Annotators()
    label_studio: LabelStudio = LabelStudio()
    reward: Reward = Reward()
    active: Active = Active()
    service: Service = Service()
    release: Release = Release()


ENVIRONMENT: dict[str, tuple[str, ...]] = {
    "ROBOPREF_DATABASE_URL": ("database",),
    "ROBOPREF_LABEL_STUDIO_URL": ("label_studio", "url"),
    "ROBOPREF_LABEL_STUDIO_TOKEN": ("label_studio", "token"),
    "ROBOPREF_S3_ACCESS_KEY": ("label_studio", "s3", "access_key"),
    "ROBOPREF_S3_SECRET_KEY": ("label_studio", "s3", "secret_key"),
    "ROBOPREF_SERVICE_HOST": ("service", "host"),
    "ROBOPREF_SERVICE_URL": ("service", "url"),
    "ROBOPREF_SERVICE_PASSWORD": ("service", "password"),
    "ROBOPREF_WEBHOOK_SECRET": ("service", "webhook_secret"),
    "ROBOPREF_WORK": ("work",),
}
"""Variable → the field it sets. compose.yaml and the README name the same ones; a test compares them."""


def load_config(path: Path) -> Config:
    """Read, complete and check `path`; relative paths in it become absolute.

    Raises:
        ConfigError: the file is missing, is not TOML, or holds a wrong field; every wrong field is named.
    """
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(
            f"{path} does not exist.", fix="Run `robopref init` here, or name the file with --config."
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML: {error}.") from None
    for variable, keys in ENVIRONMENT.items():
        if value := os.environ.get(variable):
            table = raw
            for key in keys[:-1]:
                table = table.setdefault(key, {})
            table[keys[-1]] = value
    try:
        config = Config.model_validate(raw)
    except ValidationError as error:
        raise ConfigError(f"{path}: {_describe(error)}") from None
    return _with_absolute_paths(config, path.resolve().parent)


def _describe(error: ValidationError) -> str:
    lines = []
    for item in error.errors():
        place = ".".join(str(part) for part in item["loc"])
        secret = place.endswith(("token", "password", "secret", "database"))
        found = "" if secret or item["type"] == "missing" else f", found {item['input']!r}"
        lines.append(f"{place}: {item['msg']}{found}")
    return "; ".join(lines) + "."


def _with_absolute_paths(config: Config, base: Path) -> Config:
    config.work = (base / config.work.expanduser()).resolve()
    for dataset in config.pool.dataset:
        dataset.path = (base / dataset.path.expanduser()).resolve()
        dataset.name = dataset.name or default_name(dataset.path)
        if dataset.sidecar:
            dataset.sidecar = str((base / Path(dataset.sidecar).expanduser()).resolve())
    names = [dataset.name for dataset in config.pool.dataset]
    if doubled := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigError(
            f"pool.dataset: the name {doubled[0]!r} is used twice.",
            fix="Give each dataset a `name` of its own.",
        )
    return config


def default_name(path: Path) -> str:
    """The folder's or file's name; in the Hugging Face cache, where folders are called by a hash, the repository's."""
    if path.parent.name == "snapshots":
        return path.parent.parent.name.rpartition("--")[2]
    return path.stem if path.suffix in (".hdf5", ".h5") else path.name
