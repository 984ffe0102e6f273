"""Sizes, durations and the paper's numbers."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

import esxcore
from esxcore import config
from esxcore.errors import ArgumentTypeError, ConfigError, SizeWarning

GOOD_SIZES = {
    "4KiB": 1, "256MiB": 65_536, "4GiB": 2**20, "1TiB": 2**28, "0.5GiB": 131_072, "1.5MiB": 384,
    " 8 MiB ": 2048,
}  # fmt: skip
BAD_SIZES = [
    "", " ", "MiB", "256", "256MB", "256mib", "256 M", "256Mib", "-4KiB", "0KiB", "0MiB", "6KiB",
    "1KiB", "0.1MiB", "1,5MiB", "1e3MiB", "0x10MiB", "256MiB 4KiB", "infMiB", "nanMiB", "17TiB",
    "9" * 400 + "MiB", "4\nKiB5",
]  # fmt: skip


@pytest.mark.parametrize(("text", "pages"), GOOD_SIZES.items())
def test_sizes(text: str, pages: int) -> None:
    assert config.parse_size_text(text) == config.parse_pages(text) == pages
    assert type(config.parse_pages(text)) is int


@pytest.mark.parametrize("text", BAD_SIZES, ids=lambda text: repr(text)[:20])
def test_sizes_that_are_none(text: str) -> None:
    for parse in (config.parse_size_text, config.parse_pages):
        with pytest.raises(ConfigError, match=r"^web max: ") as caught:
            parse(text, "web max")
        assert "\n" not in str(caught.value)


def test_a_size_error_names_value_and_expectation() -> None:
    with pytest.raises(ConfigError, match=r"'256' has no unit.*MiB"):
        config.parse_size_text("256")
    with pytest.raises(ConfigError, match=r"'MB'.*KiB, MiB, GiB, TiB"):
        config.parse_size_text("256MB")
    with pytest.raises(ConfigError, match=r"'6KiB'.*1\.5 pages"):
        config.parse_size_text("6KiB")


@pytest.mark.parametrize("value", [1024, 65_536, 2**32 - 1, np.int64(4096), np.uint16(1024)])
def test_whole_pages(value: Any) -> None:
    if value <= config.MAX_PAGES:
        assert config.parse_pages(value) == int(value)
        assert type(config.parse_pages(value)) is int


@pytest.mark.parametrize("value", [1, 256, 1023])
def test_a_small_number_warns(value: int) -> None:
    with pytest.warns(SizeWarning, match=rf"memory.*{value} pages.*'{value}MiB'"):
        assert config.parse_pages(value, "memory") == value


@pytest.mark.parametrize("value", [0, -1, -(2**70), 2**33, 2**70])
def test_pages_out_of_range(value: int) -> None:
    with pytest.raises(ConfigError, match=str(value)):
        config.parse_pages(value)


@pytest.mark.parametrize(
    "value", [True, False, 1024.0, None, b"4MiB", [1024], np.float64(4096), np.True_]
)
def test_what_is_no_size(value: Any) -> None:
    with pytest.raises(ArgumentTypeError, match="memory"):
        config.parse_pages(value, "memory")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("300s", 300.0), ("5min", 300.0), ("1h", 3600.0), ("500ms", 0.5), ("1.5 s", 1.5), ("0s", 0.0)],
)
def test_durations(text: str, seconds: float) -> None:
    assert config.parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "5", "5m", "5 minutes", "-5s", "s", "1d", "5min 3s", "infs"])
def test_durations_that_are_none(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^run\.length: "):
        config.parse_duration(text, "run.length")


# Section 13 of the notes on the paper: what every reproduction must start from.
PAPER = {
    "hash_bits": 64, "frame_bytes": 16, "count_bits": 16, "scan_vm_rate": 50, "scan_host_rate": 200,
    "tax_rate": 0.75, "sample_pages": 100, "sample_period_s": 30, "high_threshold": 0.06,
}  # fmt: skip


def test_paper_parameters() -> None:
    table = config.paper_parameters()
    names = [row.name for row in table]
    assert len(set(names)) == len(names)
    for row in table:
        assert row.name.isidentifier()
        assert isinstance(row.value, int | float)
        assert not isinstance(row.value, bool)
        assert row.unit
        assert row.section
        assert row.confidence
    values = {row.name: row.value for row in table}
    assert {name: values[name] for name in PAPER} == PAPER
    assert table == config.paper_parameters()
    assert pickle.loads(pickle.dumps(table)) == table


def test_page_size_is_the_papers() -> None:
    assert config.PAGE_SIZE == esxcore.PAGE_SIZE == 4096
    assert 2**31 <= config.MAX_PAGES <= 2**32


def test_digits_are_those_of_ascii() -> None:
    for text in ("\u0662\u0665\u0666MiB", "\uff14MiB"):
        with pytest.raises(ConfigError, match="expected a number and a unit"):
            config.parse_size_text(text)
