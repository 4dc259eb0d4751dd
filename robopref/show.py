"""Results as a person reads them, or as one JSON object for a script."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.table import Table

from preference.artifacts import plain, to_json
from preference.errors import UserError
from preference.formats import figure
from preference.records import Batch, ModelVersion
from preference.work import console
from preference.workspace import Workspace

if TYPE_CHECKING:
    from importer.clips.build import ClipsResult
    from importer.pairs.batches import Draft
    from importer.pool import Failure, PoolResult
    from importer.pool.inspect import Inspection
    from ml_backend.loop.rounds import RoundResult
    from ml_backend.ranking import Choice
    from ml_backend.release.verify import VerifyResult
    from robopref.doctor import Finding


def print_json(value: Any) -> None:
    sys.stdout.write(to_json(value))


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    drawn = Table(title=title, title_justify="left", box=None, header_style="bold", pad_edge=False)
    for column in columns:
        drawn.add_column(column)
    for row in rows:
        drawn.add_row(*(escape(cell) for cell in row))
    console.print(drawn)


def record(result: Any, as_json: bool) -> None:
    """Any flat result: its fields, one a line."""
    if as_json:
        print_json(result)
        return
    for key, value in plain(result).items():
        if isinstance(value, float):
            value = figure(value, 3)
        elif isinstance(value, dict):
            value = ", ".join(f"{k} {v}" for k, v in value.items() if not isinstance(v, (dict, list)))
        elif isinstance(value, list):
            value = "; ".join(str(v) for v in value[:5]) + (f" and {len(value) - 5} more" if len(value) > 5 else "")
        if value not in (None, "", "–"):
            console.print(f"{key.replace('_', ' ')}: {escape(str(value))}", highlight=False, soft_wrap=True)


def pool(result: PoolResult, as_json: bool) -> None:
    counts: dict[tuple[str, str], int] = {}
    for trajectory in result.trajectories:
        key = (trajectory.task_type, trajectory.source)
        counts[key] = counts.get(key, 0) + 1
    if as_json:
        print_json({"trajectories": len(result.trajectories), "failures": result.failures})
    else:
        rows = [[task, source, str(n)] for (task, source), n in sorted(counts.items())]
        table(f"{len(result.trajectories)} trajectories", ["task", "source", "episodes"], rows)
        for note in result.notes:
            console.print(f"[yellow]{escape(note)}[/]", highlight=False, soft_wrap=True)
    _fail_for(result.failures, "episodes could not be read", "pool/failures.csv", as_json)


def inspection(result: Inspection, as_json: bool) -> None:
    """The tables go to stderr, the lines for robopref.toml to stdout, so that `>> robopref.toml` takes just these."""
    if as_json:
        print_json(result)
        return
    rate = f", {result.fps:.4g} rows a second" if math.isfinite(result.fps) else ""
    console.print(f"{result.path}: {result.format}, {result.episodes} episodes{rate}; the first is {result.first_id}.",
                  highlight=False, soft_wrap=True)  # fmt: skip
    columns = [[c.name, c.dtype, str(c.width), ", ".join(c.names[:8]) + (" …" if len(c.names) > 8 else "")]
               for c in result.columns]  # fmt: skip
    table("\nColumns, one value for each row", ["column", "type", "numbers", "names"], columns)
    console.print(f"\nCameras: {escape(', '.join(result.cameras) or 'none')}", highlight=False, soft_wrap=True)
    console.print(f"Once per episode: {escape(', '.join(result.labels) or 'nothing')}\n", soft_wrap=True)
    roles = []
    for role in result.roles:
        place = role.place or ("the data say it" if role.found else "–")
        roles.append([role.name, place, role.found or "–", "guessed" if role.guessed and role.place else ""])
    table("What it is taken for", ["role", "column", "in the first episode", ""], roles)
    for note in result.notes:
        console.print(f"[yellow]{escape(note)}[/]", highlight=False, soft_wrap=True)
    console.print("\nFor robopref.toml:")
    sys.stdout.write(result.toml)


def clips(result: ClipsResult, as_json: bool) -> None:
    if as_json:
        print_json(result)
    else:
        console.print(f"{result.rendered} clips rendered, {result.kept} kept.")
    _fail_for(result.failures, "clips could not be rendered", "clips/failures.csv", as_json)


def _fail_for(failures: Sequence[Failure], what: str, file: str, as_json: bool) -> None:
    """Name the failures; the good items are done, and the exit code says that not all are."""
    if not failures:
        return
    if not as_json:
        for sentence in _grouped(failures)[:10]:
            console.print(f"[yellow]{escape(sentence)}[/]", highlight=False, soft_wrap=True)
    raise UserError(f"{len(failures)} {what}; the others are done.", fix=f"See {file} in the work folder.")


def _grouped(failures: Sequence[Failure]) -> list[str]:
    """One sentence for all failures of a dataset that have the same reason."""
    groups: dict[tuple[str, str, str], list[Failure]] = {}
    for failure in failures:
        groups.setdefault((failure.dataset, failure.field, failure.reason), []).append(failure)
    sentences = []
    for (dataset, _, reason), group in groups.items():
        first = group[0]
        if len(group) == 1:
            sentences.append(str(first))
        else:
            where = f"; the first is episode {first.episode_index}, {first.file}"
            sentences.append(f"{dataset}, {len(group)} episodes: {reason}{where}")
    return sentences


def batches(ws: Workspace, made: Sequence[Batch], as_json: bool) -> None:
    rows = []
    for batch in made:
        views = ws.store.assignments(batch.batch_id)
        pairs = ws.store.pairs(batch.batch_id)
        strata = {name: sum(p.stratum == name for p in pairs) for name in ("adjacent", "same", "distant")}
        duplicates = sum(v.assignment.duplicate_of is not None for v in views)
        rows.append({"batch": batch.batch_id, "pairs": len(pairs), "assignments": len(views), **strata,
                     "duplicates": duplicates})  # fmt: skip
    if as_json:
        print_json({"batches": rows})
    elif rows:
        table("Batches", list(rows[0]), [[str(value) for value in row.values()] for row in rows])
        for note in dict.fromkeys(note for batch in made for note in batch.notes):
            say(note, "yellow")


def draft(made: Draft, as_json: bool) -> None:
    """What a batch would ask of whom."""
    plan = made.plan
    strata = {name: sum(p.stratum == name for p in made.pairs) for name in ("adjacent", "same", "distant")}
    if as_json:
        print_json({"batch": made.batch.batch_id, "strata": strata, **asdict(plan), "notes": made.batch.notes})
        return
    counts = ", ".join(f"{number} {name}" for name, number in strata.items())
    say(f"{made.batch.batch_id}: {plan.pairs} pairs ({counts}). Nothing is made yet.")
    names = list(plan.loads)
    rows = [
        [name, str(plan.loads[name]), str(plan.duplicates[name]), "{:.1f} to {:.1f}".format(*plan.hours[name]),
         *("·" if name == other else str(plan.shared[name][other]) for other in names)]
        for name in names
    ]  # fmt: skip
    table("What it asks of whom", ["annotator", "tasks", "of them twice", "hours", *names], rows)
    say("The last columns: pairs that two annotators share.")
    low, high = plan.reserve
    say(f"Budget {low} to {high} pairs more: 15 to 20 % are lost to skips, discards and flags.")
    for note in made.batch.notes:
        say(note, "yellow")


def say(text: str, colour: str = "") -> None:
    """A sentence for a person."""
    console.print(f"[{colour}]{escape(text)}[/]" if colour else escape(text), highlight=False, soft_wrap=True)


def ranking(chosen: Sequence[Choice], as_json: bool) -> None:
    """The pairs with both rewards, and what is expected of asking them."""
    if as_json:
        print_json({"pairs": list(chosen)})
        return
    rows = [
        [c.trajectories[0], figure(c.rewards[0], 2), c.trajectories[1], figure(c.rewards[1], 2), c.strategy,
         figure(c.score, 3), figure(c.information, 3), figure(c.tie, 2)]
        for c in chosen
    ]  # fmt: skip
    columns = ["trajectory a", "reward", "trajectory b", "reward", "strategy", "score", "bits", "P(tie)"]
    table("Most worth asking", columns, rows)


def active_round(result: RoundResult, as_json: bool) -> None:
    """What a round did, or in a dry run would do: then the pairs and everybody's share besides."""
    if as_json:
        print_json(result)
        return
    if result.batch is None and result.chosen:
        ranking(result.chosen, as_json=False)
    rules = ", ".join(f"{count} by {rule}" for rule, count in result.strategies.items())
    asked = f"{result.batch.batch_id} asks" if result.batch else "Would ask" if result.chosen else "Asks"
    say(f"{asked} {result.pairs} pairs{f': {rules}' if rules else ''}.")
    if result.loads:
        say(f"Tasks for each, duplicates included: {', '.join(f'{who} {n}' for who, n in result.loads.items())}.")
    if result.model:
        say(f"Model in use: {result.model.version}, {_audited(result.model)}")
    if result.waiting_for:
        say(f"{result.waiting_for[0].upper()}{result.waiting_for[1:]}.", "yellow")


def _audited(model: ModelVersion) -> str:
    """The one accuracy that no rule has chosen the pairs of."""
    audit = model.metrics.get("audit") or {}
    if not audit.get("pairs"):
        return "not audited yet: no round's uniform pairs are answered."
    return f"audit: right on {_with_interval(audit)} uniformly drawn pairs."


def models(known: Sequence[ModelVersion], as_json: bool) -> None:
    if as_json:
        print_json({"models": list(known)})
        return
    rows = []
    for m in known:
        note = "in use" if m.active else m.metrics.get("kept_back", "")
        cross, audit = (m.metrics.get(name) or {} for name in ("cross_validated", "audit"))
        rows.append([m.version, m.created_at[:16], f"{m.encoder} ({m.weights})", str(m.preferences),
                     figure(m.ranking_accuracy, 3), figure(cross.get("value"), 3), _with_interval(audit),
                     figure(m.spearman, 3), note])  # fmt: skip
    columns = ["version", "made", "encoder", "pairs", "test pairs", "cross-validated", "audit", "Spearman", ""]
    table("Reward models", columns, rows)


def _with_interval(measured: dict[str, Any]) -> str:
    """An accuracy with its interval and the pairs it rests on."""
    if not measured.get("pairs"):
        return "–"
    value, low, high = (figure(measured[name], 2) for name in ("value", "low", "high"))
    return f"{value} ({low} to {high}) of {measured['pairs']}"


def verified(result: VerifyResult, as_json: bool) -> None:
    """The exit code is 1 where the release is not what was released."""
    if as_json:
        print_json({"path": str(result.path), "files": result.files, "ok": result.ok, "problems": result.problems,
                    "sha256": result.sha256})  # fmt: skip
    elif result.ok:
        digest = f" sha256 {result.sha256}" if result.sha256 else ""
        say(f"{result.path}: {result.files} files are as they were released.{digest}")
    else:
        for problem in result.problems:
            console.print(f"[red]✗[/] {escape(problem)}", highlight=False, soft_wrap=True)
    if not result.ok:
        count = len(result.problems)
        raise UserError(f"{result.path}: {count} thing{'s are' if count > 1 else ' is'} not as released.")


def findings(results: Sequence[Finding], as_json: bool) -> None:
    """The doctor's findings; the exit code is 1 when something is wrong."""
    if as_json:
        print_json({"findings": list(results)})
    else:
        marks = {"good": "[green]✓[/]", "note": "[yellow]•[/]", "bad": "[red]✗[/]"}
        for finding in results:
            fix = f" {finding.fix}" if finding.fix else ""
            console.print(f"{marks[finding.level]} {escape(finding.what + fix)}", highlight=False, soft_wrap=True)
    bad = sum(finding.level == "bad" for finding in results)
    if bad:
        raise UserError(f"{bad} thing{'s' if bad > 1 else ''} to mend.")
