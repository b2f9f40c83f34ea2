"""The configuration file: what may be in it, and what is said about what may not."""

from pathlib import Path

import pytest

from agentjob_operator.settings import Settings
from agentjob_program import settings as files
from agentjob_program.settings import SettingsError


def read(path: Path) -> Settings:
    return files.read(path, Settings)


LEAST = '{"namespaces": ["a"], "runner": {"image": "r:1"}}'


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "config.json"
    path.write_text(text)
    return path


def test_a_file_needs_to_say_where_and_with_what_image(tmp_path: Path) -> None:
    settings = read(written(tmp_path, LEAST))

    assert (settings.namespaces, settings.runner.image) == (["a"], "r:1")
    assert (settings.pod_ttl_seconds, settings.workers, settings.port) == (600, 16, 8080)
    assert not settings.archives
    assert (settings.limits.running, settings.limits.of("a"), settings.limits.weight("a")) == (None, None, 1)


def test_everything_is_spelled_as_in_kubernetes(tmp_path: Path) -> None:
    settings = read(
        written(
            tmp_path,
            """{"namespaces": ["a", "b"], "podTTLSeconds": 0, "archives": true, "workers": 2, "port": 0,
                "resyncSeconds": 1.5, "logLevel": "debug",
                "limits": {"running": 9, "runningPerNamespace": 4, "namespaces": {"b": {"weight": 3}}},
                "runner": {"image": "r:1", "imagePullPolicy": "Never", "model": "opus", "modelBaseURL": "http://m",
                           "modelApiKeySecret": {"name": "s", "key": "k"}, "env": [{"name": "A", "value": "1"}],
                           "resources": {"limits": {"cpu": "1"}, "requests": {}}}}""",
        )
    )

    assert (settings.pod_ttl_seconds, settings.archives) == (0, True)
    assert [settings.limits.of(name) for name in "ab"] == [4, 4]
    assert [settings.limits.weight(name) for name in "ab"] == [1, 3]
    assert settings.runner.model_base_url == "http://m"
    assert settings.runner.model_api_key_secret is not None
    assert settings.runner.resources.limits == {"cpu": "1"}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param("{", "the file: Invalid JSON", id="no JSON"),
        pytest.param('{"runner": {"image": "r"}}', "namespaces: Field required", id="no namespace"),
        pytest.param(LEAST.replace('["a"]', "[]"), "namespaces: List should have at least 1 item", id="none at all"),
        pytest.param('{"namespaces": ["a"], "runner": {}}', "runner.image: Field required", id="no image"),
        pytest.param(LEAST.replace("r:1", "r 1"), "runner.image: String should match pattern", id="a bad image"),
        pytest.param(LEAST.replace("}}", '}, "wrokers": 3}'), "wrokers: Extra inputs", id="a name that does not exist"),
        pytest.param(LEAST.replace("}}", '}, "workers": 0}'), "workers: Input should be greater", id="no workers"),
        pytest.param(
            LEAST.replace("}}", '}, "limits": {"namespaces": {"a": {"weight": 0}}}}'),
            "limits.namespaces.a.weight: Input should be greater",
            id="no weight",
        ),
        pytest.param(LEAST.replace("}}", '}, "logLevel": "loud"}'), "logLevel: Input should be 'debug'", id="a level"),
        pytest.param(
            LEAST.replace('"r:1"', '"r:1", "modelBaseURL": "ftp://x"'),
            "runner.modelBaseURL: String",
            id="a bad URL",
        ),
    ],
)
def test_what_is_wrong_is_named_with_its_field(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(SettingsError) as error:
        read(written(tmp_path, text))

    assert f"config.json: {says}" in str(error.value)


def test_every_wrong_field_is_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as error:
        read(written(tmp_path, '{"namespaces": [], "runner": {"image": ""}, "workers": -1}'))

    assert len(str(error.value).splitlines()) == 3


def test_no_value_is_repeated_since_it_may_be_a_secret(tmp_path: Path) -> None:
    text = LEAST.replace('"r:1"', '"r:1", "env": [{"name": "A", "value": 5, "hunter2": "hunter2-value"}]')

    with pytest.raises(SettingsError) as error:
        read(written(tmp_path, text))

    assert "hunter2-value" not in str(error.value)


def test_a_file_that_is_not_there_is_named_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"nothing\.json: No such file or directory; .*--config"):
        read(tmp_path / "nothing.json")
