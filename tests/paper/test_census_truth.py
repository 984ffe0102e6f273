"""Section 4 measured on real memory: every figure of the five guests of fleet_a, exactly.

The truth was counted elsewhere, from the guests' bytes, each match compared. The guests' pages are
made again from the packaged trace, equal exactly where they were, so every count must come out.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import esxcore
from esxcore.contents import PAGE_KINDS, ContentTrace
from esxcore.datafile import packaged
from guests import LARGE, PAGE_SIZE, write_sparse

KINDS = {
    "reserved": "reserved",
    "buddy(free)": "free",
    "slab": "slab",
    "pgtable": "page table",
    "anon": "anonymous",
    "swapbacked(tmpfs)": "tmpfs",
    "file": "file",
    "other/kernel": "other",
}
"""What the truth calls what we call."""

NAMES = {
    "total": "pages",
    "zero": "zero_pages",
    "distinct": "distinct_pages",
    "shared": "shared_pages",
    "reclaimed": "reclaimed_pages",
}


@pytest.fixture(scope="module")
def trace() -> ContentTrace:
    return ContentTrace.load(packaged("fleet_a.npz"))


@pytest.fixture(scope="module")
def as_trace() -> esxcore.Census:
    return esxcore.census([packaged("fleet_a.npz")])


@pytest.fixture(scope="module")
def files(
    trace: ContentTrace, fleet_truth: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[list[Path]]:
    """Each guest's memory as a raw file with holes: 0.6 of 1.3 GiB on the disk."""
    folder = tmp_path_factory.mktemp("fleet_a")
    paths = [folder / f"{name}.ram" for name in fleet_truth["order"]]
    for vm, path in enumerate(paths):
        write_sparse(path, trace.tokens(vm))
    yield paths
    for path in paths:  # else pytest keeps those of the last runs
        path.unlink()


@pytest.fixture(scope="module")
def as_files(files: list[Path]) -> esxcore.Census:
    return esxcore.census(files)


@pytest.fixture(scope="module")
def as_arrays(files: list[Path]) -> esxcore.Census:
    """The pages as arrays; mapped, so that nobody needs 1.3 GiB for them."""
    return esxcore.census([mapped(path) for path in files], verify="hash128")


def mapped(path: Path) -> NDArray[np.uint8]:
    return np.memmap(path, np.uint8, "r").reshape(-1, PAGE_SIZE)


@pytest.fixture(params=["as_trace", "as_files", "as_arrays"])
def found(request: pytest.FixtureRequest) -> esxcore.Census:
    value = request.getfixturevalue(request.param)
    assert isinstance(value, esxcore.Census)
    return value


def named(row: Any) -> dict[str, int]:
    """A row of counts under the names of the truth."""
    return {short: getattr(row, name) for short, name in NAMES.items()}


def test_the_totals_and_their_parts(found: esxcore.Census, fleet_truth: dict[str, Any]) -> None:
    alone = sum(image.reclaimed_pages for image in found.images)
    parts = {
        "intra": alone,  # the truth has zero pages in it, under either name
        "inter": found.reclaimed_pages - alone,
        "nz_intra": found.intra_reclaimed_pages,
        "nz_inter": found.inter_reclaimed_pages,
    }
    assert named(found) | parts == fleet_truth["all"]
    assert found.zero_reclaimed_pages == fleet_truth["all"]["zero"] - 1


def test_each_guest(found: esxcore.Census, fleet_truth: dict[str, Any]) -> None:
    rows = [named(image) for image in found.images]
    assert rows == [fleet_truth["per_vm"][name] for name in fleet_truth["order"]]


def test_what_each_pair_has_in_common(found: esxcore.Census, fleet_truth: dict[str, Any]) -> None:
    order, matrix = fleet_truth["order"], found.common_contents
    pairs = {
        f"{one}+{other}": int(matrix[i, j])
        for i, one in enumerate(order)
        for j, other in enumerate(order)
        if i < j
    }
    assert pairs == fleet_truth["pairs"]
    assert (matrix == matrix.T).all()
    own = [image.distinct_pages - (image.zero_pages > 0) for image in found.images]
    assert matrix.diagonal().tolist() == own


def test_the_contents_that_save_most(found: esxcore.Census, fleet_truth: dict[str, Any]) -> None:
    most = fleet_truth["top"]
    assert [content.pages for content in found.top][: len(most)] == most
    assert [content.reclaimed_pages for content in found.top][: len(most)] == [n - 1 for n in most]
    assert (found.top[0].begins_with, found.top[0].is_uniform) == ("00" * 16, True)


def test_how_often_contents_occur(
    found: esxcore.Census, fleet_truth: dict[str, Any], tmp_path: Path
) -> None:
    found.export(tmp_path / "fleet.npz")
    ids = ContentTrace.load(tmp_path / "fleet.npz").ids
    copies = np.bincount(ids)[1:]
    for span, wanted in fleet_truth["copies"].items():
        low, _, high = span.partition("-")
        within = copies[(copies >= int(low)) & (copies <= int(high or low))]
        assert {"contents": within.size, "pages": int(within.sum())} == wanted, span


def test_what_guests_use_pages_for(
    as_trace: esxcore.Census, trace: ContentTrace, fleet_truth: dict[str, Any]
) -> None:
    assert trace.kinds is not None
    first_zero = int(trace.kinds[np.argmax(trace.ids == 0)])
    rows = {row.kind: row for row in as_trace.kinds or []}
    truth = {KINDS.get(kind, kind): row for kind, row in fleet_truth["by_type"].items()}
    assert set(rows) == {kind for kind, row in truth.items() if row["total"]}
    for kind, row in rows.items():
        kept_zero = PAGE_KINDS[first_zero] == kind
        saved = row.reclaimed_pages - row.zero_pages + kept_zero
        found = {"total": row.pages, "zero": row.zero_pages, "nz_saved": saved}
        assert found == {name: truth[kind][name] for name in found}, kind


def test_what_balloons_would_return(
    as_trace: esxcore.Census, trace: ContentTrace, fleet_truth: dict[str, Any]
) -> None:
    assert as_trace.balloon is not None
    assert trace.kinds is not None
    kept = trace.ids[trace.kinds != 3]
    free, rest = as_trace.balloon.free_pages, as_trace.balloon.rest
    truth = fleet_truth["by_type"]["buddy(free)"]
    assert free == truth["total"]
    assert rest.zero_pages == fleet_truth["all"]["zero"] - truth["zero"]
    assert (rest.pages, rest.distinct_pages) == (kept.size, np.unique(kept).size)
    assert rest.pages == fleet_truth["all"]["total"] - free
    assert rest.reclaimed_pages == rest.pages - rest.distinct_pages


def test_what_is_lost_with_large_pages(found: esxcore.Census, trace: ContentTrace) -> None:
    """All guests are whole large pages."""
    blocks = trace.ids.reshape(-1, LARGE)
    reclaimed = LARGE * (len(blocks) - len(np.unique(blocks, axis=0)))
    assert found.large_pages.pages == trace.ids.size
    assert found.large_pages.reclaimed_pages == reclaimed
    assert found.large_pages.lost_pages == found.reclaimed_pages - reclaimed


def test_how_it_was_found_out_is_said(
    as_trace: esxcore.Census, as_files: esxcore.Census, as_arrays: esxcore.Census
) -> None:
    assert [as_trace.verify, as_files.verify, as_arrays.verify] == ["given", "bytes", "hash128"]
    assert as_trace.compression is None
    assert as_files.kinds is None
    formats = [{image.facts["format"] for image in f.images} for f in (as_trace, as_files)]
    assert formats == [{"trace"}, {"raw"}]


def test_own_salts_leave_what_each_guest_saves_alone(
    files: list[Path], fleet_truth: dict[str, Any]
) -> None:
    found = esxcore.census(files, salt="per-vm")
    assert found.reclaimed_pages == fleet_truth["all"]["intra"]
    assert found.intra_reclaimed_pages == fleet_truth["all"]["nz_intra"]
    assert found.inter_reclaimed_pages == 0


def test_under_a_key_guests_exported_one_by_one_are_the_fleet(
    files: list[Path], as_files: esxcore.Census, tmp_path: Path
) -> None:
    traces = [tmp_path / f"{path.stem}.npz" for path in files]
    for path, trace in zip(files, traces, strict=True):
        esxcore.census([path]).export(trace, key="fleet")
    found = esxcore.census(traces)
    assert found.common_contents.tolist() == as_files.common_contents.tolist()
    assert named(found) == named(as_files)
    assert found.inter_reclaimed_pages == as_files.inter_reclaimed_pages


@pytest.mark.slow
def test_all_in_memory_at_once(files: list[Path], as_files: esxcore.Census) -> None:
    """1.3 GiB of arrays of their own, compared byte by byte."""
    arrays = [np.fromfile(path, np.uint8).reshape(-1, PAGE_SIZE) for path in files]
    found = esxcore.census(arrays)
    one, other = found.to_dict(), as_files.to_dict()
    for name in ("images", "top"):  # these name the sources
        del one[name], other[name]
    assert one == other
