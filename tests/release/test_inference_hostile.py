"""The release's inference.py over files that were made to do harm: one sentence, and nothing outside is read."""

import io
import json
import zipfile

import numpy as np
import pytest
from format_maker import make_lerobot_v2
from inference_maker import inference
from lerobot_maker import Made, write_video

COLUMNS = {"camera": "", "actions": [["action", [0, 1]]], "state": []}


@pytest.fixture
def dataset(tmp_path):
    return make_lerobot_v2(tmp_path / "d", [Made(rows=12, still=2)])


def refused(function, *arguments):
    with pytest.raises(inference.InputError) as told:
        function(*arguments)
    return str(told.value)


def test_an_npz_that_unpacks_to_terabytes_or_is_encrypted_is_refused(tmp_path):
    path = tmp_path / "e.npz"
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (10**13, 2)})
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("images", "actions"):
            archive.writestr(f"{name}.npy", header.getvalue())
    assert "is damaged, or holds other things" in refused(inference.load_npz, path)
    data = bytearray(path.read_bytes())
    at = data.rindex(b"PK\x01\x02") + 24
    data[at : at + 4] = (2**32 - 2).to_bytes(4, "little")
    at = data.index(b"PK\x01\x02") + 24
    data[at : at + 4] = (2**32 - 2).to_bytes(4, "little")
    path.write_bytes(data)
    assert "expected at most 4,294,967,296" in refused(inference.load_npz, path)
    for mark, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(mark) + place] |= 1
    at = data.index(b"PK\x01\x02") + 24
    data[at : at + 4] = bytes(4)
    path.write_bytes(data)
    assert "cannot be read as npz" in refused(inference.load_npz, path)


def test_a_playlist_is_no_video(tmp_path):
    write_video(tmp_path / "secret.ts", 12)
    (tmp_path / "v.mp4").write_text("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nsecret.ts\n#EXT-X-ENDLIST\n")
    assert "cannot be decoded" in refused(inference.read_video, tmp_path / "v.mp4")


def test_no_link_and_no_template_leads_out_of_a_dataset(dataset, tmp_path):
    assert len(inference.load_lerobot(dataset, 0, COLUMNS)["actions"]) == 12
    data = dataset / "data" / "chunk-000" / "episode_000000.parquet"
    data.rename(tmp_path / "secret.parquet")
    data.symlink_to(tmp_path / "secret.parquet")
    assert "leads out of" in refused(inference.load_lerobot, dataset, 0, COLUMNS)
    info = json.loads((dataset / "meta" / "info.json").read_text())
    cases = {"../../secret.parquet": "leads out of", "{episode_index:99999999999999d}": "filled in",
             "{episode_index:09999d}": "cannot be opened"}  # fmt: skip
    for template, said in cases.items():
        (dataset / "meta" / "info.json").write_text(json.dumps({**info, "data_path": template}))
        assert said in refused(inference.load_lerobot, dataset, 0, COLUMNS)


@pytest.mark.parametrize("text", ["[" * 100_000, "[]", '{"features": 3}', '{"features": {}, "fps": 0}', ""])
def test_metadata_that_are_none_are_one_sentence(dataset, text):
    (dataset / "meta" / "info.json").write_text(text)
    assert "info.json" in refused(inference.load_lerobot, dataset, 0, COLUMNS)
    (dataset / "meta" / "episodes.jsonl").write_text(text or "x")
    assert "episodes.jsonl" in refused(inference.lerobot_episodes, dataset)
