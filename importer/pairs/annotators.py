"""Who takes part: the [annotators] table of robopref.toml in, `Annotator` records out.

A person's id is what stands before the @ of their address, a simulated annotator's is given; ids are in lower case
and stay what they are, since judgments refer to them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from preference.config import Annotators
from preference.errors import ConfigError, NotReady, UserError
from preference.records import Annotator
from preference.workspace import Workspace


def add_annotators(ws: Workspace) -> list[Annotator]:
    """Bring the annotators of robopref.toml into the database; those it no longer names stay, but inactive.

    What `importer.pairs.leave` recorded stands above the file: whoever was added stays, whoever is away stays away.

    Raises:
        UserError: two would share an id, an address is invalid, or the expert is unknown.
    """
    known = ws.store.annotators()
    changed = merged(known, annotators_of(ws.config.annotators))
    if changed:
        ws.store.put_annotators(changed)
    return ws.store.annotators()


def annotators_of(settings: Annotators) -> list[Annotator]:
    """Everybody whom the settings name, the expert among them.

    Raises:
        ConfigError: two would share an id, an address is invalid, or the expert is unknown.
    """
    simulated = {entry.id.lower(): entry.teacher for entry in settings.simulated}
    found = [
        Annotator(entry.id.lower(), f"{entry.id.lower()}@{settings.email_domain.lower()}", teacher=entry.teacher)
        for entry in settings.simulated
    ]
    people = [address.strip().lower() for address in settings.people]
    expert = settings.expert.strip().lower()
    if "@" in expert and expert not in people:
        people.append(expert)
    for annotator in found:
        _local_part(annotator.email)
    found += [Annotator(_local_part(address), address) for address in people]
    expert_id = _local_part(expert) if "@" in expert else expert
    if expert and "@" not in expert and expert not in simulated:
        raise ConfigError(
            f"annotators.expert: {settings.expert!r} is neither an e-mail address nor the id of a simulated annotator.",
            fix="Name the person whose calibration answers are the truth.",
        )
    by_id: dict[str, Annotator] = {}
    for annotator in found:
        if annotator.annotator_id in by_id:
            if annotator.email == by_id[annotator.annotator_id].email:
                raise ConfigError(
                    f"annotators: {annotator.email} is named twice.", fix="Everybody needs a different address."
                )
            raise ConfigError(
                f"annotators: {by_id[annotator.annotator_id].email} and {annotator.email} would both have the id "
                f"{annotator.annotator_id!r}.",
                fix="Ids must differ: use another address for one of them.",
            )
        by_id[annotator.annotator_id] = annotator
    if expert:
        by_id[expert_id] = replace(by_id[expert_id], role="expert")
    return list(by_id.values())


def merged(known: Sequence[Annotator], named: Iterable[Annotator]) -> list[Annotator]:
    """What brings the database up to date with the settings: annotators who are new, changed or gone.

    Raises:
        UserError: an id belongs to somebody with another address.
    """
    before = {annotator.annotator_id: annotator for annotator in known}
    after: dict[str, Annotator] = {}
    for annotator in named:
        own = before.get(annotator.annotator_id)
        if own is not None and own.email.lower() != annotator.email:
            raise UserError(
                f"annotators: the id {annotator.annotator_id!r} belongs to {own.email}, and robopref.toml now gives it "
                f"to {annotator.email}; answers refer to it.",
                fix="Use another address, or go back to the former one.",
            )
        after[annotator.annotator_id] = (
            replace(annotator, studio_user_id=own.studio_user_id, added=own.added, away=own.away, active=not own.away)
            if own
            else annotator
        )
    gone = [
        replace(annotator, active=bool(annotator.added) and not annotator.away)
        for annotator in known
        if annotator.annotator_id not in after
    ]
    return [annotator for annotator in [*after.values(), *gone] if annotator != before.get(annotator.annotator_id)]


def expert_and_people(ws: Workspace) -> tuple[str, list[str]]:
    """Ids of the expert and of the active annotators."""
    active = [annotator for annotator in ws.store.annotators() if annotator.active]
    experts = [annotator.annotator_id for annotator in active if annotator.role == "expert"]
    people = [annotator.annotator_id for annotator in active if annotator.role == "annotator"]
    if not experts or not people:
        raise NotReady(
            f"Calibration needs an expert and annotators; robopref.toml names {'one' if experts else 'no'} expert and "
            f"{len(people) or 'no'} annotators.",
            fix="Set expert and people in [annotators].",
        )
    return experts[0], people


def certified_ids(ws: Workspace) -> list[str]:
    """Ids of the certified annotators; the expert is not one of them."""
    roles = {annotator.annotator_id: annotator.role for annotator in ws.store.annotators()}
    return [name for name in ws.store.certified() if roles[name] == "annotator"]


def certified(ws: Workspace) -> list[str]:
    """The certified annotators, at least as many as the overlap.

    Raises:
        NotReady: there are fewer; names the others with their kappas.
    """
    names, overlap = certified_ids(ws), ws.config.pairs.overlap
    if len(names) >= overlap:
        return names
    kappas = {record.annotator_id: record.kappa for record in ws.store.certifications() if record.pairs}
    people = [a.annotator_id for a in ws.store.annotators() if a.active and a.role == "annotator"]
    others = [
        f"{name} (kappa {kappas[name]:.2f})" if name in kappas else f"{name} (not tested)"
        for name in people
        if name not in names
    ]
    raise NotReady(
        f"{len(names)} of {len(people)} annotators {'is' if len(names) == 1 else 'are'} certified, "
        f"and each pair goes to {overlap}." + (f" Not certified: {', '.join(others)}." if others else ""),
        fix="Run `robopref calibration build`, let them answer, then `robopref certify`; or lower pairs.overlap.",
    )


def id_of(address: str) -> str:
    """A person's id, which their address makes.

    Raises:
        ConfigError: it is not an address.
    """
    return _local_part(address.strip().lower())


def _local_part(address: str) -> str:
    name, _, domain = address.partition("@")
    if not name or not domain or "@" in domain or any(c.isspace() for c in address):
        raise ConfigError(f"annotators: {address!r} is not an e-mail address.", fix="Write it as name@example.org.")
    return name
