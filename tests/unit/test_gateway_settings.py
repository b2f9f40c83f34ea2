"""The gateway's settings: what cannot be meant is refused."""

import json
from pathlib import Path

import pytest

from agentjob_gateway.settings import ArchiveSettings, Settings
from agentjob_program.settings import SettingsError, read

PEERS = {"namespace": "system", "service": "gateway"}


@pytest.fixture(autouse=True)
def unnamed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("POD_NAME", raising=False)


@pytest.mark.parametrize(
    "url",
    [
        "file:///var/lib/agentjob/archive",
        "memory:///",
        "s3://bucket",
        "s3://bucket/some/prefix",
        "gs://bucket/prefix",
        "az://container/prefix",
    ],
)
def test_an_archive_is_a_directory_or_an_object_store(url: str) -> None:
    assert ArchiveSettings(url=url).part_seconds == 5


@pytest.mark.parametrize(
    "url",
    [
        pytest.param("/var/lib", id="a bare path"),
        pytest.param("file://relative", id="no absolute path"),
        pytest.param("s3://", id="no bucket"),
        pytest.param("s3://id:key@bucket", id="credentials in it"),
        pytest.param("s3://bucket/x?key=y", id="a query"),
        pytest.param("https://bucket.s3.amazonaws.com", id="another scheme"),
    ],
)
def test_what_is_no_archive_is_refused_without_being_repeated(tmp_path: Path, url: str) -> None:
    file = tmp_path / "config.json"
    file.write_text(json.dumps({"namespaces": ["a"], "archive": {"url": url}}))
    with pytest.raises(SettingsError, match=r"archive\.url: String should match pattern") as refused:
        read(file, Settings)
    assert "key@" not in str(refused.value)


def test_who_shares_the_work_has_to_know_its_own_name(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"namespaces": ["a"], "peers": PEERS}
    with pytest.raises(ValueError, match="POD_NAME"):
        Settings.model_validate(given)
    assert Settings.model_validate({**given, "podName": "x"}).pod_name == "x"
    monkeypatch.setenv("POD_NAME", "gateway-1")
    assert Settings.model_validate(given).pod_name == "gateway-1"
