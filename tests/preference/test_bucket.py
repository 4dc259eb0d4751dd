"""Files by way of a bucket: fetched where they are missing or different, sent once, and results come back whole."""

import pickle
from contextlib import nullcontext
from operator import itemgetter

import pytest
from cluster_maker import s3_server

from preference import bucket
from preference.bucket import carried, receive
from preference.config import Cluster
from preference.errors import StudioError


@pytest.fixture
def store(tmp_path):
    boto3 = pytest.importorskip("boto3", reason="pip install 'robopref[s3]'")
    pytest.importorskip("moto.server", reason="pip install 'moto[s3]' flask-cors")
    with s3_server(tmp_path) as endpoint:
        settings = Cluster(bucket="lab", endpoint=endpoint, access_key="AKIA", secret_key="quiet-otters")
        with bucket.client(settings, "cluster") as client:
            client.create_bucket(Bucket="lab")
            client.put_bucket_versioning(Bucket="lab", VersioningConfiguration={"Status": "Enabled"})
            assert boto3 and client
        yield settings, client


def copy(item):
    source, made = item
    made.parent.mkdir(parents=True, exist_ok=True)
    made.write_bytes(source.read_bytes() * 2)
    return len(made.read_bytes())


def elsewhere(function, monkeypatch):
    """As another machine gets it."""
    monkeypatch.setattr(bucket, "_HERE", set())
    return pickle.loads(pickle.dumps(function))  # noqa: S301


def keys(client, prefix=""):
    found = client.list_objects_v2(Bucket="lab", Prefix=f"cluster/{prefix}")
    return [one["Key"] for one in found.get("Contents", [])]


def test_what_is_read_is_fetched_and_what_is_written_comes_back(store, tmp_path, monkeypatch):
    settings, client = store
    data, made = tmp_path / "data", tmp_path / "work" / "clips" / "a.mp4"
    (data / "deep").mkdir(parents=True)
    (data / "deep" / "one").write_bytes(b"one")
    (data / "two").write_bytes(b"two")
    there = elsewhere(carried(copy, settings, [data], itemgetter(1)), monkeypatch)
    (data / "deep" / "one").unlink()
    (data / "two").write_bytes(b"an older version")
    assert there((data / "deep" / "one", made)) == 6
    assert (data / "two").read_bytes() == b"two"
    made.unlink()
    receive(settings, made)
    assert made.read_bytes() == b"oneone"
    assert keys(client, "results/") == [], "the bucket forgets it"
    carried(copy, settings, [data], itemgetter(1))
    sent = client.list_object_versions(Bucket="lab", Prefix="cluster/files/")["Versions"]
    assert len(sent) == 2, "nothing is sent twice"


def test_a_file_is_hashed_once_however_many_functions_read_it_and_again_when_it_changes(tmp_path, monkeypatch):
    class Nothing:
        """A store that has no object and takes all."""

        def get_paginator(self, _):
            return self

        def paginate(self, **_):
            return [{}]

        def upload_file(self, *_):
            pass

    monkeypatch.setattr(bucket, "client", lambda *_: nullcontext(Nothing()))
    hashed, own = [], bucket.sha256_of
    monkeypatch.setattr(bucket, "sha256_of", lambda path: (hashed.append(path.name), own(path))[1])
    settings, data = Cluster(bucket="lab"), tmp_path / "data"
    data.mkdir()
    (data / "one").write_bytes(b"one")
    (data / "two").write_bytes(b"two")
    first = carried(copy, settings, [data], itemgetter(1))
    assert carried(copy, settings, [data], None).reads == first.reads
    assert sorted(hashed) == ["one", "two"]
    (data / "two").write_bytes(b"2")
    changed = carried(copy, settings, [data], None)
    assert hashed[2:] == ["two"] and changed.reads[0] == first.reads[0] and changed.reads[1] != first.reads[1]


def test_a_bucket_that_is_away_names_its_table(tmp_path):
    pytest.importorskip("boto3", reason="pip install 'robopref[s3]'")
    settings = Cluster(bucket="lab", endpoint="http://127.0.0.1:9", access_key="AKIA", secret_key="quiet-otters")
    (tmp_path / "one").write_bytes(b"one")
    with pytest.raises(StudioError, match=r"Check cluster in robopref\.toml") as caught:
        carried(copy, settings, [tmp_path], itemgetter(1))
    assert "quiet-otters" not in str(caught.value)
