"""A file exists only when it is complete, and paths stay inside their folder."""

import errno

import pytest

from preference.errors import UserError
from preference.workspace import Workspace, confined, replacing


def test_a_file_appears_only_when_the_block_ends_well(tmp_path):
    target = tmp_path / "deep" / "file.txt"
    with replacing(target) as temporary:
        temporary.write_text("new")
        assert not target.exists()
    assert target.read_text() == "new"


def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path):
    target = tmp_path / "file.txt"
    target.write_text("old")
    with pytest.raises(KeyboardInterrupt), replacing(target) as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_folder_is_replaced_as_a_whole(tmp_path):
    target = tmp_path / "model"
    for content in ("one", "two"):
        with replacing(target) as temporary:
            temporary.mkdir()
            (temporary / content).write_text(content)
    assert [path.name for path in target.iterdir()] == ["two"]
    assert list(tmp_path.iterdir()) == [target]


def test_a_full_disk_is_one_clear_message(tmp_path):
    with pytest.raises(UserError, match="No space left"), replacing(tmp_path / "file"):
        raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("path", ["../out", "/etc/passwd", "a/../../out"])
def test_paths_do_not_leave_their_folder(tmp_path, path):
    with pytest.raises(UserError, match="leads out"):
        confined(tmp_path, path)


def test_links_do_not_lead_out(tmp_path):
    (tmp_path / "inside").mkdir()
    (tmp_path / "inside" / "link").symlink_to(tmp_path)
    with pytest.raises(UserError, match="leads out"):
        confined(tmp_path / "inside", "link/secret")


def test_each_purpose_has_draws_of_its_own_that_repeat(tmp_path):
    (tmp_path / "robopref.toml").write_text("seed = 3")
    ws = Workspace.open(tmp_path / "robopref.toml")
    assert ws.rng("pairs").random() == ws.rng("pairs").random()
    assert ws.rng("pairs").random() != ws.rng("sides").random()
