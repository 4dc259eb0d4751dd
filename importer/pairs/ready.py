"""Who may be asked and what may be shown: the database in, ids and trajectories out, or NotReady with the reasons."""

from __future__ import annotations

from preference.errors import NotReady
from preference.records import Trajectory
from preference.workspace import Workspace


def shown(ws: Workspace) -> list[Trajectory]:
    """The ranked trajectories that have a clip."""
    pool = [trajectory for trajectory in ws.store.trajectories() if trajectory.clip and trajectory.quartile]
    if not pool:
        raise NotReady("There are no clips to show yet.", fix="Run `robopref pool` and `robopref clips` first.")
    return pool


def expert_and_people(ws: Workspace) -> tuple[str, list[str]]:
    """Ids of the expert and of the active annotators."""
    active = [annotator for annotator in ws.store.annotators() if annotator.active]
    experts = [annotator.annotator_id for annotator in active if annotator.role == "expert"]
    people = [annotator.annotator_id for annotator in active if annotator.role == "annotator"]
    if not experts or not people:
        raise NotReady(
            f"Calibration needs an expert and annotators; there are {len(experts)} and {len(people)}.",
            fix="Name them in [annotators] of robopref.toml.",
        )
    return experts[0], people


def certified_ids(ws: Workspace) -> list[str]:
    """Ids of the certified; the expert is nobody's annotator."""
    roles = {annotator.annotator_id: annotator.role for annotator in ws.store.annotators()}
    return [name for name in ws.store.certified() if roles[name] == "annotator"]


def certified(ws: Workspace) -> list[str]:
    """The certified, who are enough for the overlap.

    Raises:
        NotReady: they are not; says how each of the others stands.
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
