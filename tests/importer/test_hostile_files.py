"""A file that was made to do harm is one line about that file, and the episodes beside it are done."""

from __future__ import annotations

import io
import json
import os
import struct
import zipfile
import zlib
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from format_maker import make_folder, make_lerobot_v2, make_robomimic, pictures, v2_video
from lerobot_maker import Made, make_dataset, write_video

from importer.clips.build import build_clips
from importer.pool import build_pool, hdf5, read_pool
from importer.pool.dataset import open_dataset
from importer.pool.episode import BadInput
from importer.pool.images import read_image
from importer.pool.outside import MOST_ROWS, READING_BYTES, guarded
from preference.config import Clips, Dataset, Pool
from preference.workspace import Workspace

SHORT = {"a": Made(rows=20, still=2), "b": Made(rows=20, still=2)}


def pool_of(path: Path, **fields):
    return read_pool(Pool(dataset=[Dataset(path=path, name="tiny", **fields)]), Clips())


def check_first_fails(path: Path, said: str) -> None:
    """Episode 0 is one line that says `said`; episode 1 is read."""
    result = pool_of(path)
    assert [f.episode_index for f in result.failures] == [0], result.failures
    assert [t.episode_index for t in result.trajectories] == [1]
    line = str(result.failures[0])
    assert said in line and line.isprintable(), line
    assert result.failures[0].file


# -- the plain folder ----------------------------------------------------------------------------------------------


def flipped(file: Path) -> None:
    """A compressed npz with one byte of the action's data changed."""
    np.savez_compressed(file, action=np.random.default_rng(0).normal(size=(20, 2)))
    data = bytearray(file.read_bytes())
    data[data.index(b"action.npy") + 200] ^= 0xFF
    file.write_bytes(bytes(data))


def claiming(file: Path, shape: str, kind: str = "<f8") -> None:
    """An npz whose action claims a shape that its bytes do not have."""
    stream = io.BytesIO()
    header = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}".encode().ljust(117) + b"\n"
    stream.write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + bytes(64))
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("action.npy", stream.getvalue())


def encrypted(file: Path) -> None:
    """Python writes no encrypted zips: the bit that says so is set in both of the member's headers."""
    np.savez(file, action=np.zeros((20, 2)))
    data = bytearray(file.read_bytes())
    for mark, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(mark) + place] |= 1
    file.write_bytes(bytes(data))


def bomb(file: Path) -> None:
    """Four gigabytes of zeros in four megabytes."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("action.npy", "w") as member:
        np.lib.format.write_array_header_1_0(
            member, {"descr": "<f8", "fortran_order": False, "shape": (MOST_ROWS, 130)}
        )
        for _ in range(64):
            member.write(bytes(1 << 20))


def png(file: Path, width: int, height: int) -> None:
    """A PNG that says how large it is and holds no pixel."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    file.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")))


def replaced_by_link(file: Path, depth: int = 2) -> None:
    """The same content, outside the dataset, whose folder is the `depth`-th above the file, less one."""
    outside = file.parents[depth] / f"outside-{file.name}"
    file.rename(outside)
    file.symlink_to(outside)


def pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


@pytest.mark.parametrize(
    ("break_it", "said"),
    [
        (lambda a: flipped(a / "arrays.npz"), "arrays.npz, action: cannot be read as npz: it is damaged"),
        (lambda a: claiming(a / "arrays.npz", f"({10**13}, 2)"), "at most 4,000,000 rows, found 10,000,000,000,000"),
        (lambda a: claiming(a / "arrays.npz", f"(9, {2**40}, {2**40})"), "expected at most 2 GiB of numbers, found 9"),
        (lambda a: claiming(a / "arrays.npz", "(-3, 2)"), "cannot be read as npz"),
        (lambda a: claiming(a / "arrays.npz", "(20, 2)", "|O"), "expected numbers in T rows, found object"),
        (lambda a: encrypted(a / "arrays.npz"), "cannot be read as npz"),
        (lambda a: bomb(a / "arrays.npz"), "expected at most 2 GiB of numbers"),
        (lambda a: np.savez(a / "arrays.npz", action=np.full((20, 2), 1e300)), "expected numbers up to 1e+18"),
        (lambda a: (a / "meta.json").write_text("[" * 100_000), "meta.json: cannot be read as JSON: maximum recursion"),
        (lambda a: (a / "meta.json").write_text('{"task_type": "\\ud800"}'), "found \\ud800"),
        (lambda a: (a / "meta.json").write_text('{"task_type": "\\u0000"}'), "found \\x00"),
        (lambda a: (a / "meta.json").write_text('{"task_type": "\\u001b[2Jx"}'), "found \\x1b[2Jx"),
        (lambda a: (a / "meta.json").write_text(json.dumps({"task_type": "x" * 5000})), "at most 1000 characters"),
        (lambda a: (a / "meta.json").write_text('{"task_type": "x", "fps": 1e-9}'), "expected at most 3600 s"),
        (lambda a: (a / "meta.json").write_text('{"task_type": "x", "fps": Infinity}'), "expected a number above 0"),
        (lambda a: (a / "meta.json").write_text('{"task_type": "x", "return": 1' + "0" * 400 + "}"), "expected a numb"),
        (lambda a: replaced_by_link(a / "arrays.npz"), "arrays.npz: the link leads out of the dataset"),
        (lambda a: replaced_by_link(a / "meta.json"), "meta.json: the link leads out of the dataset"),
        (lambda a: replaced_by_link(a / "front.mp4"), "front.mp4: the link leads out of the dataset"),
        (lambda a: pipe(a / "arrays.npz"), "expected a regular file"),
        (lambda a: pipe(a / "meta.json"), "expected a regular file"),
        (lambda a: (a / "arrays.npz").unlink() or (a / "arrays.npz").symlink_to(a / "arrays.npz"), "leads nowhere"),
    ],
)
def test_a_hostile_episode_of_a_folder_is_one_line_and_the_next_is_read(tmp_path: Path, break_it, said: str) -> None:
    root = make_folder(tmp_path / "d", SHORT)
    break_it(root / "a")
    check_first_fails(root, said)


def test_an_episode_folder_that_is_a_link_out_of_the_dataset_is_refused(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "d", SHORT)
    (root / "a").rename(tmp_path / "elsewhere")
    (root / "a").symlink_to(tmp_path / "elsewhere")
    check_first_fails(root, "the link leads out of the dataset")


def test_links_inside_the_dataset_are_followed(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "d", SHORT)
    (root / "b" / "front.mp4").unlink()
    (root / "b" / "front.mp4").symlink_to("../a/front.mp4")
    assert pool_of(root).failures == []


def playlist(file: Path, other: Path) -> None:
    file.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{other}\n#EXT-X-ENDLIST\n")


def script(file: Path, other: Path) -> None:
    file.write_text(f"ffconcat version 1.0\nfile {other.name}\n")


@pytest.mark.parametrize("pretend", [playlist, script])
def test_a_video_that_names_other_files_is_no_video(tmp_path: Path, pretend) -> None:
    root = make_folder(tmp_path / "d", SHORT)
    write_video(root / "a" / "secret.ts", 20)
    pretend(root / "a" / "front.mp4", root / "a" / "secret.ts")
    check_first_fails(root, "cannot be opened as a video")


# -- pictures ------------------------------------------------------------------------------------------------------


def test_a_picture_of_2500_million_pixels_is_refused_by_its_header(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "d", SHORT, frames=True)
    png(root / "a" / "front" / "frame_0.png", 50_000, 50_000)
    check_first_fails(root, "expected at most 16,777,216 pixels a frame")
    png(tmp_path / "less.png", 5000, 5000)
    with pytest.raises(BadInput, match="found 5000x5000"):
        read_image(tmp_path / "less.png")


def test_a_picture_that_is_a_program_for_ghostscript_is_no_picture(tmp_path: Path) -> None:
    (tmp_path / "f.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 80 60\n%%EndComments\n")
    with pytest.raises(BadInput, match="cannot be read as an image"):
        read_image(tmp_path / "f.png")


def test_a_frame_that_is_a_link_out_of_the_dataset_is_refused(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "d", SHORT, frames=True)
    frame = root / "a" / "front" / "frame_7.png"
    frame.rename(tmp_path / "secret.png")
    frame.symlink_to(tmp_path / "secret.png")
    check_first_fails(root, "frame_7.png: the link leads out of the dataset")


# -- HDF5 ----------------------------------------------------------------------------------------------------------


def outside_file(demo: h5py.Group) -> Path:
    other = Path(demo.file.filename).with_name("secret.hdf5")
    with h5py.File(other, "w") as file:
        file["numbers"] = np.zeros((20, 2))
        file["pictures"] = pictures(20)
    return other


def linked(demo: h5py.Group, name: str, target: str) -> None:
    del demo[name]
    demo[name] = h5py.ExternalLink(outside_file(demo), target)


def soft_then_out(demo: h5py.Group) -> None:
    demo.file["way"] = h5py.ExternalLink(outside_file(demo), "/")
    del demo["actions"]
    demo["actions"] = h5py.SoftLink("/way/numbers")


def circle(demo: h5py.Group) -> None:
    del demo["actions"]
    demo["actions"] = h5py.SoftLink(f"{demo.name}/actions")


def stored_outside(demo: h5py.Group) -> None:
    secret = Path(demo.file.filename).with_name("secret.bin")
    secret.write_bytes(bytes(20 * 60 * 80 * 3))
    del demo["obs/agentview_image"]
    demo.create_dataset("obs/agentview_image", (20, 60, 80, 3), "u1", external=[(str(secret), 0, h5py.h5f.UNLIMITED)])


def virtual(demo: h5py.Group) -> None:
    layout = h5py.VirtualLayout((20, 2), "f8")
    layout[:] = h5py.VirtualSource(str(outside_file(demo)), "numbers", (20, 2))
    del demo["actions"]
    demo.create_virtual_dataset("actions", layout)


def endless(demo: h5py.Group) -> None:
    del demo["actions"]
    demo.create_dataset("actions", (10**13, 2), "f8", chunks=(1000, 2))


def one_chunk(demo: h5py.Group) -> None:
    del demo["obs/agentview_image"]
    shape = (20, 60, 80, 3)
    demo.create_dataset(
        "obs/agentview_image", shape, "u1", chunks=(10**6, 60, 80, 3), maxshape=(None, *shape[1:]), compression="gzip"
    )


@pytest.mark.parametrize(
    ("break_it", "said"),
    [
        (lambda demo: linked(demo, "actions", "numbers"), "expected data in this file, found a link to"),
        (lambda demo: linked(demo, "obs/agentview_image", "pictures"), "expected data in this file, found a link to"),
        (lambda demo: linked(demo.parent, "demo_0", "/"), "data/demo_0: expected data in this file, found a link to"),
        (soft_then_out, "expected data in this file, found a link to"),
        (circle, "the link leads nowhere"),
        (stored_outside, "expected data in this file, found storage in other files"),
        (virtual, "expected data in this file, found storage in other files"),
        (endless, "expected at most 4,000,000 rows, found 10,000,000,000,000"),
        (one_chunk, "expected chunks of at most 2 GiB"),
    ],
)
def test_a_hostile_demonstration_of_an_hdf5_file_is_one_line_and_the_next_is_read(tmp_path, break_it, said) -> None:
    path = make_robomimic(tmp_path / "d.hdf5", list(SHORT.values()))
    with h5py.File(path, "a") as file:
        break_it(file["data/demo_0"])
    check_first_fails(path, said)


def test_an_hdf5_file_that_hangs_or_crashes_its_library_is_one_line(tmp_path: Path, monkeypatch) -> None:
    """Stands for a flipped bit in an attribute's heap, which HDF5 2.0 reads in a circle."""
    path = make_robomimic(tmp_path / "d.hdf5", list(SHORT.values()))
    monkeypatch.setattr(hdf5, "WALK_S", 1.0)
    monkeypatch.setattr(hdf5, "WALK", "while True: pass")
    assert "the HDF5 library does not return within 1 s" in only_line(path)
    monkeypatch.setattr(hdf5, "WALK", "import os; os.abort()")
    os.utime(path)
    assert "crash (signal 6)" in only_line(path)


def test_links_inside_an_hdf5_file_are_followed(tmp_path: Path) -> None:
    path = make_robomimic(tmp_path / "d.hdf5", list(SHORT.values()))
    with h5py.File(path, "a") as file:
        file.move("data/demo_0/actions", "kept")
        file["data/demo_0/actions"] = h5py.SoftLink("/kept")
    assert pool_of(path).failures == []


# -- LeRobot -------------------------------------------------------------------------------------------------------


def text_for_numbers(file: Path) -> None:
    """A million characters, stored once, in every row of the action."""
    table = pq.read_table(file)
    texts = pa.array(["x" * 1_000_000] * table.num_rows).dictionary_encode()
    pq.write_table(table.set_column(table.column_names.index("action"), "action", texts), file)


def many_rows(file: Path) -> None:
    """A constant takes no room on disk."""
    table = {"episode_index": np.zeros(MOST_ROWS + 1, np.int64), "action": np.zeros(MOST_ROWS + 1)}
    pq.write_table(pa.table(table), file, row_group_size=MOST_ROWS + 1)


@pytest.mark.parametrize(
    ("break_it", "said"),
    [
        (lambda data, video: text_for_numbers(data), "action: expected numbers, found"),
        (lambda data, video: pipe(data), "expected a regular file"),
        (lambda data, video: pipe(video), "expected a regular file"),
        (lambda data, video: many_rows(data), "expected at most 4,000,000 rows, found 4,000,001"),
        (lambda data, video: replaced_by_link(data, 3), "leads out of"),
        (lambda data, video: replaced_by_link(video, 4), "leads out of"),
    ],
)
def test_a_hostile_lerobot_episode_is_one_line_and_the_next_is_read(tmp_path: Path, break_it, said: str) -> None:
    root = make_lerobot_v2(tmp_path / "d", list(SHORT.values()))
    break_it(root / "data" / "chunk-000" / "episode_000000.parquet", v2_video(root, 0))
    check_first_fails(root, said)


def only_line(path: Path) -> str:
    result = pool_of(path)
    (failure,) = result.failures
    assert failure.episode_index is None and result.trajectories == []
    return str(failure)


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def test_hostile_metadata_of_a_dataset_is_one_line(tmp_path: Path) -> None:
    for number, (name, old, new, said) in enumerate(
        [
            ("info.json", "{episode_index:06d}.parquet", "{episode_index:999999999999d}.parquet", "cannot be filled"),
            ("info.json", '"fps": 20', '"fps": 1e300', "expected a number above 0"),
            ("info.json", '"features": {', '"features": ' + "[" * 10**5 + "{", "cannot be read as JSON"),
            ("episodes.jsonl", '"episode_index": 0', '"episode_index": 99999999999999', "expected 0 to 2147483647"),
            ("episodes.jsonl", '"tasks": ["', '"tasks": [' + "[" * 10**5 + '"', "line 1: cannot be read as JSON"),
        ]
    ):
        root = make_lerobot_v2(tmp_path / str(number), [SHORT["a"]])
        edit(root / "meta" / name, old, new)
        (failure,) = pool_of(root).failures
        assert said in str(failure)


@pytest.mark.parametrize("name", ["info.json", "episodes/chunk-000/file-000.parquet"])
def test_metadata_that_are_links_out_of_the_dataset_are_refused(tmp_path: Path, name: str) -> None:
    root = make_dataset(tmp_path / "d", [Made(rows=12)])
    file = root / "meta" / name
    file.rename(tmp_path / "secret")
    file.symlink_to(tmp_path / "secret")
    assert "the link leads out of the dataset" in only_line(root)


# -- the stage -----------------------------------------------------------------------------------------------------


def test_names_and_texts_that_no_file_takes_do_not_end_the_stage(tmp_path: Path) -> None:
    """Manifest, failures and database are UTF-8; folder names and JSON need not be."""
    root = make_folder(tmp_path / "d", {**SHORT, "c": Made(rows=20, still=2)})
    os.rename(root / "a", os.fsencode(root) + b"/run \xff")  # noqa: PTH104
    (root / "b" / "meta.json").write_text('{"task_type": "\\udfff"}')
    (tmp_path / "robopref.toml").write_text('workers = 1\n[[pool.dataset]]\npath = "d"\n')
    ws = Workspace.open(tmp_path / "robopref.toml")
    result = build_pool(ws)
    assert len(result.trajectories) == 1 and len(result.failures) == 2
    assert len(ws.manifest.read_text(encoding="utf-8").splitlines()) == 2 and len(ws.store.trajectories()) == 1
    written = ws.manifest.with_name("failures.csv").read_text(encoding="utf-8")
    assert "\\udfff" in written and "expected a name in UTF-8" in written
    assert build_clips(ws).rendered == 1
    ws.store.close()


def test_whatever_a_reader_meets_is_one_line_about_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = make_folder(tmp_path / "d", SHORT)
    opened = open_dataset(Dataset(path=root, name="tiny"))
    for error in (IndexError("7"), struct.error("short\nread"), AttributeError("x"), OverflowError(), RecursionError()):

        def fail(_: int, error: Exception = error):
            raise error

        monkeypatch.setattr(opened.reader, "read", fail)
        with pytest.raises(BadInput, match=f"it is damaged or not what it says it is .{type(error).__name__}") as told:
            opened.read(0)
        assert told.value.__cause__ is error and "\n" not in str(told.value)


def test_reading_gets_no_more_memory_than_an_episode_needs(tmp_path: Path) -> None:
    too_much = READING_BYTES + (256 << 20)
    with pytest.raises(BadInput, match="takes more than 4 GiB of memory"), guarded(tmp_path / "f"):
        np.empty(too_much, np.uint8)
    np.empty(too_much, np.uint8)  # the limit is lifted again; nothing touches these pages
