"""Orders, sides and the tokens in tasks come from a secret of the project; pairs come from the seed."""

from plan_maker import SETTINGS, certify, open_workspace, trajectories

from importer.pairs import batches
from importer.pairs.annotators import add_annotators


def planned(folder, settings):
    """(pairs, assignments in order) of a project that is planned from the start."""
    folder.mkdir(exist_ok=True)
    ws = open_workspace(folder, settings)
    ws.store.put_trajectories(trajectories())
    add_annotators(ws)
    certify(ws)
    batches.next_batch(ws)
    asked = [view.assignment for view in ws.store.assignments()]
    pairs = ws.store.pairs()
    ws.store.close()
    return pairs, asked


def orders(assignments):
    """Annotator and batch → pair and left side, as they come."""
    return [(a.annotator_id, a.batch_id, a.position, a.pair_id, a.left) for a in assignments]


UNSALTED = SETTINGS.replace("salt = 3\n", "")


def test_two_projects_with_one_seed_ask_the_same_pairs_in_orders_of_their_own(tmp_path):
    (pairs, one), (same_pairs, other) = (planned(tmp_path / name, UNSALTED) for name in ("one", "other"))
    assert "salt" not in UNSALTED and pairs == same_pairs
    assert not {a.assignment_id for a in one} & {a.assignment_id for a in other}
    for batch_id in ("calibration-1", "production-001"):
        mine, theirs = ({o for o in orders(own) if o[1] == batch_id} for own in (one, other))
        assert len(mine & theirs) < len(mine) / 4


def test_a_salt_of_ones_own_repeats_everything(tmp_path):
    (_, one), (_, other) = (planned(tmp_path / name, SETTINGS) for name in ("one", "other"))
    assert one == other
    assert orders(one) != orders(planned(tmp_path / "third", SETTINGS.replace("salt = 3", "salt = 4"))[1])


def test_a_project_that_is_opened_again_draws_the_same(tmp_path):
    ws, again = (open_workspace(tmp_path, UNSALTED) for _ in range(2))
    assert ws.salt == again.salt > 2**90
    assert ws.secret_rng("order").random() == again.secret_rng("order").random()
    assert ws.secret_rng("order").random() != ws.rng("order").random()
