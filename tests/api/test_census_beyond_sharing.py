"""What a census says beyond sharing: compression of what is left, and large pages kept whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import esxcore
from esxcore import counting
from guests import LARGE

PAGE_SIZE = 4096


def constant(bytes_: range) -> NDArray[np.uint8]:
    """Pages of one byte each: LZ4 makes a few dozen bytes of them, so they take a quarter."""
    return np.repeat(np.array(bytes_, np.uint8)[:, None], PAGE_SIZE, axis=1)


def random(pages: int, seed: int) -> NDArray[np.uint8]:
    """Random bytes, of which nothing can be saved."""
    return np.random.default_rng(seed).integers(0, 256, (pages, PAGE_SIZE), np.uint8)


def random_but(pages: int, constant_from: int, seed: int) -> NDArray[np.uint8]:
    """Random bytes, and one byte over and over from some place on."""
    image = random(pages, seed)
    image[:, constant_from:] = 7
    return image


def compression(*images: Any, **options: Any) -> counting.Compression:
    found = esxcore.census(images, **options).compression
    assert found is not None
    return found


def test_the_slots_are_known_and_the_estimate_is_exact() -> None:
    """10 of a quarter, 20 of a half, 30 whole; equal pages and zero pages count for nothing."""
    quarters, halves, wholes = constant(range(1, 11)), random_but(20, 1900, 1), random(30, 2)
    image = np.concatenate([quarters, wholes, quarters, halves, np.zeros((5, PAGE_SIZE), np.uint8)])
    found = compression(image, wholes)
    assert (found.contents, found.sampled_contents) == (60, 60)
    assert found.quarter_fraction == 10 / 60
    assert found.half_fraction == 20 / 60
    wanted = 10 * 0.75 + 20 * 0.5
    assert found.saved_pages == pytest.approx(wanted, rel=1e-12)
    assert (found.saved_low_pages, found.saved_high_pages) == (found.saved_pages,) * 2


@pytest.mark.parametrize(
    ("constant_from", "half", "quarter"),
    # LZ4 adds to random bytes one in 255, and a few for each sequence.
    [(900, 0, 1), (980, 0, 1), (1050, 1, 0), (2000, 1, 0), (2060, 0, 0), (4096, 0, 0)],
)
def test_slots_have_exact_sizes(constant_from: int, half: float, quarter: float) -> None:
    found = compression(random_but(8, constant_from, 3))
    assert (found.half_fraction, found.quarter_fraction) == (half, quarter)


def test_nothing_is_left_of_zero_pages() -> None:
    found = compression(np.zeros((9, PAGE_SIZE), np.uint8))
    assert (found.contents, found.sampled_contents) == (0, 0)
    assert (found.saved_pages, found.saved_low_pages, found.saved_high_pages) == (0, 0, 0)
    assert (found.half_fraction, found.quarter_fraction) == (0, 0)


def test_contents_of_traces_are_left_out(tmp_path: Path) -> None:
    esxcore.census([random(20, 1)]).export(tmp_path / "trace.npz")
    found = compression(tmp_path / "trace.npz", constant(range(1, 5)))
    assert (found.contents, found.quarter_fraction) == (4, 1.0)


def test_domains_compress_what_each_of_them_keeps() -> None:
    image = constant(range(1, 6))
    assert compression(image, image).contents == 5
    assert compression(image, image, salt="per-vm").contents == 10


@pytest.fixture(scope="module")
def mixed() -> NDArray[np.uint8]:
    """600 contents: 150 of a quarter, 150 of a half, 300 whole, in random order."""
    patterns = np.tile(np.arange(150, dtype="<u2").view(np.uint8).reshape(-1, 2), PAGE_SIZE // 2)
    patterns[0, 0] = 1  # not zero
    image = np.concatenate([patterns, random_but(150, 1900, 4), random(300, 5)])
    return np.random.default_rng(6).permutation(image)


SAVED = 150 * 0.75 + 150 * 0.5
"""Pages that compression saves of `mixed`."""


def sampled(
    image: NDArray[np.uint8], contents: int, seed: int, monkeypatch: pytest.MonkeyPatch
) -> counting.Compression:
    monkeypatch.setattr(counting, "SAMPLED_CONTENTS", contents)
    found = compression(image, seed=seed)
    assert (found.contents, found.sampled_contents) == (600, min(contents, 600))
    return found


def width(found: counting.Compression) -> float:
    return found.saved_high_pages - found.saved_low_pages


def test_all_of_it_is_the_truth(mixed: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch) -> None:
    found = sampled(mixed, 600, 0, monkeypatch)
    assert found.saved_pages == pytest.approx(SAVED, rel=1e-12)
    assert (found.quarter_fraction, found.half_fraction) == (0.25, 0.25)
    assert width(found) == 0


def test_a_sample_says_how_sure_it_is(
    mixed: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = [sampled(mixed, contents, 2, monkeypatch) for contents in (25, 50, 100, 400, 599)]
    for found in samples:
        assert found.saved_low_pages <= SAVED <= found.saved_high_pages
        assert found.saved_low_pages < found.saved_pages < found.saved_high_pages
    widths = [width(found) for found in samples]
    assert widths == sorted(widths, reverse=True)
    assert widths[-1] < widths[0] / 10


def test_the_interval_holds_the_truth_about_as_often_as_it_says(
    mixed: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    """95 of 100 times, give or take four standard deviations of such a count."""
    found = [sampled(mixed, 50, seed, monkeypatch) for seed in range(400)]
    held = sum(one.saved_low_pages <= SAVED <= one.saved_high_pages for one in found)
    assert 362 <= held <= 397
    mean = float(np.mean([one.saved_pages for one in found]))
    assert mean == pytest.approx(SAVED, rel=0.028)  # four standard errors


def test_the_seed_chooses_the_sample(
    mixed: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, again, other = (sampled(mixed, 50, seed, monkeypatch) for seed in (3, 3, 4))
    assert one == again
    assert one != other


def test_a_sample_of_equals_is_not_believed_to_be_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """No spread is seen in such a sample, and yet the interval has a width."""
    found = sampled(random(600, 9), 50, 0, monkeypatch)
    assert found.saved_pages == found.saved_low_pages == 0
    assert 0 < found.saved_high_pages < 0.1 * 600


# -- large pages -----------------------------------------------------------------------------------


def blocks(*seeds: int) -> NDArray[np.uint8]:
    """A large page for each seed, all of whose pages differ from each other."""
    pages = np.zeros((len(seeds) * LARGE, PAGE_SIZE), np.uint8)
    numbers = [np.arange(LARGE, dtype="<u8") + 1 + seed * LARGE for seed in seeds]
    pages[:, 8:16] = np.concatenate(numbers).view(np.uint8).reshape(-1, 8)
    return pages


IMAGE = (0, 1, 0, 2)


def large(*images: Any, **options: Any) -> tuple[int, int, int]:
    found = esxcore.census(images, **options)
    kept = found.large_pages
    assert kept.lost_pages == found.reclaimed_pages - kept.reclaimed_pages
    return kept.pages, kept.reclaimed_pages, kept.lost_pages


def test_equal_large_pages_are_shared_as_wholes() -> None:
    assert large(blocks(*IMAGE)) == (4 * LARGE, LARGE, 0)


def test_one_page_that_differs_keeps_all_of_it() -> None:
    image = blocks(*IMAGE)
    image[2 * LARGE + 77, 0] = 1
    assert large(image) == (4 * LARGE, 0, LARGE - 1)


def test_shifted_by_one_page_nothing_is_shared() -> None:
    """All four are still there, three of them aligned; the ends are small and differ."""
    first, last = blocks(8)[:1], blocks(9)[: LARGE - 1]
    shifted = np.concatenate([first, blocks(*IMAGE), last])
    assert large(shifted) == (5 * LARGE, 0, LARGE)
    assert large(blocks(*IMAGE), shifted) == (9 * LARGE, LARGE, 4 * LARGE)


def test_pages_outside_of_large_pages_stay_small() -> None:
    tail = blocks(0)[:10]
    image = np.concatenate([blocks(*IMAGE), tail, tail])
    assert large(image) == (4 * LARGE, LARGE + 10, 10)
    assert large(tail, tail) == (0, 10, 0)


def test_large_pages_of_two_domains_do_not_meet() -> None:
    assert large(blocks(5), blocks(5)) == (2 * LARGE, LARGE, 0)
    assert large(blocks(5), blocks(5), salt="per-vm") == (2 * LARGE, 0, 0)


@pytest.mark.parametrize("form", ["raw", "trace"])
def test_files_and_traces_have_large_pages_too(tmp_path: Path, form: str) -> None:
    path = tmp_path / form
    if form == "raw":
        blocks(*IMAGE).tofile(path)
    else:
        esxcore.census([blocks(*IMAGE)]).export(path)
    assert large(path) == (4 * LARGE, LARGE, 0)
