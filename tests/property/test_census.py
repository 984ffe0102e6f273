"""Laws of the census: small images of every kind against dicts, and what must change nothing."""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import esxcore
from esxcore.contents import KEYED_ZERO, PAGE_KINDS, ContentTrace, TraceKey, page_bytes
from guests import COUNTS, LARGE, PARTS, ZERO, Guest, agree
from worlds import pages as palette

KEY = "what the tests know"
numbers = st.lists(st.integers(0, 6), min_size=1, max_size=14)
kinds = st.sampled_from([3, 3, 6, 8, 255])


@dataclass(frozen=True)
class Spec:
    """A source to be made: of what form, and the palette numbers of the pages of its guests."""

    form: str  # array, view, raw, sparse, trace or keyed
    guests: tuple[tuple[int, ...], ...]
    kinds: tuple[int, ...] | None = None

    def make(self, folder: Path, place: int) -> Path | NDArray[np.uint8]:
        path = folder / f"{place}.{self.form}"
        ids = np.array(list(itertools.chain(*self.guests)))
        if self.form in ("array", "view"):
            pages = palette("bytes", ids)
            return pages if self.form == "array" else np.repeat(pages, 2, axis=0)[::2]
        if self.form == "raw":
            palette("bytes", ids).tofile(path)
        elif self.form == "sparse":
            with path.open("wb") as file:
                file.truncate(ids.size * 4096)
                for at in np.flatnonzero(ids):
                    file.seek(at * 4096)
                    file.write(palette("bytes", ids[[at]]).tobytes())
        else:
            self._save(path, ids)
        return path

    def _save(self, path: Path, ids: NDArray[np.int64]) -> None:
        arrays: dict[str, Any] = {"vm_pages": [len(guest) for guest in self.guests]}
        if self.kinds is not None:
            arrays["kind"] = np.array(self.kinds, np.uint8)
        if self.form == "keyed":
            key, used = TraceKey(KEY), [n for n in dict.fromkeys(ids.tolist()) if n]
            rows = [KEYED_ZERO, *(key.digest(palette("bytes", [n])[0].tobytes()) for n in used)]
            arrays["digest"] = np.frombuffer(b"".join(rows), np.uint8).reshape(-1, 16)
            arrays["key_check"] = key.check()
            arrays["id"] = np.array([used.index(n) + 1 if n else 0 for n in ids.tolist()])
        else:
            arrays["id"] = ids * 10**12  # far apart, as hashes would be
        with path.open("wb") as file:
            np.savez(file, **arrays)

    def seen(self, place: int) -> Iterator[tuple[list[Hashable], list[str]]]:
        """Contents and kinds of each guest, as far as a census may compare them."""
        space = {"trace": f"trace {place}", "keyed": "key"}.get(self.form, "bytes")
        rest = iter(self.kinds or ())
        for guest in self.guests:
            names = [PAGE_KINDS[kind] for kind in itertools.islice(rest, len(guest))]
            yield [(space, n) if n else ZERO for n in guest], names


@st.composite
def specs(draw: st.DrawFn) -> Spec:
    form = draw(st.sampled_from(["array", "view", "raw", "sparse", "trace", "keyed"]))
    is_trace = form in ("trace", "keyed")
    guests = draw(st.lists(numbers, min_size=1, max_size=3 if is_trace else 1))
    pages = sum(map(len, guests))
    by_page = st.lists(kinds, min_size=pages, max_size=pages)
    used_for = draw(st.none() | by_page) if is_trace else None
    return Spec(form, tuple(map(tuple, guests)), used_for and tuple(used_for))


Salt = str | list[str]


@st.composite
def worlds(draw: st.DrawFn) -> tuple[list[Spec], Salt, list[Hashable]]:
    """Sources, a salt, and the domain of each image."""
    sources = draw(st.lists(specs(), min_size=1, max_size=4))
    owners = [place for place, source in enumerate(sources) for _ in source.guests]
    how = draw(st.sampled_from(["none", "per-vm", "sources", "images"]))
    if how == "none":
        return sources, "none", [0] * len(owners)
    if how == "per-vm":
        return sources, "per-vm", list(range(len(owners)))
    wanted = len(sources) if how == "sources" else len(owners)
    names = st.lists(st.sampled_from("ab"), min_size=wanted, max_size=wanted)
    salt = draw(names)
    domains = [salt[owner] for owner in owners] if how == "sources" else salt
    return sources, salt, list(domains)


def guests_of(sources: Sequence[Spec], domains: Sequence[Hashable]) -> list[Guest]:
    seen = itertools.chain(*(source.seen(place) for place, source in enumerate(sources)))
    return [
        Guest(pages, domain, names) for (pages, names), domain in zip(seen, domains, strict=True)
    ]


@given(worlds(), st.sampled_from(["bytes", "hash128"]), st.integers(1, 3))
def test_a_census_is_what_dicts_count(
    world: tuple[list[Spec], Salt, list[Hashable]], verify: Any, threads: int
) -> None:
    sources, salt, domains = world
    with TemporaryDirectory() as folder:
        made = [source.make(Path(folder), place) for place, source in enumerate(sources)]
        found = esxcore.census(made, salt=salt, verify=verify, threads=threads)
        agree(found, guests_of(sources, domains))
    assert found.salt == salt
    have_bytes = any(source.form not in ("trace", "keyed") for source in sources)
    assert found.verify == (verify if have_bytes else "given")
    assert (found.compression is not None) == have_bytes


@given(worlds())
@settings(max_examples=80)
def test_an_image_is_counted_as_if_it_were_alone(
    world: tuple[list[Spec], Salt, list[Hashable]],
) -> None:
    sources, salt, _ = world
    with TemporaryDirectory() as folder:
        made = [source.make(Path(folder), place) for place, source in enumerate(sources)]
        together = esxcore.census(made, salt=salt).images
        for source in made:
            alone = esxcore.census([source], salt="per-vm")
            for image in alone.images:
                other = together.pop(0)
                for name in COUNTS + PARTS:
                    assert getattr(image, name) == getattr(other, name), name
    assert together == []


@given(worlds(), st.sampled_from(["bytes", "hash128"]))
@settings(max_examples=50)
def test_threads_change_nothing(
    world: tuple[list[Spec], Salt, list[Hashable]], verify: Any
) -> None:
    sources, salt, _ = world
    with TemporaryDirectory() as folder:
        made = [source.make(Path(folder), place) for place, source in enumerate(sources)]
        one, *others = (
            esxcore.census(made, salt=salt, verify=verify, threads=threads).to_dict()
            for threads in (1, 2, 3)
        )
    assert others == [one, one]


def test_threads_change_nothing_where_they_meet() -> None:
    """Enough pages that all threads work at once, on equal contents too."""
    rng = np.random.default_rng(5)
    images = [page_bytes(rng.integers(0, 900, 6000)) for _ in range(3)]
    one, *others = (esxcore.census(images, threads=threads).to_dict() for threads in (1, 2, 3, 16))
    assert others == [one] * 3


@given(st.lists(st.integers(0, 2), min_size=1, max_size=4), st.lists(numbers, max_size=3))
@settings(max_examples=60)
def test_large_pages_are_what_dicts_count(blocks: list[int], tails: list[list[int]]) -> None:
    """Guests of whole large pages, some equal, some but for one page; the rest stays small."""
    whole = [np.arange(LARGE) % 7, np.arange(LARGE) % 5, np.arange(LARGE) % 7]
    whole[2][100] = 9
    body = np.concatenate([whole[block] for block in blocks]).tolist()
    guests = [tuple(body), *(tuple(body[:LARGE] + tail) for tail in tails)]
    source = Spec("trace", tuple(guests))
    with TemporaryDirectory() as folder:
        found = esxcore.census([source.make(Path(folder), 0)])
    agree(found, guests_of([source], [0] * len(guests)))
    assert found.large_pages.pages >= LARGE * len(blocks)


def counted(found: esxcore.Census) -> dict[str, Any]:
    """All of a census that contents decide, whatever it was made from."""
    plain = found.to_dict()
    for name in ("salt", "verify", "compression"):
        del plain[name]
    for row in plain["images"] + plain["top"]:
        for name in ("path", "facts", "begins_with", "is_uniform"):
            row.pop(name, None)
    return plain


@given(worlds(), st.booleans())
@settings(max_examples=80)
def test_an_export_counts_like_what_was_exported(
    world: tuple[list[Spec], Salt, list[Hashable]], with_key: bool
) -> None:
    sources, _, _ = world
    assume(not with_key or all(source.form not in ("trace", "keyed") for source in sources))
    with TemporaryDirectory() as folder:
        made = [source.make(Path(folder), place) for place, source in enumerate(sources)]
        found, path = esxcore.census(made), Path(folder) / "export.npz"
        found.export(path, key=KEY if with_key else None)
        again = esxcore.census([path])
    assert counted(again) == counted(found)
    assert again.verify == "given"


@given(st.lists(numbers, min_size=2, max_size=4), st.integers(1, 3))
@settings(max_examples=80)
def test_exports_under_one_key_count_like_the_images_together(
    images: list[list[int]], cut: int
) -> None:
    arrays = [palette("bytes", image) for image in images]
    parts = [part for part in (arrays[:cut], arrays[cut:]) if part]
    with TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{number}.npz" for number in range(len(parts))]
        for part, path in zip(parts, paths, strict=True):
            esxcore.census(part).export(path, key=KEY)
        assert counted(esxcore.census(paths)) == counted(esxcore.census(arrays))


@given(st.lists(numbers, min_size=1, max_size=3))
@settings(max_examples=50)
def test_digests_depend_on_content_and_key_only(images: list[list[int]]) -> None:
    def digests(images: list[list[int]], key: str) -> dict[int, bytes]:
        """The digest of each palette page, out of a census of the images in this order."""
        with TemporaryDirectory() as folder:
            path = Path(folder) / "export.npz"
            esxcore.census([palette("bytes", image) for image in images]).export(path, key)
            trace = ContentTrace.load(path)
        assert trace.digests is not None
        rows = [trace.digests[number].tobytes() for number in trace.ids.tolist()]
        return dict(zip(itertools.chain(*images), rows, strict=True))

    found = digests(images, KEY)
    assert digests([image[::-1] for image in images[::-1]], KEY) == found
    assert len(set(found.values())) == len(found)
    assert found.pop(0, KEYED_ZERO) == KEYED_ZERO
    other = digests(images, KEY + "!")
    assert not set(found.values()) & (set(other.values()) - {KEYED_ZERO})


@given(numbers, numbers)
@settings(max_examples=50)
def test_exports_without_a_key_share_nothing_but_zero(one: list[int], other: list[int]) -> None:
    with TemporaryDirectory() as folder:
        paths = [Path(folder) / name for name in ("one.npz", "other.npz")]
        for path, image in zip(paths, (one, other), strict=True):
            esxcore.census([palette("bytes", image)]).export(path)
        found = esxcore.census(paths)
    assert found.inter_reclaimed_pages == 0
    assert found.common_contents[0, 1] == 0
    assert [image.common_pages for image in found.images] == [0, 0]
    assert found.zero_reclaimed_pages == max((one + other).count(0) - 1, 0)


def test_exports_under_two_keys_are_not_counted_together(tmp_path: Path) -> None:
    found = esxcore.census([palette("bytes", [1, 2, 3])])
    paths = [tmp_path / name for name in ("first.npz", "second.npz", "third.npz")]
    for path, key in zip(paths, ("a", "b", "a"), strict=True):
        found.export(path, key)
    with pytest.raises(esxcore.DataError) as caught:
        esxcore.census(paths[:2])
    assert str(caught.value) == (
        f"{paths[0]} and {paths[1]}: exported under different keys; expected one key for all"
    )
    assert esxcore.census([paths[0], paths[2]]).inter_reclaimed_pages == 3


def test_a_key_may_be_text_or_bytes(tmp_path: Path) -> None:
    found = esxcore.census([palette("bytes", [1])])
    found.export(tmp_path / "text.npz", "schlüssel")
    found.export(tmp_path / "bytes.npz", "schlüssel".encode())
    assert (tmp_path / "text.npz").read_bytes() == (tmp_path / "bytes.npz").read_bytes()


def test_contents_of_a_trace_cannot_be_hashed(tmp_path: Path) -> None:
    esxcore.census([palette("bytes", [1])]).export(tmp_path / "trace.npz")
    found = esxcore.census([palette("bytes", [1]), tmp_path / "trace.npz"])
    with pytest.raises(esxcore.ConfigError, match="key: an image is a trace, whose bytes are not"):
        found.export(tmp_path / "keyed.npz", KEY)
    assert [path.name for path in tmp_path.iterdir()] == ["trace.npz"]


@given(st.lists(numbers, min_size=1, max_size=3))
@settings(max_examples=30)
def test_an_export_holds_no_byte_of_a_page(images: list[list[int]]) -> None:
    """Equal pages at equal places give equal files, whatever is in the pages."""
    with TemporaryDirectory() as folder:
        paths = [Path(folder) / name for name in ("palette.npz", "mixed.npz")]
        for path, make in zip(paths, (lambda ids: palette("bytes", ids), page_bytes), strict=True):
            esxcore.census([make(np.array(image)) for image in images]).export(path)
        assert paths[0].read_bytes() == paths[1].read_bytes()
