"""Releasing: the package for the policy team, and exports to other tools."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from preference.errors import ConfigError, needs
from preference.workspace import Workspace
from robopref import show
from robopref.app import DEFAULT, RELEASE, ConfigPath, Json, Stages, app
from robopref.init import write_config
from robopref.show_status import follow, then

if TYPE_CHECKING:
    from release.hub import Gate

release_app = typer.Typer(cls=Stages)
app.add_typer(release_app, name="release", rich_help_panel=RELEASE)


@release_app.callback(invoke_without_command=True)
def release(
    context: typer.Context,
    version: Annotated[str, typer.Option("--version", help="Semantic version, such as 1.2.0.")] = "",
    config: ConfigPath = DEFAULT,
    json: Json = False,
) -> None:
    """Package preferences, manifest, reward model, inference script, card and notebook."""
    if context.invoked_subcommand is not None:
        return
    from release import build_release

    if not version:
        raise typer.BadParameter("required, for instance 1.2.0", param_hint="--version")
    made = build_release(Workspace.open(config), version)
    show.record(made, json)
    then(f"robopref release verify {made.archive}", "On the policy team's machine, before they unpack it.", json)


@release_app.command("verify")
def release_verify(
    path: Annotated[Path, typer.Argument(help="A release's folder or its .tar.gz.")], json: Json = False
) -> None:
    """Compare every file of a release with its checksum, on any machine. Exit code 1 if something differs.

    Archives are not unpacked. Example: `robopref release verify robopref-drawers-1.2.0.tar.gz`
    """
    from release import verify_release

    show.verified(verify_release(path), json)
    where = "Unpack it first; its README.md" if path.is_file() else f"README.md in {path}"
    then("python inference.py --lerobot DATASET --all", f"{where} says more.", json)


@release_app.command("push")
def release_push(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="An unpacked release.")],
    dataset: Annotated[str, typer.Option(help="Repository for the whole release, OWNER/NAME.")] = "",
    model: Annotated[str, typer.Option(help="Repository for the reward model, OWNER/NAME.")] = "",
    public: Annotated[bool, typer.Option("--public", help="Readable by everybody; default: private.")] = False,
    gated: Annotated[str, typer.Option(help="`auto` or `manual`: people ask for access first.")] = "",
    json: Json = False,
) -> None:
    """Push a release to repositories of the Hugging Face hub; private unless you say otherwise.

    The folder is verified first. Each repository gets the version in one commit, all or nothing, and a tag. Run it
    again after a failure: what was sent is kept. A version that was pushed is never replaced. The token is that of
    `hf auth login`, or HF_TOKEN.

    Example: `robopref release push robopref-drawers-1.2.0 --dataset lab/drawers --model lab/drawers-reward`
    """
    from release.hub import push_release

    if gated not in ("", "auto", "manual"):
        raise typer.BadParameter(f"expected auto or manual, found {gated!r}", param_hint="--gated")
    needs("huggingface_hub")
    gate = cast("Gate", gated)
    show.record(push_release(folder, dataset=dataset, model=model, private=not public, gated=gate), json)


@app.command(rich_help_panel=RELEASE)
def adopt(
    release: Annotated[Path, typer.Argument(metavar="RELEASE", help="The folder of an unpacked release.")],
    dataset: Annotated[str, typer.Option(help="Your own episodes of the same robot: a folder or an HDF5 file.")] = "",
    config: ConfigPath = DEFAULT,
    json: Json = False,
) -> None:
    """Continue somebody else's release: begin a project with its labels, features and model.

    Writes robopref.toml, where there is none, with the release's settings, and fills the empty work folder. Your own
    pairs and answers are added as in any project; the next training uses both, the release's test pairs stay test
    pairs, and the next release is compared with this one. Run it again after a failure.

    Example: `robopref adopt robopref-drawers-1.0.0 --dataset ../datasets/our_drawers`
    """
    from importer.pool.inspect import dataset_at, inspect
    from release import adopt as adoption

    received = adoption.open_release(release)
    own = inspect(dataset_at(Path(dataset))) if dataset else None
    if own is not None:
        adoption.check_dataset(received, own.dataset)
    if not config.exists():
        write_config(config, own.toml if own else "", received.config)
    ws = Workspace.open(config)
    if own is not None and own.dataset.path not in [one.path for one in ws.config.pool.dataset]:
        fix = "Add the lines that `robopref pool inspect` prints."
        raise ConfigError(f"{config} exists and does not name the dataset {own.dataset.path}.", fix=fix)
    show.record(adoption.adopt(ws, received), json)
    follow(ws, json)


export_app = typer.Typer(
    cls=Stages, no_args_is_help=True, help="Export rewards and preferences to the formats of other tools."
)
app.add_typer(export_app, name="export", rich_help_panel=RELEASE)


@export_app.command("lerobot")
def export_lerobot(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder that does not exist yet.")],
    dataset: Annotated[str, typer.Option(help="Its name in robopref.toml, if the pool has several.")] = "",
    column: Annotated[str, typer.Option(help="Name of the reward column.")] = "reward",
    copy: Annotated[bool, typer.Option("--copy", help="Copy the videos instead of hard-linking them.")] = False,
    best: Annotated[
        float | None, typer.Option(help="A share, such as 0.3: mark the best 30 % of each task to learn from.")
    ] = None,
    next_reward: Annotated[
        bool, typer.Option("--next-reward", help="Also fill next.reward; its own becomes next.reward_source.")
    ] = False,
    config: ConfigPath = DEFAULT,
    json: Json = False,
) -> None:
    """Write a LeRobot dataset of the pool with the model's rewards, as the lerobot package loads it.

    Each row gets `reward`, its episode's reward; `reward_step`, the row's part of it, and `reward_so_far`, their sum up
    to that row; `reward_progress` and `reward_success` in 0 to 1, if the model could learn them; with --best also
    `reward_weight`, 1 for the best episodes of each task and 0 for the others. The source dataset is not changed.

    Example: `robopref export lerobot ../datasets/kitchen_rewarded`
    """
    from release.lerobot import export_lerobot as export

    ws = Workspace.open(config)
    made = export(ws, folder, dataset=dataset, column=column, copy=copy, best=best, next_reward=next_reward)
    show.record(made, json)
    follow(ws, json)


@export_app.command("dpo")
def export_dpo(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Such as pairs.jsonl; replaced if it exists.")],
    config: ConfigPath = DEFAULT,
    json: Json = False,
) -> None:
    """Write chosen and rejected trajectories as JSON Lines, for preference-optimization trainers.

    Ties are left out and counted. Each line has prompt, chosen and rejected, the model's margin, the annotators'
    confidence, the split, and the location of both episodes.

    Example: `robopref export dpo pairs.jsonl`
    """
    from release.preferences import export_dpo as export

    ws = Workspace.open(config)
    show.record(export(ws, file), json)
    follow(ws, json)


@export_app.command("participants")
def export_participants(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Such as participants.csv; replaced if it exists.")],
    config: ConfigPath = DEFAULT,
    json: Json = False,
) -> None:
    """Write what each participant from outside did, with completion codes, as CSV.

    Example: `robopref export participants participants.csv`
    """
    from importer.studio.participants import export_participants as export

    ws = Workspace.open(config)
    count = export(ws, file)
    show.print_json({"file": str(file), "participants": count}) if json else show.say(f"{count} people in {file}.")
    follow(ws, json)
