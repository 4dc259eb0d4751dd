"""Clients share what they check servers by, and check them as strictly as httpx does by itself."""

import os
import ssl

import certifi
import httpx
import pytest

from preference import tls
from preference.tls import authorities


@pytest.fixture(autouse=True)
def _afresh(monkeypatch):
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
    tls._loaded.cache_clear()
    yield
    tls._loaded.cache_clear()


def test_they_are_loaded_once(monkeypatch):
    loaded, load = [], ssl.create_default_context
    monkeypatch.setattr(ssl, "create_default_context", lambda **how: loaded.append(how) or load(**how))
    for _ in range(3):
        httpx.Client(verify=authorities(True), trust_env=True).close()
        httpx.Client(verify=authorities(False), trust_env=False).close()
    assert len(loaded) == 2


@pytest.mark.parametrize("trust_env", [True, False])
def test_a_server_needs_a_certificate_for_its_name(trust_env):
    shared = authorities(trust_env)
    assert shared.verify_mode == ssl.CERT_REQUIRED and shared.check_hostname
    assert shared.cert_store_stats() == ssl.create_default_context(cafile=certifi.where()).cert_store_stats()


def test_the_environments_authorities_count_where_the_environment_is_trusted(monkeypatch, tmp_path):
    first = certifi.contents().partition("-----END CERTIFICATE-----")
    (tmp_path / "own.pem").write_text(first[0] + first[1])
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "own.pem"))
    assert authorities(True).cert_store_stats()["x509"] == 1
    assert authorities(False).cert_store_stats()["x509"] > 1


def test_authorities_that_were_renewed_under_their_path_count_at_once(monkeypatch, tmp_path):
    bundle, one = tmp_path / "own.pem", certifi.contents().split("-----END CERTIFICATE-----")
    for count in (1, 2):
        bundle.write_text("".join(f"{text}-----END CERTIFICATE-----" for text in one[:count]))
        os.utime(bundle, (count, count))
        monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
        assert authorities(True).cert_store_stats()["x509"] == count
        assert authorities(True) is authorities(True)
