"""The command line: one command per stage, in the order the data flows.

Every command opens the workspace that robopref.toml describes, calls one public function and shows its result: as a
line or two for a person, or with `--json` as one JSON object on stdout for a script.

Exit codes: 0 done · 1 a mistake or some items failed · 2 wrong usage or configuration · 3 an earlier stage has to run
first · 130 interrupted.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from typer.core import TyperGroup

from preference.config import CONFIG_NAME
from preference.errors import UserError
from preference.work import console
from preference.workspace import Workspace
from robopref import show


class Stages(TyperGroup):
    """A person's mistakes become one clear message, Ctrl-C a calm one; bugs keep their traceback."""

    def invoke(self, ctx: typer.Context) -> object:  # pyright: ignore[reportIncompatibleMethodOverride]
        try:
            return super().invoke(ctx)
        except UserError as error:
            console.print(f"[bold red]robopref:[/] {escape(error.message)}", highlight=False, soft_wrap=True)
            if error.fix:
                console.print(escape(error.fix), highlight=False, soft_wrap=True)
            raise typer.Exit(error.exit_code) from None
        except KeyboardInterrupt:
            console.print("\nStopped. What was finished is kept; the same command goes on from here.")
            raise typer.Exit(130) from None


app = typer.Typer(
    cls=Stages,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Human preferences over robot trajectories, asked and checked inside Label Studio, "
    "and the reward model learned from them.\n\n"
    "See the whole loop first: `robopref demo`. Start a project of your own: `robopref init`.",
)


ConfigPath = Annotated[Path, typer.Option("--config", "-c", help="The project's settings.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object on stdout.")]
DEFAULT = Path(CONFIG_NAME)

SETUP, ASK, CHECK, LEARN, RUN = "Pool and clips", "Asking", "Checking", "Learning", "Running"


@app.command(rich_help_panel=SETUP)
def init(
    dataset: Annotated[Path | None, typer.Argument(help="A dataset to start with.")] = None,
    config: ConfigPath = DEFAULT,
) -> None:
    """Write a robopref.toml here, with every setting explained.

    Example: `robopref init ../datasets/my_lerobot_dataset`
    """
    from robopref.init import write_config

    path = write_config(config, dataset)
    console.print(f"Wrote {path}. Next: look through it, then `robopref pool`.")


pool_app = typer.Typer(cls=Stages)
app.add_typer(pool_app, name="pool", rich_help_panel=SETUP)


@pool_app.callback(invoke_without_command=True)
def pool(
    context: typer.Context,
    config: ConfigPath = DEFAULT,
    json: Json = False,
) -> None:
    """Read the datasets, measure every episode, and write manifest.csv.

    A dataset is a LeRobot folder (v2.0, v2.1, v3.0), a robomimic or robosuite HDF5 file, or a plain folder with one
    folder per episode. What is in one, and what is made of it, shows `robopref pool inspect PATH`.
    """
    from importer import stages

    if context.invoked_subcommand is None:
        show.pool(stages.pool(Workspace.open(config)), json)


@pool_app.command()
def inspect(
    path: Annotated[Path, typer.Argument(help="A dataset: a folder, or an HDF5 file.")],
    json: Json = False,
) -> None:
    """Show what a dataset has, what was guessed, and the lines for robopref.toml; writes nothing.

    Example: `robopref pool inspect ../datasets/kitchen >> robopref.toml`
    """
    from importer.pool import inspect as inspection

    show.inspection(inspection.inspect(inspection.dataset_at(path)), json)


@app.command(rich_help_panel=SETUP)
def clips(
    config: ConfigPath = DEFAULT,
    json: Json = False,
) -> None:
    """Render one standardized clip per trajectory; finished ones are kept."""
    from importer import stages

    show.clips(stages.clips(Workspace.open(config)), json)


@app.command(rich_help_panel=ASK)
def pairs(
    plan: Annotated[bool, typer.Option("--plan", help="Only say what it would ask of whom; nothing is made.")] = False,
    fill: Annotated[
        bool, typer.Option("--fill", help="Take what a stratum lacks from the nearest one that has it.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Open a batch although the one before is not accepted; recorded.")
    ] = False,
    config: ConfigPath = DEFAULT,
    json: Json = False,
) -> None:
    """Make the next batch: stratified pairs, gold items, duplicates, and who gets which.

    Production pairs go to certified annotators only: `robopref calibration build` comes first.
    """
    from importer import batches

    ws = Workspace.open(config)
    if plan:
        show.draft(batches.draft(ws, fill=fill), json)
        return
    batches.add_annotators(ws)
    show.batches(ws, [batches.next_batch(ws, force=force, fill=fill)], json)


calibration_app = typer.Typer(cls=Stages, no_args_is_help=True, help="What annotators learn from and are tested on.")
app.add_typer(calibration_app, name="calibration", rich_help_panel=ASK)


@calibration_app.command("build")
def calibration_build(
    config: ConfigPath = DEFAULT,
    json: Json = False,
) -> None:
    """Propose a training set and two test sets, and give them to whom they are due.

    The expert gets all three first. Run it again when the expert has answered the training set: then every annotator
    gets the training set, which shows the expert's answer and reasoning after their own, and the first test set.
    """
    from importer import batches, calibrate

    ws = Workspace.open(config)
    batches.add_annotators(ws)
    made = calibrate.build(ws)
    show.batches(ws, made, json)
    if (waiting := calibrate.waiting_for_expert(ws)) and not json:
        show.say(f"Now `robopref push`. The expert answers {waiting} training pairs; then run this again.")


@app.command(rich_help_panel=ASK)
def push(
    repair: Annotated[
        bool, typer.Option("--repair", help="Make again what was deleted in Label Studio and is not answered yet.")
    ] = False,
    config: ConfigPath = DEFAULT,
    json: Json = False,
) -> None:
    """Bring everything planned into Label Studio: users, projects, tasks."""
    from importer import studio_stages

    show.record(studio_stages.push(Workspace.open(config), repair=repair), json)


@app.command(rich_help_panel=ASK)
def pull(
    config: ConfigPath = DEFAULT,
    json: Json = False,
) -> None:
    """Fetch the answers; what the webhook already brought is not fetched twice."""
    from importer import studio_stages

    show.record(studio_stages.pull(Workspace.open(config)), json)


@app.command(rich_help_panel=ASK)
def simulate(
    batch: Annotated[str, typer.Option(help="Only this batch; default: all open tasks.")] = "",
    config: ConfigPath = DEFAULT,
    json: Json = False,
) -> None:
    """Let the simulated annotators of robopref.toml answer their open tasks, through Label Studio's API."""
    from importer.simulate import simulate as run

    show.record(run(Workspace.open(config), batch or None), json)


certify_app = typer.Typer(cls=Stages)
app.add_typer(certify_app, name="certify", rich_help_panel=CHECK)
Person = Annotated[str, typer.Argument(help="The annotator's id.")]
By = Annotated[str, typer.Option("--by", help="Who decides; recorded.")]
Why = Annotated[str, typer.Option("--why", help="The reason; recorded.")]


@certify_app.callback(invoke_without_command=True)
def certify(
    context: typer.Context,
    batch: Annotated[str, typer.Option(help="The calibration set.")] = "calibration-1",
    retest: Annotated[bool, typer.Option("--retest", help="Give the second set to those who failed.")] = False,
    config: ConfigPath = DEFAULT,
    json: Json = False,
) -> None:
    """Compare each annotator with the expert: Cohen's kappa, who may go on, and what the others have to learn."""
    from importer import calibrate
    from qc_reports import certificates

    if context.invoked_subcommand is not None:
        return
    ws = Workspace.open(config)
    results = certificates.certify(ws, batch)
    if retest and (failed := [r.annotator_id for r in results if not r.certified]):
        calibrate.retest(ws, failed)
    show.certifications(results, json)


@certify_app.command("list")
def certify_list(config: ConfigPath = DEFAULT, json: Json = False) -> None:
    """Show every attempt: its set, its date, the template, what a manager decided."""
    show.certificates(Workspace.open(config).store.certifications(), json)


@certify_app.command("allow")
def certify_allow(annotator: Person, by: By = "", why: Why = "", config: ConfigPath = DEFAULT) -> None:
    """Let somebody who failed twice try once more, on a new set; who allowed it and why is recorded.

    Example: `robopref certify allow bob --by maria --why "was ill during the second session"`
    """
    from importer import calibrate
    from qc_reports import certificates

    ws = Workspace.open(config)
    attempt = certificates.allow_attempt(ws, annotator, by=by, why=why)
    calibrate.further_set(ws, annotator, attempt.attempt)
    show.say(f"{annotator} may try {attempt.batch_id}. Now `robopref push`; the expert answers it first.")


@certify_app.command("revoke")
def certify_revoke(annotator: Person, by: By = "", why: Why = "", config: ConfigPath = DEFAULT) -> None:
    """Take a certificate back: no further pairs for this annotator. Answers given so far stay.

    Example: `robopref certify revoke bob --by maria --why "copied answers in production-002"`
    """
    from qc_reports import certificates

    record = certificates.revoke(Workspace.open(config), annotator, by=by, why=why)
    show.say(f"{annotator} is no longer certified ({record.revoked}).")


@app.command(rich_help_panel=CHECK)
def qc(
    batch: Annotated[str, typer.Option(help="Default: the newest batch.")] = "",
    accept: Annotated[
        bool, typer.Option("--accept", help="Accept the batch whatever the gate says; recorded.")
    ] = False,
    judgments: Annotated[
        Path | None, typer.Option("--judgments", help="Check this CSV file instead; no project is needed.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="With --judgments: folder for the report.")] = None,
    config: ConfigPath = DEFAULT,
    json: Json = False,
) -> None:
    """Check a batch: agreement, gold items, speed, self-consistency; write its report and pass or hold it.

    A file of judgments from elsewhere needs the columns pair_id, annotator_id and preference (A, B, equal); used when
    there: confidence, response_time_ms, gold, duplicate_of, left, created_at, stratum, task_type.

    Example: `robopref qc --judgments judgments.csv --out report`
    """
    from qc_reports import stages

    if judgments is not None:
        show.judgments_file(judgments, config, out, json)
        return
    ws = Workspace.open(config)
    batch_id = batch or show.newest_batch(ws)
    report = stages.accept(ws, batch_id) if accept else stages.qc(ws, batch_id)
    show.quality(ws, report, json)


@app.command(rich_help_panel=CHECK)
def resolve(
    config: ConfigPath = DEFAULT,
    json: Json = False,
) -> None:
    """Turn the answers into one label per pair; where two annotators differ a third is asked."""
    from ml_backend.rounds import settle

    show.preferences(settle(Workspace.open(config)), json)


@app.command(rich_help_panel=LEARN)
def train(
    finetune: Annotated[bool, typer.Option("--finetune", help="Train the encoder too, end to end; for a GPU.")] = False,
    epochs: Annotated[int, typer.Option("--finetune-epochs", min=1, help="Epochs of that.")] = 10,
    config: ConfigPath = DEFAULT,
    json: Json = False,
) -> None:
    """Train the reward model on the resolved preferences and validate it.

    With --finetune the encoder is first trained on the training pairs, in bfloat16 on a GPU; the model is then trained
    on its features. On several GPUs: torchrun --nproc-per-node 4 -m robopref train --finetune
    """
    from ml_backend import stages

    ws: Workspace | None = Workspace.open(config)
    if finetune:
        from ml_backend.finetune_stage import finetuned

        ws = finetuned(ws, epochs=epochs)
    if ws is not None:  # only the first of torchrun's processes goes on
        show.record(stages.train(ws), json)


@app.command(rich_help_panel=LEARN)
def validate(
    model: Annotated[str, typer.Option("--model", help="A version, such as rm-0002; default: the active one.")] = "",
    propose_pairs: Annotated[
        int,
        typer.Option("--propose-pairs", min=0, help="Where a probe fires, so many pairs to ask."),
    ] = 0,
    config: ConfigPath = DEFAULT,
    json: Json = False,
) -> None:
    """Say whether the reward model can be trusted: accuracy, calibration, tiers, hacking probes, learning curve, and
    the best and worst trajectories as filmstrips, in validation.json and one HTML page beside the model.

    Proposed pairs go into proposed_pairs.csv; scripts/import_pairs.py asks about them.
    """
    from ml_backend.validation import validate_model

    show.record(validate_model(Workspace.open(config), model, propose=propose_pairs), json)


@app.command(rich_help_panel=LEARN)
def rank(
    count: Annotated[int, typer.Option(help="How many pairs.")] = 50,
    strategy: Annotated[str, typer.Option(help="Default: active.strategy of robopref.toml.")] = "",
    config: ConfigPath = DEFAULT,
    json: Json = False,
) -> None:
    """List the pairs that are most worth asking next."""
    from ml_backend import stages

    show.ranking(stages.rank(Workspace.open(config), count, strategy or None), json)


models_app = typer.Typer(cls=Stages)
app.add_typer(models_app, name="models", rich_help_panel=LEARN)


@models_app.callback(invoke_without_command=True)
def models(context: typer.Context, config: ConfigPath = DEFAULT, json: Json = False) -> None:
    """List the reward models: pairs, accuracy, which is in use, and why one was kept back."""
    if context.invoked_subcommand is None:
        show.models(Workspace.open(config).store.model_versions(), json)


@models_app.command("promote")
def models_promote(
    version: Annotated[str, typer.Argument(help="Such as rm-0002.")], config: ConfigPath = DEFAULT
) -> None:
    """Use this model from now on: for ranking, for the order of open tasks, and in the next release."""
    from ml_backend.models import promote

    show.say(f"{promote(Workspace.open(config), version).version} is in use.")


@models_app.command("rollback")
def models_rollback(config: ConfigPath = DEFAULT) -> None:
    """Go back to the model before the one in use."""
    from ml_backend.models import roll_back

    show.say(f"{roll_back(Workspace.open(config)).version} is in use.")


@app.command(name="round", rich_help_panel=LEARN)
def active_round(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be asked, ask nothing.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Although a batch is unfinished or held.")] = False,
    config: ConfigPath = DEFAULT,
    json: Json = False,
) -> None:
    """One active-learning round: QC gate, train, rank, assign, push."""
    from ml_backend.rounds import run_round

    show.record(run_round(Workspace.open(config), dry_run=dry_run, force=force), json)


release_app = typer.Typer(cls=Stages)
app.add_typer(release_app, name="release", rich_help_panel=LEARN)


@release_app.callback(invoke_without_command=True)
def release(
    context: typer.Context,
    version: Annotated[str, typer.Option("--version", help="Semantic version, such as 1.2.0.")] = "",
    config: ConfigPath = DEFAULT,
    json: Json = False,
) -> None:
    """Package preferences, manifest, reward model, inference script, card and notebook."""
    from ml_backend.release import release as build

    if context.invoked_subcommand is not None:
        return
    if not version:
        raise typer.BadParameter("say which, for instance 1.2.0", param_hint="--version")
    show.record(build(Workspace.open(config), version), json)


@release_app.command("verify")
def release_verify(
    path: Annotated[Path, typer.Argument(help="A release's folder or its .tar.gz.")], json: Json = False
) -> None:
    """Compare every byte of a release with its checksums, on any machine; exit code 1 where something differs.

    Nothing of an archive is unpacked. Example: `robopref release verify robopref-drawers-1.2.0.tar.gz`
    """
    from ml_backend.release.verify import verify_release

    show.verified(verify_release(path), json)


@app.command(rich_help_panel=RUN)
def serve(config: ConfigPath = DEFAULT) -> None:
    """Run the ML backend that Label Studio talks to."""
    from robopref.processes import serve as run

    run(Workspace.open(config))


@app.command(rich_help_panel=RUN)
def worker(
    every: Annotated[float, typer.Option(help="Seconds between two looks.")] = 60.0, config: ConfigPath = DEFAULT
) -> None:
    """Run rounds by itself whenever enough was answered."""
    from ml_backend.worker import work

    work(
        Workspace.open(config),
        every_s=every,
        on_round=lambda result: show.record(result, as_json=False),
        on_trouble=lambda error: console.print(f"[yellow]{escape(str(error))}[/]"),
    )


@app.command(rich_help_panel=RUN)
def demo(
    fresh: Annotated[bool, typer.Option("--fresh", help="Start over.")] = False,
    exit_: Annotated[bool, typer.Option("--exit", help="Stop the servers at the end.")] = False,
    stop: Annotated[bool, typer.Option("--stop", help="Only stop the servers that a run left running.")] = False,
    root: Annotated[Path, typer.Option(help="Where everything is put.")] = Path("demo"),
    port: Annotated[int, typer.Option(help="Label Studio's port; 0 = a free one.")] = 0,
) -> None:
    """The whole loop on the sample pool, with simulated annotators, in a real Label Studio.

    Run again, it goes on where it was; with `--fresh` it starts over.
    """
    from robopref.demo import run_demo, stop_servers

    if stop:
        stop_servers(root)
        return
    run_demo(root, fresh=fresh, stop=exit_, port=port)


@app.command(rich_help_panel=RUN)
def doctor(
    config: ConfigPath = DEFAULT,
    json: Json = False,
) -> None:
    """Look for what is wrong: versions, disk, database, Label Studio, backend, weights."""
    from robopref.doctor import examine

    show.findings(examine(config), json)
