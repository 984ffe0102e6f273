"""Page-content traces: the packaged one against a count made elsewhere, and ways to be wrong."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from esxcore.contents import TOKEN_LIMIT, ContentTrace, TraceKey, page_bytes
from esxcore.datafile import packaged
from esxcore.errors import ConfigError, ContentError, DataError

IDS = np.array([0, 5, 5, 7, 0], np.uint32)
SIZES = np.array([3, 2], np.int64)


@pytest.fixture(scope="module")
def fleet() -> ContentTrace:
    return ContentTrace.load(packaged("fleet_a.npz"))


def test_the_packaged_trace_has_the_counted_pages(
    fleet: ContentTrace, fleet_truth: dict[str, Any]
) -> None:
    assert fleet.vms == len(fleet_truth["order"]) == 5
    for position, name in enumerate(fleet_truth["order"]):
        tokens, truth = fleet.tokens(position), fleet_truth["per_vm"][name]
        assert tokens.dtype == np.uint64
        assert tokens.size == truth["total"]
        assert np.count_nonzero(tokens == 0) == truth["zero"]
        assert np.unique(tokens).size == truth["distinct"]


def test_the_vms_are_cut_at_their_sizes() -> None:
    trace = ContentTrace(IDS, SIZES)
    assert trace.tokens(0).tolist() == [0, 5, 5]
    assert trace.tokens(1).tolist() == [7, 0]
    assert trace.pages(1).shape == (2, 4096)


def test_tokens_are_a_copy() -> None:
    trace = ContentTrace(IDS.astype(np.uint64), SIZES)
    trace.tokens(0)[:] = 9
    assert trace.tokens(0).tolist() == [0, 5, 5]


@pytest.mark.parametrize("vm", [-1, 2])
def test_a_vm_that_is_not_there(vm: int) -> None:
    with pytest.raises(DataError, match=rf"no VM {vm}; expected 0 to 1"):
        ContentTrace(IDS, SIZES).tokens(vm)


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"id": IDS.astype(float)}, r"array 'id' is float64"),
    ({"id": IDS.astype(bool)}, r"array 'id' is bool"),
    ({"id": IDS[:, None]}, r"array 'id' is uint32 with 2 axes"),
    ({"id": IDS[:4]}, r"array 'id' has 4 pages; expected 5, the sum of 'vm_pages'"),
    ({"id": -IDS.astype(np.int64)}, r"array 'id' holds -7; expected 0 to 2\*\*63 - 1"),
    ({"id": IDS.astype(np.uint64) + np.uint64(2**63)}, r"'id' holds 9223372036854775815; expected"),
    ({"vm_pages": SIZES.astype(float)}, r"array 'vm_pages' is float64"),
    ({"vm_pages": np.array(5)}, r"array 'vm_pages' is int64 with 0 axes"),
    ({"vm_pages": np.array([5, 0])}, r"array 'vm_pages' must give one VM or more"),
    ({"vm_pages": np.empty(0, np.int64), "id": IDS[:0]}, r"array 'vm_pages' must give one VM"),
    ({"vm_pages": np.array([2**62, 2**62, 2**62, 2**62, 5])}, r"'id' has 5 pages; expected \d+,"),
    ({"kind": np.zeros(4, np.uint8)}, r"array 'kind' has 4 pages; expected 5"),
    ({"kind": np.zeros(5, np.int8)}, r"array 'kind' is int8"),
]


@pytest.mark.parametrize(("change", "said"), WRONG)
def test_a_wrong_file_is_one_line_that_names_file_and_array(
    tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    path = tmp_path / "trace.npz"
    arrays: dict[str, Any] = {"id": IDS, "vm_pages": SIZES} | change
    np.savez(path, **arrays)
    with pytest.raises(DataError, match=said) as error:
        ContentTrace.load(path)
    assert str(error.value).startswith(f"{path}: array '")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["id", "vm_pages"])
def test_a_missing_array_is_named(tmp_path: Path, name: str) -> None:
    path = tmp_path / "trace.npz"
    arrays: dict[str, Any] = {"id": IDS, "vm_pages": SIZES}
    del arrays[name]
    np.savez(path, **arrays)
    with pytest.raises(DataError, match=f"array '{name}' is missing"):
        ContentTrace.load(path)


def test_kinds_come_with_the_trace(fleet: ContentTrace) -> None:
    assert fleet.kinds is not None
    assert fleet.kinds.shape == fleet.ids.shape
    assert ContentTrace(IDS, SIZES).kinds is None


@given(st.lists(st.integers(0, TOKEN_LIMIT - 1), max_size=40))
def test_pages_are_equal_exactly_where_tokens_are(tokens: list[int]) -> None:
    pages = page_bytes(np.array(tokens, np.uint64))
    assert pages.shape == (len(tokens), 4096)
    assert pages.dtype == np.uint8
    assert len({page.tobytes() for page in pages}) == len(set(tokens))
    assert [bool(page.any()) for page in pages] == [token != 0 for token in tokens]


def test_a_page_is_the_same_wherever_it_stands() -> None:
    tokens = np.arange(2500)  # more than two chunks
    pages = page_bytes(tokens)
    assert np.unique(pages.view("<u8")[:, 0]).size == tokens.size
    alone = [page_bytes(tokens[at : at + 1])[0] for at in (0, 1023, 1024, 2499)]
    assert (np.array(alone) == pages[[0, 1023, 1024, 2499]]).all()


def mixed(word: int) -> int:
    """The finaliser of splitmix64, as its author gives it."""
    word = (word ^ word >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    word = (word ^ word >> 27) * 0x94D049BB133111EB % 2**64
    return word ^ word >> 31


@pytest.mark.parametrize("token", [1, 2**32, TOKEN_LIMIT - 1])
def test_a_page_is_what_its_docstring_says(token: int) -> None:
    words = page_bytes(np.array([token])).view("<u8")[0].tolist()
    start = mixed(token)
    assert words == [mixed((start + at * 0x9E3779B97F4A7C15) % 2**64) for at in range(512)]


def test_every_word_of_a_page_is_filled() -> None:
    assert np.count_nonzero(page_bytes(np.array([1])).view("<u8")) == 512


@pytest.mark.parametrize(
    "tokens",
    [
        np.array([0.0]),
        np.array([True]),
        np.array([[1]]),
        np.array([-1]),
        np.array([2**63], np.uint64),
    ],
    ids=["float", "bool", "two axes", "negative", "too large"],
)
def test_what_is_no_token_is_refused(tokens: Any) -> None:
    with pytest.raises(ContentError, match="expected"):
        page_bytes(tokens)


def test_spans_of_time_are_no_integers() -> None:
    with pytest.raises(DataError, match=r"'id' is timedelta64\[s\] with 1 axes; expected integers"):
        ContentTrace(IDS.astype("m8[s]"), SIZES)
    with pytest.raises(ContentError, match=r"timedelta64\[s\] of shape"):
        page_bytes(IDS.astype("m8[s]"))


def test_a_key_hashes_as_it_says() -> None:
    """Keyed BLAKE2b of 16 bytes, under a key made of the secret."""
    key = hashlib.blake2b(b"secret", digest_size=32, person=b"esxcore key").digest()
    page = page_bytes(np.array([7]))[0].tobytes()
    for secret in ("secret", b"secret"):
        found = TraceKey(secret)
        assert found.digest(page) == hashlib.blake2b(page, digest_size=16, key=key).digest()
        assert found.check().tobytes() == TraceKey(b"secret").check().tobytes()
    assert TraceKey("Secret").digest(page) != TraceKey("secret").digest(page)
    assert TraceKey("Secret").check().tobytes() != TraceKey("secret").check().tobytes()


@pytest.mark.parametrize("ids", [[0, 5, 5, 7], [0, 2**40, 2**40, 9], [2**63 - 1, 1, 1, 2**62]])
def test_dense_ids_are_equal_where_ids_are(ids: list[int]) -> None:
    dense = ContentTrace(np.array(ids, np.uint64), np.array([4])).dense_ids()
    assert dense.dtype == np.uint32
    assert dense.max() < 2**20
    pairs = set(zip(ids, dense.tolist(), strict=True))
    assert len(pairs) == len(set(ids)) == len(set(dense.tolist()))
    assert all((one == 0) == (other == 0) for one, other in pairs)


def test_a_key_is_the_bytes_that_its_text_came_from() -> None:
    text = os.fsdecode(b"\xff\xfe")
    assert TraceKey(text).check().tolist() == TraceKey(b"\xff\xfe").check().tolist()
    with pytest.raises(ConfigError, match=r"^key: .*; expected a secret$"):
        TraceKey("\ud800")
