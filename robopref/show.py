"""Results as a person reads them, or as one JSON object for a script.

Both go to stdout; progress, warnings and errors go to stderr.
"""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from itertools import islice
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from preference.artifacts import plain, read_json, to_json
from preference.errors import UserError
from preference.formats import UNKNOWN, UNPRINTABLE, figure
from preference.records import Batch, ModelVersion, Trajectory, by_stratum
from preference.work import console, output, remark, terminal
from preference.workspace import Workspace

if TYPE_CHECKING:
    from importer.clips.build import ClipsResult
    from importer.pairs.batches import Draft
    from importer.pairs.leave import Standing
    from importer.pool import Failure, PoolResult
    from importer.pool.inspect import Inspection
    from ml_backend.loop.rounds import RoundResult
    from ml_backend.ranking import Choice
    from release.archive import VerifyResult
    from robopref.backup import BackupResult
    from robopref.doctor import Finding
    from robopref.init import Started
    from robopref.up import Status


def print_json(value: Any) -> None:
    """Control characters as JSON escapes, since stdout may be a terminal."""
    sys.stdout.write(UNPRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", to_json(value)))


def say(text: str, colour: str = "", to: Console = output) -> None:
    """A sentence of a result, for a person."""
    to.print(f"[{colour}]{terminal(text)}[/]" if colour else terminal(text), highlight=False, soft_wrap=True)


def warn(sentences: Iterable[str]) -> None:
    for sentence in dict.fromkeys(sentences):
        remark(sentence)


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]], to: Console = output) -> None:
    drawn = Table(*columns, title=terminal(title), title_justify="left", box=None, header_style="bold", pad_edge=False)
    for row in rows:
        drawn.add_row(*(terminal(cell) for cell in row))
    to.print(drawn)


def counted(counts: Mapping[str, Any]) -> str:
    """{"adjacent": 80, "same": 60} → 80 adjacent, 60 same."""
    return ", ".join(f"{count} {name}" for name, count in counts.items())


def record(result: Any, as_json: bool) -> None:
    """Any flat result: one field per line."""
    if as_json:
        print_json(result)
        return
    for key, value in plain(result).items():
        if isinstance(value, float):
            value = figure(value, 3)
        elif isinstance(value, dict):
            value = ", ".join(f"{k} {v}" for k, v in value.items() if not isinstance(v, (dict, list)))
        elif isinstance(value, list):
            value = "; ".join(map(str, value[:5])) + (f" and {len(value) - 5} more" if len(value) > 5 else "")
        if value not in (None, "", UNKNOWN):
            say(f"{key.replace('_', ' ')}: {value}")


def standings(people: Sequence[Standing], as_json: bool) -> None:
    if as_json:
        print_json({"annotators": list(people)})
        return
    rows = [
        [p.annotator_id, p.email, p.role, p.state, "certified" if p.certified else "", p.answered, p.open, p.why]
        for p in people
    ]
    table("Annotators", ["annotator", "address", "role", "", "", "answered", "open", "why"], rows)


def pool(result: PoolResult, as_json: bool) -> None:
    if as_json:
        print_json({"trajectories": len(result.trajectories), "failures": result.failures})
    else:
        counts = Counter((t.task_type, t.source) for t in result.trajectories)
        rows = [[task, source, n] for (task, source), n in sorted(counts.items())]
        table(f"{len(result.trajectories)} trajectories", ["task", "source", "episodes"], rows)
        warn(result.notes)
    _fail_for(result.failures, "episodes could not be read", "pool/failures.csv", as_json)


def started(result: Started, as_json: bool) -> None:
    """What `init` found in the dataset, and what is missing."""
    if as_json:
        print_json({"path": result.path, "inspection": _inspected(result.inspection), "overview": result.overview})
        return
    found, inspected = result.overview, result.inspection
    say(f"Wrote {result.path} for {inspected.path}: {inspected.format}.\n")
    some = f", {found.read} looked at" if found.read < found.episodes else ""
    rows = [("episodes", f"{found.episodes}{some}"), ("cameras", ", ".join(found.cameras)),
            ("robot", found.robot or UNKNOWN), ("tasks", tallied(found.tasks)), ("sources", tallied(found.sources)),
            ("success", tallied(found.success))]  # fmt: skip
    table("Found", ["", ""], rows)
    if found.unreadable:
        cannot = "1 episode" if found.unreadable == 1 else f"{found.unreadable} episodes"
        say(f"{cannot} cannot be read; the first: {found.first_error}", "yellow")
    warn(note for note in inspected.notes if note != found.first_error)
    if found.missing:
        say("\nWhat limits the pairs:")
        for sentence in found.missing:
            say(f"- {sentence}", "yellow")
    say(f"\nCheck the entry at the end of {result.path}, and name the expert and the people under [annotators]. Next:")
    say("  robopref pool\n  robopref clips")


TALLIED = 5
"""Names that are spelt out."""


def tallied(counts: Mapping[str, int]) -> str:
    """{"expert": 80, "novice": 40} → expert (80), novice (40)."""
    shown = [f"{name} ({count})" for name, count in islice(counts.items(), TALLIED)]
    return ", ".join([*shown, *([f"{len(counts) - TALLIED} more"] if len(counts) > TALLIED else [])])


def inspection(result: Inspection, as_json: bool) -> None:
    """Tables go to stderr, the lines for robopref.toml to stdout, so that `>> robopref.toml` takes only these."""
    if as_json:
        print_json(_inspected(result))
        return
    rate = f", {result.fps:.4g} rows per second" if math.isfinite(result.fps) else ""
    say(
        f"{result.path}: {result.format}, {result.episodes} episodes{rate}; the first is {result.first_id}.", to=console
    )
    columns = [[c.name, c.dtype, c.width, ", ".join(c.names[:8]) + (" …" if len(c.names) > 8 else "")]
               for c in result.columns]  # fmt: skip
    table("\nColumns, one value per row", ["column", "type", "numbers", "names"], columns, to=console)
    say(f"\nCameras: {', '.join(result.cameras) or 'none'}", to=console)
    say(f"Per episode: {', '.join(result.labels) or 'nothing'}\n", to=console)
    roles = []
    for role in result.roles:
        place = role.place or ("from the data" if role.found else UNKNOWN)
        roles.append([role.name, place, role.found or UNKNOWN, "guessed" if role.guessed and role.place else ""])
    table("What Robopref uses", ["role", "column", "in the first episode", ""], roles, to=console)
    warn(result.notes)
    say("\nFor robopref.toml:", to=console)
    sys.stdout.write(result.toml)


def _inspected(result: Inspection) -> dict[str, Any]:
    """Without the entry itself, which `toml` has."""
    return {name: getattr(result, name) for name in result.__dataclass_fields__ if name != "dataset"}


def clips(result: ClipsResult, as_json: bool) -> None:
    if as_json:
        print_json(result)
    else:
        say(f"{result.rendered} clips rendered, {result.kept} kept.")
    _fail_for(result.failures, "clips could not be rendered", "clips/failures.csv", as_json)


def found_by_code(trajectories: Sequence[Trajectory], as_json: bool) -> None:
    if as_json:
        print_json({"trajectories": [t.trajectory_id for t in trajectories]})
        return
    for t in trajectories:
        say(f"{t.trajectory_id}: episode {t.episode_index} of {t.dataset}, {t.task_type}, {t.clip or 'no clip'}")


def _fail_for(failures: Sequence[Failure], what: str, file: str, as_json: bool) -> None:
    """List the failures, one sentence for those of a dataset that share a reason; the exit code reports them too."""
    if not failures:
        return
    groups: dict[tuple[str, str, str], list[Failure]] = {}
    for failure in failures:
        groups.setdefault((failure.dataset, failure.field, failure.reason), []).append(failure)
    if not as_json:
        warn(islice(map(_shared, groups.values()), 10))
    raise UserError(f"{len(failures)} {what}; the others are done.", fix=f"See {file} in the work folder.")


def _shared(failures: Sequence[Failure]) -> str:
    first = failures[0]
    if len(failures) == 1:
        return str(first)
    where = f"the first is episode {first.episode_index}, {first.file}"
    return f"{first.dataset}, {len(failures)} episodes: {first.reason}; {where}"


def batches(ws: Workspace, made: Sequence[Batch], as_json: bool) -> None:
    rows = []
    for batch in made:
        views, pairs = ws.store.assignments(batch.batch_id), ws.store.pairs(batch.batch_id)
        duplicates = sum(view.assignment.duplicate_of is not None for view in views)
        rows.append({"batch": batch.batch_id, "pairs": len(pairs), "assignments": len(views), **by_stratum(pairs),
                     "duplicates": duplicates})  # fmt: skip
    if as_json:
        print_json({"batches": rows})
    elif rows:
        table("Batches", list(rows[0]), [list(row.values()) for row in rows])
        warn(note for batch in made for note in batch.notes)


def draft(made: Draft, as_json: bool) -> None:
    """What a batch would ask of whom."""
    plan, counts = made.plan, by_stratum(made.pairs)
    if as_json:
        print_json({"batch": made.batch.batch_id, "strata": counts, **asdict(plan), "notes": made.batch.notes})
        return
    say(f"{made.batch.batch_id} would have {plan.pairs} pairs ({counted(counts)}). Nothing was created.")
    names = list(plan.loads)
    rows = [
        [name, plan.loads[name], plan.duplicates[name], "{:.1f} to {:.1f}".format(*plan.hours[name]),
         *("·" if name == other else plan.shared[name][other] for other in names)]
        for name in names
    ]  # fmt: skip
    table("Work per annotator", ["annotator", "tasks", "duplicates", "hours", *names], rows)
    low, high = plan.reserve
    say("The last columns count the pairs that two annotators share.")
    say(f"Plan for {low} to {high} more pairs: skips, discards and flags cost 15 to 20 %.")
    warn(made.batch.notes)


def ranking(chosen: Sequence[Choice], as_json: bool) -> None:
    """The pairs with both rewards and what an answer is expected to tell."""
    if as_json:
        print_json({"pairs": list(chosen)})
        return
    rows = [
        [c.trajectories[0], figure(c.rewards[0]), c.trajectories[1], figure(c.rewards[1]), c.strategy,
         figure(c.score, 3), figure(c.information, 3), figure(c.tie)]
        for c in chosen
    ]  # fmt: skip
    columns = ["trajectory a", "reward", "trajectory b", "reward", "strategy", "score", "bits", "P(tie)"]
    table("Most informative pairs", columns, rows)


def active_round(result: RoundResult, as_json: bool) -> None:
    """What a round did, or would do in a dry run."""
    if as_json:
        print_json(result)
        return
    if result.batch is None and result.chosen:
        ranking(result.chosen, as_json=False)
    rules = ", ".join(f"{count} by {rule}" for rule, count in result.strategies.items())
    asked = f"{result.batch.batch_id} asks" if result.batch else "Would ask" if result.chosen else "Asks"
    say(f"{asked} {result.pairs} pairs{f': {rules}' if rules else ''}.")
    if result.loads:
        say(f"Tasks per annotator, with duplicates: {', '.join(f'{who} {n}' for who, n in result.loads.items())}.")
    if result.model:
        audit = _with_interval(result.model.metrics.get("audit"))
        accuracy = "not audited yet" if audit == UNKNOWN else f"right on {audit} uniformly drawn pairs (audit)"
        say(f"Active model: {result.model.version}, {accuracy}.")
    if result.waiting_for:
        say(f"{result.waiting_for[0].upper()}{result.waiting_for[1:]}.", "yellow")


def models(known: Sequence[ModelVersion], as_json: bool) -> None:
    if as_json:
        print_json({"models": list(known)})
        return
    rows = [
        [m.version, m.created_at[:16], f"{m.encoder} ({m.weights})", m.preferences, figure(m.ranking_accuracy, 3),
         figure((m.metrics.get("cross_validated") or {}).get("value"), 3), _with_interval(m.metrics.get("audit")),
         figure(m.spearman, 3), "active" if m.active else m.metrics.get("kept_back", "")]
        for m in known
    ]  # fmt: skip
    columns = ["version", "created", "encoder", "pairs", "test pairs", "cross-validated", "audit", "Spearman", ""]
    table("Reward models", columns, rows)


def _with_interval(measured: dict[str, Any] | None) -> str:
    """An accuracy with its interval and the number of pairs."""
    if not measured or not measured.get("pairs"):
        return UNKNOWN
    value, low, high = (figure(measured[name]) for name in ("value", "low", "high"))
    return f"{value} ({low} to {high}) of {measured['pairs']}"


def servers(status: Status, as_json: bool) -> None:
    """What runs and where; the exit code is 1 if not everything does."""
    if as_json:
        print_json(status)
    else:
        for part in status.parts:
            where = part.url or "on"
            say(f"{part.name:<13} {where}" if part.running else f"{part.name:<13} does not run; its log: {part.log}")
        warn(status.notes)
        if status.credentials and status.first:
            login = read_json(status.credentials)
            say(f"Sign in as manager {login['username']}, password {login['password']}. This is shown once.")
        if status.credentials:
            say(f"The manager's login is kept in {status.credentials}.")
    if not status.up:
        raise UserError("Not everything runs.", fix="Run `robopref up`; the logs say what happened.")


def servers_stopped(ended: bool, as_json: bool) -> None:
    if as_json:
        print_json({"stopped": ended})
    else:
        say("Stopped. `robopref up` starts everything again." if ended else "Nothing was running.")


def backed_up(result: BackupResult, as_json: bool) -> None:
    if as_json:
        return print_json(result)
    say(f"Wrote {result.path}: {result.files} files, {result.size / 1e6:.1f} MB ({', '.join(result.parts)}).")
    return warn(result.notes)


def restored(result: BackupResult, as_json: bool) -> None:
    if as_json:
        return print_json(result)
    return say(f"Restored {result.files} files of {result.path}. Next: `robopref doctor`.")


def verified(result: VerifyResult, as_json: bool) -> None:
    """The exit code is 1 if the release was changed."""
    if as_json:
        print_json({name: getattr(result, name) for name in ("path", "files", "ok", "problems", "sha256")})
    elif result.ok:
        digest = f" sha256 {result.sha256}" if result.sha256 else ""
        say(f"{result.path}: all {result.files} files are as released.{digest}")
    else:
        for problem in result.problems:
            output.print(f"[red]✗[/] {terminal(problem)}", highlight=False, soft_wrap=True)
    if not result.ok:
        raise UserError(f"{result.path} differs from what was released: {_problems(len(result.problems))}.")


def findings(results: Sequence[Finding], as_json: bool) -> None:
    """The doctor's findings; the exit code is 1 if something is wrong."""
    if as_json:
        print_json({"findings": list(results)})
    else:
        marks = {"good": "[green]✓[/]", "note": "[yellow]•[/]", "bad": "[red]✗[/]"}
        for finding in results:
            text = terminal(f"{finding.what} {finding.fix}".strip())
            output.print(f"{marks[finding.level]} {text}", highlight=False, soft_wrap=True)
    if bad := sum(finding.level == "bad" for finding in results):
        raise UserError(f"{_problems(bad)} found.")


def _problems(count: int) -> str:
    return f"{count} problem{'s' * (count != 1)}"
