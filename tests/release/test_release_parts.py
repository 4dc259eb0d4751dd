"""The parts of a release that need no model: versions, tables, archives and their verification."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from preference.artifacts import sha256_of, write_jsonl
from preference.errors import DataError, NotReady, UserError
from preference.records import Preference
from release.archive import verify_release, write_archive, write_sums
from release.build import notebook, write_parquet
from release.preferences import labelled, preference_table, pseudonyms, redacted
from release.versions import Version, compare, folder_name, growth, parse_version


def preference(pair_id: str, label: float | None, **changes: object) -> Preference:
    row = {"confidence_mean": 4.0, "num_annotators": 2, "agreement": 1.0, "annotator_ids": ["bo", "al"]}
    row |= {"trajectory_a_id": "x", "trajectory_b_id": "y", "reason": "unanimous" if label is not None else "ambiguous"}
    return Preference.from_dict({"pair_id": pair_id, "preference": label} | row | changes)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small release with a subfolder and a file that does not compress."""
    root = tmp_path / "robopref-x-1.0.0"
    (root / "plots").mkdir(parents=True)
    (root / "preferences.jsonl").write_text('{"pair_id": "p"}\n')
    (root / "plots" / "labels.png").write_bytes(np.random.default_rng(0).bytes(5000))
    write_sums(root)
    return root


@pytest.fixture
def archive(folder: Path) -> Path:
    path = folder.with_name(folder.name + ".tar.gz")
    write_archive(folder, path, folder.name)
    return path


# -- versions ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["1.2", "v1.2.3", "1.02.3", "1.2.3.4", "", "1.2.3-", "../1.0.0", "1.2.3+build"])
def test_a_version_that_is_not_semver_is_refused_by_name(text):
    with pytest.raises(UserError, match=r"MAJOR\.MINOR\.PATCH"):
        parse_version(text)


def test_growth_counts_answers_and_episodes_and_measures_on_the_old_test_pairs(tmp_path):
    def row(name, a, b, label, split):
        return {"pair_id": name, "trajectory_a_id": a, "trajectory_b_id": b, "preference": label, "split": split}

    old = [row("p", "x", "y", 1.0, "train"), row("q", "x", "z", 1.0, "test"), row("t", "y", "z", 0.5, "test")]
    write_jsonl(tmp_path / "preferences.jsonl", old)
    answers = [{"pair_id": name} for name in ("p", "p", "q", "ambiguous")]
    write_parquet(pd.DataFrame(answers), tmp_path / "judgments.parquet")
    (tmp_path / "rewards.csv").write_text("trajectory_id,reward\nx,0.5\ny,0.0\nz,1.0\n")
    before, labels = (Version(1, 0, 0), tmp_path), [*old, row("n", "x", "w", 0.0, "test")]
    judged = ["p", "p", "q", "n", "n", "unlabelled"]
    assert growth(before, labels, judged, {"x": 2.0, "y": 0.0, "z": 1.0, "w": 3.0}) == [
        "2 answers added, 5 in all.",
        "1 episodes added, 4 in all.",
        "Right on 1.000 of the 1 test pairs of 1.0.0 that are no ties; before 0.000.",
    ]
    moved = [one | {"split": "train"} for one in labels]
    assert growth(before, moved, judged, {"x": 2.0, "z": 1.0})[-1] == (
        "1 of the 1 test pairs of 1.0.0 are no test pairs now."
    )
    assert growth(before, old, ["p", "p", "q"], {}) == []
    (tmp_path / "rewards.csv").write_text("reward\n1\n")
    with pytest.raises(DataError, match="missing or broken"):
        growth(before, labels, judged, {})


def test_versions_are_ordered_as_semver_says():
    ordered = [
        "1.0.0-alpha",
        "1.0.0-alpha.1",
        "1.0.0-beta.2",
        "1.0.0-beta.11",
        "1.0.0-rc.1",
        "1.0.0",
        "1.2.0",
        "1.10.0",
    ]
    assert [str(v) for v in sorted(map(parse_version, reversed(ordered)))] == ordered


@pytest.mark.parametrize(
    ("after", "model_changed", "suggested"),
    [
        ({"p": 1.0}, False, "1.2.4"),
        ({"p": 1.0}, True, "1.3.0"),
        ({"p": 1.0, "q": 0.5}, False, "1.3.0"),
        ({"p": 0.0}, False, "2.0.0"),
        ({"q": 1.0}, False, "2.0.0"),
    ],
)
def test_the_suggested_version_follows_from_what_changed(after, model_changed, suggested):
    changes = compare({"p": 1.0}, after, previous=Version(1, 2, 3), model_changed=model_changed)
    assert str(changes.suggested) == suggested


def test_a_dataset_name_cannot_lead_out_of_the_releases_folder():
    assert folder_name("../../my data", Version(1, 0, 0)) == "robopref-my-data-1.0.0"


# -- tables ------------------------------------------------------------------------------------------------------------


def test_the_released_columns_are_exactly_the_protocols_and_the_split(tmp_path):
    from pyarrow import parquet

    names = pseudonyms(["al", "bo"], "x")
    write_parquet(preference_table([preference("p", 0.5)], {"p": "test"}, names), tmp_path / "p.parquet")
    table = parquet.read_table(tmp_path / "p.parquet")
    assert table.column_names == [
        "pair_id",
        "trajectory_a_id",
        "trajectory_b_id",
        "preference",
        "confidence_mean",
        "num_annotators",
        "agreement",
        "annotator_ids",
        "split",
    ]
    assert table.to_pylist()[0]["preference"] == 0.5
    assert table.to_pylist()[0]["annotator_ids"] == ["annotator_01", "annotator_02"]


def test_pairs_without_a_label_are_not_released_and_none_at_all_is_an_error():
    assert [p.pair_id for p in labelled([preference("q", 1.0), preference("p", None)])] == ["q"]
    with pytest.raises(NotReady, match="No pair has a resolved preference"):
        labelled([preference("p", None)])


def test_a_model_trained_on_other_pairs_is_refused_with_the_difference():
    with pytest.raises(UserError, match=r"1 labelled pairs are new \(such as q\), 1 are gone \(such as old\)"):
        preference_table([preference("q", 1.0)], {"old": "train"}, {"al": "1", "bo": "2"})


def test_pseudonyms_are_stable_within_a_release_and_do_not_follow_the_alphabet():
    ids = [f"person{n}" for n in range(12)]
    names = pseudonyms(ids, "x")
    assert names == pseudonyms(reversed(ids), "x")
    assert len(set(names.values())) == 12
    assert [names[i] for i in sorted(ids)] != sorted(names.values())
    assert names != pseudonyms(ids, "y")


def test_free_text_loses_addresses_and_names_and_nothing_else():
    text = redacted("Ask Alice or bob.b@lab.example.org: alices grip slipped", {"alice": "annotator_01"})
    assert text == "Ask [annotator] or [e-mail]: alices grip slipped"


# -- archives ----------------------------------------------------------------------------------------------------------


def test_a_good_release_verifies_as_folder_and_as_archive(folder, archive):
    assert verify_release(folder).ok and verify_release(folder).files == 2
    result = verify_release(archive)
    assert result.ok and result.files == 2 and result.sha256 == sha256_of(archive)


def test_the_archive_does_not_depend_on_times_or_order(folder, archive, tmp_path):
    import os

    for path in folder.rglob("*"):
        os.utime(path, (1, 1))
    again = tmp_path / "again.tar.gz"
    write_archive(folder, again, folder.name)
    assert again.read_bytes() == archive.read_bytes()


def test_a_flipped_byte_anywhere_in_the_archive_is_found(archive):
    archive.with_name(archive.name + ".sha256").write_text(f"{sha256_of(archive)}  {archive.name}\n")
    whole = archive.read_bytes()
    for position in [*range(0, len(whole), 97), len(whole) - 1]:
        damaged = bytearray(whole)
        damaged[position] ^= 0x10
        archive.write_bytes(damaged)
        assert not verify_release(archive).ok, position


def test_a_flipped_byte_of_the_content_is_found_without_the_checksum_beside(archive):
    whole = archive.read_bytes()
    damaged = bytearray(whole)
    damaged[len(whole) // 2] ^= 0x10
    archive.write_bytes(damaged)
    assert not verify_release(archive).ok


def test_changed_missing_and_added_files_are_named(folder):
    (folder / "plots" / "labels.png").unlink()
    (folder / "preferences.jsonl").write_text("changed")
    (folder / "extra.txt").write_text("x")
    problems = " ".join(verify_release(folder).problems)
    assert "plots/labels.png is missing" in problems
    assert "preferences.jsonl was changed" in problems
    assert "extra.txt was not released" in problems


def test_an_edited_file_in_a_packed_archive_is_named_and_renewed_checksums_do_not_hide_it(folder, archive):
    announced = archive.with_name(archive.name + ".sha256")
    announced.write_text(f"{sha256_of(archive)}  {archive.name}\n")
    (folder / "preferences.jsonl").write_text('{"pair_id": "q"}\n')
    write_archive(folder, archive, folder.name)
    problems = verify_release(archive).problems
    assert any(problem.startswith("preferences.jsonl was changed: its SHA-256 is") for problem in problems)
    write_sums(folder)
    write_archive(folder, archive, folder.name)
    (problem,) = verify_release(archive).problems
    assert problem.startswith("The archive's SHA-256 is") and "robopref-x-1.0.0.tar.gz.sha256 says" in problem


@pytest.mark.parametrize("name", ["../outside.txt", "/tmp/outside.txt", "robopref-x-1.0.0/../../outside.txt", "link"])
def test_a_hostile_archive_is_reported_and_writes_nothing(tmp_path, name):
    path = tmp_path / "bad.tar.gz"
    with gzip.GzipFile(path, "wb", mtime=0) as packed, tarfile.open(fileobj=packed, mode="w") as tar:
        member = tarfile.TarInfo(name)
        if name == "link":
            member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(member, io.BytesIO(b""))
    before = set(tmp_path.rglob("*"))
    problems = verify_release(path).problems
    assert any("not a regular file inside the release" in problem for problem in problems)
    assert set(tmp_path.rglob("*")) == before


def test_what_is_no_archive_is_said_to_be_damaged(tmp_path):
    (tmp_path / "a.tar.gz").write_text("hello")
    assert any("damaged" in problem for problem in verify_release(tmp_path / "a.tar.gz").problems)


# -- notebook ----------------------------------------------------------------------------------------------------------


def test_cells_become_a_valid_notebook_with_the_same_bytes_each_time():
    import nbformat

    source = "# %% [markdown]\n# # Title\n#\n# words\n# %%\nx = 1\n\ny = 2\n"
    made = nbformat.reads(notebook(source), as_version=4)
    nbformat.validate(made)
    assert [cell.source for cell in made.cells] == ["# Title\n\nwords", "x = 1\n\ny = 2"]
    assert notebook(source) == notebook(source)


def test_the_command_line_says_whether_a_release_is_whole(folder, archive):
    from typer.testing import CliRunner

    from robopref.cli import app

    run = CliRunner()
    for good in (folder, archive):
        found = run.invoke(app, ["release", "verify", str(good), "--json"])
        assert found.exit_code == 0
        assert json.loads(found.stdout)["ok"] is True
    content = bytearray(archive.read_bytes())
    content[len(content) // 2] ^= 1
    archive.write_bytes(content)
    broken = run.invoke(app, ["release", "verify", str(archive), "--json"])
    assert broken.exit_code != 0
    assert json.loads(broken.stdout)["problems"]
    assert run.invoke(app, ["release"]).exit_code == 2
