"""A file exists only when it is complete, holds what was written, and paths stay inside their folder."""

import csv
import errno
import hashlib
import math
import os
import stat
import tempfile
from dataclasses import dataclass
from io import StringIO
from itertools import chain
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from preference.artifacts import (
    check_writable,
    confined,
    keep_private,
    no_formula,
    plain,
    read_csv,
    read_json,
    read_jsonl,
    replacing,
    sha256_of,
    write_csv,
    write_json,
    write_jsonl,
)
from preference.errors import DataError, UserError
from preference.workspace import Workspace


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


@dataclass(frozen=True)
class Example:
    value: float
    place: Path
    names: frozenset[str]


def test_records_paths_and_numbers_become_json():
    example = Example(math.nan, Path("a") / "b", frozenset({"one"}))
    assert plain({"it": [example], 3: -math.inf}) == {
        "it": [{"value": None, "place": "a/b", "names": ["one"]}],
        3: None,
    }


def test_json_comes_back_with_null_for_what_is_not_finite(tmp_path):
    write_json(tmp_path / "a.json", {"b": math.nan, "a": "−"}, sort_keys=True)
    assert (tmp_path / "a.json").read_text(encoding="utf-8") == '{\n  "a": "−",\n  "b": null\n}\n'
    assert read_json(tmp_path / "a.json") == {"a": "−", "b": None}


def test_json_lines_come_back(tmp_path):
    write_jsonl(tmp_path / "a.jsonl", [{"a": 1}, {"a": math.nan}])
    assert read_jsonl(tmp_path / "a.jsonl") == [{"a": 1}, {"a": None}]


def test_a_broken_file_is_named_with_its_line_and_what_to_do(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"a": 1}\n{"a"')
    with pytest.raises(DataError, match=r"a\.jsonl, line 2 is not JSON.*Run it again"):
        read_jsonl(tmp_path / "a.jsonl", fix="Run it again.")
    with pytest.raises(DataError, match=r"a\.jsonl is not JSON"):
        read_json(tmp_path / "a.jsonl")
    with pytest.raises(DataError, match=r"File not found: .*b\.json"):
        read_json(tmp_path / "b.json")


def test_a_private_file_is_its_owners_alone(tmp_path):
    write_json(tmp_path / "a.json", {"b": 1}, private=True)
    assert (tmp_path / "a.json").stat().st_mode & 0o777 == 0o600
    assert read_json(tmp_path / "a.json") == {"b": 1}


def test_a_table_has_plain_line_ends(tmp_path):
    table = pd.DataFrame({"x": [1.0, None], "y": ["a,b", ""], "z": pd.array([True, None], "boolean")})
    write_csv(tmp_path / "a.csv", table)
    assert (tmp_path / "a.csv").read_bytes() == b'x,y,z\n1.0,"a,b",true\n,,\n'


def test_a_files_checksum_is_its_sha_256(tmp_path):
    (tmp_path / "a").write_bytes(b"content")
    assert sha256_of(tmp_path / "a") == hashlib.sha256(b"content").hexdigest()


def test_a_text_that_a_spreadsheet_would_run_is_a_text_and_numbers_stay_numbers(tmp_path):
    texts = ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\tx", "\rx", "-0.5", "+3e2", "a=b", "", None, "'quoted"]
    table = pd.DataFrame({"text": texts, "number": [-0.5] * len(texts), "mixed": [-1, "=1", 2.5, True] * 3})
    write_csv(tmp_path / "t.csv", table)
    read = pd.read_csv(tmp_path / "t.csv", keep_default_na=False)
    expected = ["'=1+1", "'+cmd|' /C calc'!A0", "'-2+3", "'@SUM(A1)", "'\tx", "'\nx", "-0.5", "+3e2", "a=b", "", ""]
    assert list(read["text"]) == [*expected, "'quoted"]
    assert list(read["number"]) == [-0.5] * len(texts)
    assert list(read["mixed"][:4]) == ["-1", "'=1", "2.5", "True"]


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("a;=1+1", "a;'=1+1"),
        ('; "=1+1', ";' \"=1+1"),
        ("＝1+1", "'＝1+1"),
        ("\u00a0\ufeff＠SUM(A1)", "'\u00a0\ufeff＠SUM(A1)"),
        ("slow\n- drops it", "slow\n'- drops it"),
        ("slow\t＋1", "slow\t'＋1"),
        ("a, -1; b", "a, -1; b"),
        ("-1;5", "'-1;5"),
    ],
)
def test_no_formula_begins_where_another_separator_would_split_the_line(tmp_path, text, cell):
    assert no_formula(text) == cell
    assert no_formula(cell) == cell, "twice is once"
    write_csv(tmp_path / "t.csv", pd.DataFrame({text: pd.Series([text], dtype="category")}))
    assert next(csv.reader(StringIO((tmp_path / "t.csv").read_text()))) == [cell]


@given(st.text(st.sampled_from(" \t\n\r\"';,=+-@＝－a1\u00a0\ufeff"), max_size=12), st.booleans())
def test_however_a_spreadsheet_splits_a_table_no_cell_of_it_is_a_formula(text, first):
    row = {"text": [text], "after": ["x"]} if first else {"n": [7], "text": [text], "after": ["x"]}
    with tempfile.TemporaryDirectory() as folder:
        write_csv(Path(folder) / "t.csv", pd.DataFrame(row))
        written = (Path(folder) / "t.csv").read_text()
    for separator in ",;\t":
        for cell in chain.from_iterable(csv.reader(StringIO(written, newline=""), delimiter=separator)):
            begins = cell.lstrip(' \t\n\r"\u00a0\ufeff')[:1]
            assert begins not in set("=+-@＝－") or is_number(text), (separator, cell)


def is_number(text):
    try:
        float(text)
    except ValueError:
        return False
    return True


def test_what_others_could_read_is_made_private_and_what_is_missing_is_left_alone(tmp_path):
    (tmp_path / "secret").write_text("x")
    (tmp_path / "secret").chmod(0o644)
    keep_private(tmp_path / "secret")
    keep_private(tmp_path / "missing")
    assert stat.S_IMODE((tmp_path / "secret").stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["secret"]


@pytest.mark.parametrize("read", [read_json, read_jsonl, read_csv])
def test_a_pipe_that_nobody_writes_to_is_refused_and_not_waited_for(tmp_path, read):
    os.mkfifo(tmp_path / "answers")
    with pytest.raises(DataError, match="expected a file, found a pipe or a device"):
        read(tmp_path / "answers")


@pytest.mark.parametrize(
    ("name", "mode", "fix"),
    [
        ("folder", 0o555, "chmod u+wx"),
        ("folder", 0o755, "Mount it"),
        ("file", 0o444, "chmod u+w "),
        ("file", 0o644, "Mount it"),
    ],
)
def test_where_we_may_not_write_the_fix_fits_the_reason(tmp_path, monkeypatch, name, mode, fix):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / name).chmod(mode)
    monkeypatch.setattr(os, "access", lambda *_, **__: False)  # the tests may run as root, who may write anywhere
    with pytest.raises(UserError, match="is read-only") as refused:
        check_writable(tmp_path / name, "The work folder")
    assert fix in refused.value.fix
