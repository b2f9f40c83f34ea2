"""API keys: what one looks like, what is kept of it, who is known by it, and what is said about one that is broken."""

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentjob_gateway.caller import Caller, Limits, Role
from agentjob_gateway.errors import Unauthenticated
from agentjob_gateway.keyring import (
    RANDOM_BYTES,
    ApiKey,
    Keyring,
    Minted,
    Terms,
    digest,
    mint,
    not_valid,
    parse,
    rotate,
)

NOW = datetime(2026, 11, 22, 10, 0, 0, tzinfo=UTC)
DAY = timedelta(days=1)
DEFAULTS = Limits(requests_per_minute=600, concurrent_jobs=50, streams=100)
TERMS: dict[str, Any] = {"name": "ci", "namespace": "agents", "role": "submit"}


def minted(seed: int = 0, at: datetime = NOW, **terms: Any) -> Minted:
    """A key out of bytes that anybody can guess; another seed makes another."""
    return mint(Terms.model_validate({**TERMS, **terms}), at, bytes(range(seed, seed + RANDOM_BYTES)))


def ring(*keys: ApiKey) -> Keyring:
    return Keyring({key.id: key for key in keys})


@given(st.binary(min_size=RANDOM_BYTES, max_size=RANDOM_BYTES))
def test_a_key_is_an_id_and_43_letters_that_need_no_quoting(randomness: bytes) -> None:
    text, key = mint(Terms.model_validate(TERMS), NOW, randomness)

    assert text.startswith(f"aj_{key.id}_")
    assert len(text) == 3 + 8 + 1 + 43
    assert set(text) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_")


@given(st.binary(min_size=RANDOM_BYTES, max_size=RANDOM_BYTES))
def test_what_is_kept_of_a_key_holds_no_part_of_its_secret(randomness: bytes) -> None:
    text, key = mint(Terms.model_validate(TERMS), NOW, randomness)

    kept = key.document().decode()

    secret = text[12:]
    assert not any(secret[start : start + 12] in kept for start in range(len(secret) - 12))
    assert json.loads(kept)["hash"] == digest(text)


def test_what_is_kept_is_spelled_as_in_kubernetes_and_says_nothing_of_what_is_not_set() -> None:
    kept = json.loads(minted(expires_at=NOW + DAY, requests_per_minute=5).key.document())

    assert kept == {
        "id": "abcdefgh",
        "name": "ci",
        "namespace": "agents",
        "role": "submit",
        "hash": kept["hash"],
        "createdAt": "2026-11-22T10:00:00Z",
        "expiresAt": "2026-11-23T10:00:00Z",
        "requestsPerMinute": 5,
    }


def test_a_document_is_read_as_it_was_written() -> None:
    key = minted(streams=3, expires_at=NOW + DAY).key

    keyring, complaints = parse({key.file: key.document()})

    assert (keyring.keys, complaints) == ({key.id: key}, ())


def test_a_key_is_known_with_its_namespace_its_role_and_its_limits() -> None:
    text, key = minted(streams=3)

    assert ring(key).caller(text, NOW, DEFAULTS) == Caller(
        name="key:ci",
        limits=Limits(requests_per_minute=600, concurrent_jobs=50, streams=3),
        role=Role.SUBMIT,
        namespace="agents",
    )


TEXT, KEY = minted()
OTHER = minted(40)


@pytest.mark.parametrize(
    "credential",
    [
        pytest.param("", id="nothing"),
        pytest.param("aj_", id="a prefix"),
        pytest.param("aj_abcdefgh", id="an id that is there, alone"),
        pytest.param(TEXT[:-1], id="a key that is cut short"),
        pytest.param(TEXT + "=", id="a key with something after it"),
        pytest.param(TEXT[:-1] + "A", id="a key with another letter at its end"),
        pytest.param(TEXT.upper(), id="a key in capitals"),
        pytest.param(TEXT.removeprefix("aj_"), id="a key without its prefix"),
        pytest.param("aj_abcdefgh" + OTHER.text[11:], id="an id that is there with the secret of another key"),
        pytest.param(OTHER.text, id="a key that is not known"),
        pytest.param(KEY.hash, id="what is kept of a key"),
        pytest.param("aj_" + "0" * 64, id="zeros"),
        pytest.param("aj_\udcff\udcfe_ü", id="bytes that are no text"),
    ],
)
def test_whatever_is_not_a_known_key_gets_the_same_words(credential: str) -> None:
    with pytest.raises(Unauthenticated) as refused:
        ring(KEY).caller(credential, NOW, DEFAULTS)

    assert refused.value.detail == not_valid().detail


@pytest.mark.parametrize(
    ("after", "holds"),
    [
        pytest.param(timedelta(), True, id="at once"),
        pytest.param(DAY - timedelta(seconds=1), True, id="a second before its end"),
        pytest.param(DAY, False, id="at its end"),
        pytest.param(10 * DAY, False, id="long after its end"),
    ],
)
def test_a_key_is_taken_until_it_expires(after: timedelta, holds: bool) -> None:
    text, key = minted(expires_at=NOW + DAY)

    if holds:
        assert ring(key).caller(text, NOW + after, DEFAULTS).name == "key:ci"
    else:
        with pytest.raises(Unauthenticated, match=re.escape(not_valid().detail)):
            ring(key).caller(text, NOW + after, DEFAULTS)


def test_two_keys_of_one_name_are_one_caller() -> None:
    keyring = ring(KEY, OTHER.key)

    assert keyring.caller(TEXT, NOW, DEFAULTS) == keyring.caller(OTHER.text, NOW, DEFAULTS)


@pytest.mark.parametrize(
    ("old", "ends"),
    [
        pytest.param({}, NOW + 2 * DAY, id="never would have ended"),
        pytest.param({"expires_at": NOW + 9 * DAY}, NOW + 2 * DAY, id="would have ended later"),
        pytest.param({"expires_at": NOW + DAY}, NOW + DAY, id="ends before that anyway"),
    ],
)
def test_the_old_key_ends_after_the_overlap(old: dict[str, Any], ends: datetime) -> None:
    key = minted(at=NOW - DAY, **old).key

    rotation = rotate([key], 2 * DAY, NOW, bytes(40))

    assert rotation.ending == (key.model_copy(update={"expires_at": ends}),)
    assert rotation.expired == ()


def test_a_rotated_key_has_the_attributes_of_the_newest_for_as_long_as_that_had() -> None:
    older = minted(0, at=NOW - 3 * DAY, role="read").key
    newest = minted(40, at=NOW - 2 * DAY, streams=3, expires_at=NOW + 5 * DAY).key

    made = rotate([newest, older], DAY, NOW + timedelta(microseconds=5), bytes(40)).minted.key

    assert (made.name, made.namespace, made.role, made.streams) == ("ci", "agents", Role.SUBMIT, 3)
    assert (made.created_at, made.expires_at) == (NOW, NOW + 7 * DAY)
    assert made.id not in {older.id, newest.id}


@pytest.mark.parametrize("expires", [None, NOW + 90 * DAY], ids=["without an end", "with an end"])
def test_a_key_that_was_rotated_in_the_second_it_was_made_hands_on_no_end_of_the_overlap(
    expires: datetime | None,
) -> None:
    first = minted(0, expires_at=expires).key
    second, (ending,), _ = rotate([first], DAY, NOW, bytes(range(40, 80)))

    for keys in ([ending, second.key], [second.key, ending]):
        assert rotate(keys, DAY, NOW, bytes(40)).minted.key.expires_at == expires


def test_a_key_that_has_expired_stays_so_and_is_to_be_cleared_away() -> None:
    expired = minted(at=NOW - 3 * DAY, expires_at=NOW - DAY).key

    rotation = rotate([expired, OTHER.key], DAY, NOW, bytes(40))

    assert ([key.id for key in rotation.ending], rotation.expired) == ([OTHER.key.id], (expired,))


def document(**fields: Any) -> bytes:
    """A key's document with other fields; None takes one away."""
    found = {**json.loads(KEY.document()), **fields}
    return json.dumps({name: value for name, value in found.items() if value is not None}).encode()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        pytest.param(b"", "the file: Invalid JSON", id="nothing"),
        pytest.param(b"\xff\xfe", "the file: Invalid JSON", id="no text"),
        pytest.param(b"[]", "the file: Input should be an object", id="no object"),
        pytest.param(document(hash=None), "hash: Field required", id="no hash"),
        pytest.param(document(hash="hunter2"), "hash: String should match", id="something else for a hash"),
        pytest.param(document(hash=KEY.hash.upper()), "hash: String should match", id="a hash in capitals"),
        pytest.param(document(role="root"), "role: Input should be 'read', 'submit' or 'admin'", id="no such role"),
        pytest.param(document(name="Hunter2"), "name: String should match", id="a name that cannot be"),
        pytest.param(document(namespace=""), "namespace: String should have at least", id="no namespace"),
        pytest.param(document(streams=0), "streams: Input should be greater than", id="a limit of nothing"),
        pytest.param(document(createdAt="2026-11-22T10:00:00"), "createdAt: Input should have timezone", id="no zone"),
        pytest.param(document(onlyFrom="hunter2"), "onlyFrom: Extra inputs are not permitted", id="an unknown field"),
        pytest.param(document(id="ijklmnop"), "expected the file of this key's id to be named ijklmnop.json", id="id"),
    ],
)
def test_a_document_that_is_wrong_is_left_out_and_named_without_its_values(content: bytes, says: str) -> None:
    keyring, complaints = parse({KEY.file: content, OTHER.key.file: OTHER.key.document()})

    assert list(keyring.keys) == [OTHER.key.id]
    assert len(complaints) == 1
    assert complaints[0].startswith(f"{KEY.file}: {says}")
    assert "unter2" not in complaints[0]


def test_what_else_is_in_the_directory_is_none_of_a_keyrings_business() -> None:
    assert parse({"tickets.key": b"x", "README": b""}) == (Keyring({}), ())
