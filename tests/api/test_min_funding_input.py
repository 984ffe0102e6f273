"""Bad input of `min_funding_targets`: a typed error with the numbers in one line."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import esxcore

COLUMNS = ("shares", "min_pages", "max_pages", "active_pages")


GOOD: dict[str, Any] = {
    "shares": [1, 2, 3],
    "min_pages": [1, 1, 1],
    "max_pages": [9, 9, 9],
    "active_pages": [0, 5, 12],
    "available_pages": 20,
}


def call(**changed: Any) -> Any:
    return esxcore.min_funding_targets(**(GOOD | changed))


def refused(kind: type[Exception], *words: str, **changed: Any) -> Any:
    with pytest.raises(kind) as caught:
        call(**changed)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message, message
    return caught.value


def test_what_is_good() -> None:
    assert call().sum() == 20
    empty = call(**dict.fromkeys(COLUMNS, ()), available_pages=0)
    assert (empty.dtype, empty.shape) == (np.dtype(np.int64), (0,))


@pytest.mark.parametrize("dtype", ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", ">i8"])
@pytest.mark.parametrize("name", COLUMNS)
def test_any_integer_dtype_and_any_stride(name: str, dtype: str) -> None:
    values = np.repeat(np.array(GOOD[name], dtype=dtype), 2)[::2]
    assert call(**{name: values}).tolist() == call().tolist()
    assert call(**{name: tuple(GOOD[name])}).tolist() == call().tolist()


@pytest.mark.parametrize("name", COLUMNS)
@pytest.mark.parametrize(
    "values",
    [
        [1.0, 2.0, 3.0],
        np.array([1.0, np.nan, 3.0]),
        [True, False, True],
        np.array([True, False, True]),
        ["1", "2", "3"],
        [1, None, 3],
        np.array([1, 2, 3], dtype=object),
        np.array([1, 2, 3], dtype="m8[s]"),
        np.ma.masked_array([1, 2, 3], mask=[0, 1, 0]),
        np.array([]),
        None,
        "123",
        7,
        np.int64(7),
        [[1, 2, 3]],
        [[1], [2, 3]],
        {1, 2, 3},
    ],
    ids=repr,
)
def test_columns_are_one_dimensional_and_whole(name: str, values: Any) -> None:
    error = refused(esxcore.ArgumentTypeError, name, **{name: values})
    assert isinstance(error, TypeError)


@pytest.mark.parametrize("name", COLUMNS)
@pytest.mark.parametrize("wrong", [-1, -(2**63), -(2**70), 2**63, 2**64 - 1, 2**70])
def test_numbers_out_of_range(name: str, wrong: int) -> None:
    error = refused(esxcore.ConfigError, name, "VM 1", str(wrong), **{name: [1, wrong, -7]})
    assert isinstance(error, ValueError)


@pytest.mark.parametrize("name", ["min_pages", "max_pages"])
def test_pages_have_32_bits(name: str) -> None:
    values = [1, 1, 2**32]
    refused(esxcore.ConfigError, name, "VM 2", str(2**32), str(2**32 - 1), **{name: values})


def test_the_largest_numbers() -> None:
    assert call(shares=[2**63 - 1] * 3).tolist() == call(shares=[1, 1, 1]).tolist()
    assert call(active_pages=[2**63 - 1] * 3).tolist() == call(active_pages=[9, 9, 9]).tolist()
    assert call(max_pages=[2**32 - 1] * 3, available_pages=2**63 - 1).tolist() == [2**32 - 1] * 3
    wide = np.array([1, 2, 3], dtype=np.uint64)
    assert call(shares=wide).tolist() == call().tolist()


@pytest.mark.parametrize("name", COLUMNS)
@pytest.mark.parametrize("values", [[], [1], [1, 1, 1, 1]])
def test_columns_are_equally_long(name: str, values: list[int]) -> None:
    error = refused(esxcore.ConfigError, "VMs; expected one for each", **{name: values})
    assert str(len(values)) in str(error)


def test_min_above_max() -> None:
    refused(esxcore.ConfigError, "min_pages of VM 2 is 10", "max_pages, 9", min_pages=[1, 9, 10])


def test_min_above_what_is_available() -> None:
    error = refused(
        esxcore.MinOvercommittedError, "24", "23", min_pages=[9, 9, 6], available_pages=23
    )
    assert (error.min_pages, error.available_pages) == (24, 23)
    assert isinstance(error, esxcore.ConfigError)
    assert isinstance(error, ValueError)
    assert call(min_pages=[9, 9, 6], available_pages=24).tolist() == [9, 9, 6]


@pytest.mark.parametrize("available", [-1, 2**63, 2**70])
def test_what_cannot_be_available(available: int) -> None:
    refused(esxcore.ConfigError, "available_pages", str(available), available_pages=available)


@pytest.mark.parametrize("available", [1.0, True, None, "4MiB", [20], np.float64(20)])
def test_what_is_available_is_a_whole_number(available: Any) -> None:
    refused(esxcore.ArgumentTypeError, "available_pages", available_pages=available)


@pytest.mark.parametrize(
    ("rate", "word"),
    [(1, "1"), (1.0, "1"), (-0.01, "-0.01"), (75, "75"), (float("nan"), "NaN"), (10**400, "inf")],
)
def test_tax_rates_that_cannot_be(rate: float, word: str) -> None:
    refused(esxcore.ConfigError, "tax_rate", word, "below 1", tax_rate=rate)


@pytest.mark.parametrize("rate", [True, "0.75", None, [0.75], 0.5j])
def test_a_tax_rate_is_a_number(rate: Any) -> None:
    refused(esxcore.ArgumentTypeError, "tax_rate", tax_rate=rate)


def test_tax_rates_of_all_kinds_and_to_the_millionth() -> None:
    for rate in (0, 0.0, -0.0, np.float32(0), np.int8(0), 4e-7):
        assert call(tax_rate=rate).tolist() == call(tax_rate=0).tolist()
    for rate in (0.9999999, 1 - 1e-16, 0.999999):
        assert call(tax_rate=rate).tolist() == call(tax_rate=0.999999).tolist()


def test_everything_is_named() -> None:
    with pytest.raises(TypeError):
        esxcore.min_funding_targets([1], [0], [1], [0], 1)  # type: ignore[misc]


def test_columns_stay_as_they_are() -> None:
    shares = np.array([1, 2, 3])
    found = call(shares=shares)
    found[:] = -1
    assert shares.tolist() == [1, 2, 3]
