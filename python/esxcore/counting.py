"""What sharing, compression and ballooning would be worth on real guest memory.

`census` reads images once, finds which pages are equal, byte by byte, and says what that is worth:
zero pages, pages equal within an image, pages equal across images, in three parts that add up. On
what is left it says what compression would save, and what is lost if large pages are kept whole.

Neighbours: `esxcore.images` opens what is counted, the core counts; the command ``esxcore census``
prints, `esxcore.plot` draws.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from esxcore import _core
from esxcore.config import PAGE_SIZE, whole_number
from esxcore.contents import DIGEST_BYTES, KEYED_ZERO, PAGE_KINDS, UNKNOWN_KIND, TraceKey
from esxcore.datafile import npz_bytes, write_whole
from esxcore.errors import ArgumentTypeError, ConfigError
from esxcore.findings import (
    Balloon,
    Compression,
    Content,
    Counts,
    ImageCounts,
    Kind,
    LargePages,
)
from esxcore.images import (
    Given,
    GuestImage,
    ImageLike,
    open_images,
    sharing_domains,
    with_common_numbers,
)

Progress: TypeAlias = Callable[[int, int], None]
"""Called with pages done and pages in all."""

Verify: TypeAlias = Literal["bytes", "hash128"]

SAMPLED_CONTENTS = 10_000
"""Contents that are compressed to estimate what compression saves."""

_FREE = next(code for code, name in PAGE_KINDS.items() if name == "free")
_TOP = 10
_Z_95 = 1.959964
_HASH_BATCH = 4096
_MOST_THREADS = 1024


@dataclass(frozen=True, eq=False)
class Census:
    """What a census found; made by `census`. In whole pages.

    Attributes
    ----------
    pages, zero_pages, distinct_pages, shared_pages, reclaimed_pages : int
        As in `Counts`; a content that two sharing domains have is two contents.
    zero_reclaimed_pages, intra_reclaimed_pages, inter_reclaimed_pages : int
        Parts of `reclaimed_pages` that add up to it: zero pages; others saved within images; and
        what is saved only because images meet.
    images : list of ImageCounts
        Each image, in the order of the arguments.
    common_contents : int64 array of shape (images, images)
        Contents other than zero that two images both have; on the diagonal, that one has.
    top : list of Content
        The contents that save most.
    kinds : list of Kind or None
        By what guests use pages for, where traces tell.
    balloon : Balloon or None
        What a balloon would return, where traces tell.
    compression : Compression or None
        On the contents that are left; None if no bytes are known.
    large_pages : LargePages or None
        What keeping large pages whole costs; None of a fleet (`fleet_census`).
    verify : str
        How matches were verified: ``"bytes"``, ``"hash128"``, ``"given"`` of traces, or ``"keyed"``
        of a fleet, by keyed hashes of 128 bits across images and byte by byte within them.
    salt : str or list of str
        The sharing domains.
    """

    pages: int
    zero_pages: int
    distinct_pages: int
    shared_pages: int
    reclaimed_pages: int
    zero_reclaimed_pages: int
    intra_reclaimed_pages: int
    inter_reclaimed_pages: int
    images: list[ImageCounts]
    common_contents: NDArray[np.int64]
    top: list[Content]
    kinds: list[Kind] | None
    balloon: Balloon | None
    compression: Compression | None
    large_pages: LargePages | None
    verify: str
    salt: str | list[str]
    _taken: _Taken | None = field(default=None, repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain values, as ``esxcore census --json`` prints it."""
        plain = {
            name: value
            for name, value in self.__dict__.items()
            if not name.startswith("_") and name != "common_contents"
        }
        for name in ("images", "top", "kinds"):
            plain[name] = plain[name] and [asdict(row) for row in plain[name]]
        for name in ("balloon", "compression", "large_pages"):
            plain[name] = plain[name] and asdict(plain[name])
        return plain | {"common_contents": self.common_contents.tolist()}

    def export(self, path: str | os.PathLike[str], key: str | bytes | None = None) -> None:
        """Writes the contents as a page-content trace: which pages are equal, no byte of them.

        Parameters
        ----------
        path : str or path
            Of the npz file; it appears whole or not at all.
        key : str or bytes, optional
            A secret. With it the trace has a keyed hash of each content, so that traces exported
            under the same key can be counted together; without the key the hashes tell nothing
            of the bytes, as far as the key cannot be guessed.

        Raises
        ------
        ConfigError
            If the key is empty, or there is one and bytes of some image are not known; or if it is
            the census of a fleet, whose contents are in no one place.
        OSError
            If the file cannot be written.
        """
        write_whole({Path(path): self.trace_bytes(key)})

    def trace_bytes(self, key: str | bytes | None = None) -> bytes:
        """The bytes of the npz file that `export` writes."""
        taken = self._taken
        if taken is None:
            raise ConfigError(
                "export: the contents of a fleet are in no one place; expected a"
                " census on one machine"
            )
        columns: dict[str, NDArray[Any]] = {
            "id": taken.contents.ids(),
            "vm_pages": np.array([image.pages for image in self.images], dtype=np.int64),
        }
        if taken.kinds is not None:
            columns["kind"] = taken.kinds
        if key is not None:
            trace_key = TraceKey(key)
            columns["digest"] = taken.digests(trace_key)
            columns["key_check"] = trace_key.check()
        return npz_bytes(columns)


@dataclass(frozen=True, eq=False)
class _Taken:
    """What stays open of a census: to read pages once more, and to export."""

    images: list[GuestImage]
    contents: _core.Contents
    kinds: NDArray[np.uint8] | None

    def given(self) -> list[Given]:
        return [image.given for image in self.images]

    def digests(self, key: TraceKey) -> NDArray[np.uint8]:
        """Keyed hashes by number of content, the zero page's first: uint8, (contents, 16)."""
        if any(isinstance(image.given, tuple) for image in self.images):
            raise ConfigError(
                "key: an image is a trace, whose bytes are not known; expected images with pages"
            )
        rows = [KEYED_ZERO]
        firsts = self.contents.firsts()
        for start in range(0, firsts.size, _HASH_BATCH):
            batch = firsts[start : start + _HASH_BATCH]
            rows += [
                key.digest(page.data) for page in self.contents.read_pages(self.given(), batch)
            ]
        return np.frombuffer(b"".join(rows), dtype=np.uint8).reshape(-1, DIGEST_BYTES)


def census(  # noqa: PLR0913  (settings, by keyword)
    sources: Iterable[ImageLike] = (),
    *,
    pids: Iterable[int] = (),
    salt: str | Sequence[str] = "none",
    verify: Verify = "bytes",
    format: str | None = None,
    threads: int | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Census:
    """Counts what sharing, compression and ballooning would be worth on these guests.

    Parameters
    ----------
    sources : paths or uint8 arrays of shape (pages, 4096)
        Memory images (raw, ELF core, LiME, VMware vmem, QEMU migration stream, libvirt save),
        page-content traces (npz), or arrays. An array must not change meanwhile.
    pids : integers, optional
        Running processes, counted after the sources: their present pages; of a QEMU its guest
        memory.
    salt : ``"none"``, ``"per-vm"`` or a list of str
        Images share among all, none, or those with the same name; a name for each source and
        process, or for each image.
    verify : ``"bytes"`` or ``"hash128"``
        Equal pages are compared byte by byte, or by a 128-bit hash: for images larger than memory,
        at 16 more bytes a page.
    format : str, optional
        The format of all files, instead of what their first bytes say; ``"raw"`` for any bytes.
    threads : int, optional
        How many read, up to 1024; if not given, ``ESXCORE_NUM_THREADS`` (1 in workers of a sweep)
        or all processors. The result does not depend on it.
    seed : int
        Chooses the sample that is compressed; from 0 to 2**64 - 1.
    progress : callable, optional
        Called with pages done and pages in all.

    Returns
    -------
    Census
        Counts that add up; see there.

    Raises
    ------
    DataError
        If an image or process cannot be read; the message names it.
    ConfigError, ContentError, ArgumentTypeError
        If an argument is out of range or of a wrong type.

    Examples
    --------
    >>> import numpy as np
    >>> one, two = np.zeros((2, 3, 4096), np.uint8)
    >>> one[0], two[:2] = 7, 7
    >>> found = census([one, two])
    >>> found.pages, found.reclaimed_pages
    (6, 4)
    >>> found.zero_reclaimed_pages, found.intra_reclaimed_pages, found.inter_reclaimed_pages
    (2, 1, 1)
    """
    if verify not in ("bytes", "hash128"):
        raise ConfigError(f"verify: {verify!r}; expected 'bytes' or 'hash128'")
    if not (progress is None or callable(progress)):
        raise ArgumentTypeError(f"progress: {type(progress).__name__}; expected a function")
    told = os.environ.get("ESXCORE_NUM_THREADS", "")
    threads = int(told) if threads is None and told.isdecimal() else threads
    workers = None if threads is None else _within("threads", threads, 1, _MOST_THREADS)
    seed = _within("seed", seed, 0, 2**64 - 1)
    images, traces = open_images(sources, pids, format)
    salt, domains = sharing_domains(salt, [image.source for image in images])
    images = with_common_numbers(images, traces)
    total = sum(_pages(image) for image in images)
    report = None if progress is None else lambda done: progress(done, total)
    contents = _core.Contents.take(
        [image.given for image in images], domains, verify == "hash128", workers, report
    )
    taken = _Taken(images, contents, _kinds(images))
    if progress is not None:
        progress(total, total)
    return _count(taken, verify, salt, seed)


def _count(taken: _Taken, verify: Verify, salt: str | list[str], seed: int) -> Census:
    tally = taken.contents.tally()
    common, common_pages = taken.contents.matrix()
    in_large, large_reclaimed = taken.contents.large(taken.given())
    kinds, balloon = _by_kind(taken)
    has_pages = any(not isinstance(image.given, tuple) for image in taken.images)
    rows = zip(taken.images, tally.pop("images"), common_pages, strict=True)
    return Census(
        **tally,
        images=[_image(image, row, pages) for image, row, pages in rows],
        common_contents=common,
        top=_top(taken),
        kinds=kinds,
        balloon=balloon,
        compression=_compression(taken, seed) if has_pages else None,
        large_pages=LargePages(
            in_large, large_reclaimed, tally["reclaimed_pages"] - large_reclaimed
        ),
        verify=verify if has_pages else "given",
        salt=salt,
        _taken=taken,
    )


def _image(image: GuestImage, counts: dict[str, int], common_pages: int) -> ImageCounts:
    zero = max(counts["zero_pages"] - 1, 0)
    given = image.given
    facts = given.facts() if isinstance(given, _core.PageSource) else image.facts
    return ImageCounts(
        **counts,
        path=image.path,
        zero_reclaimed_pages=zero,
        intra_reclaimed_pages=counts["reclaimed_pages"] - zero,
        inter_reclaimed_pages=0,
        common_pages=common_pages,
        facts=facts,
    )


def _top(taken: _Taken) -> list[Content]:
    found = []
    for number, pages, reclaimed, image, page, images in taken.contents.top(_TOP):
        begins: str | None = None
        uniform: bool | None = None
        if number == 0:
            begins, uniform = "00" * 16, True
        elif not isinstance(taken.images[image].given, tuple):
            where = page + sum(_pages(other) for other in taken.images[:image])
            [content] = taken.contents.read_pages(taken.given(), np.array([where], np.uint32))
            begins, uniform = content[:16].tobytes().hex(), bool((content == content[0]).all())
        path = taken.images[image].path
        found.append(Content(pages, reclaimed, images, path, page, begins, uniform))
    return found


def _by_kind(taken: _Taken) -> tuple[list[Kind] | None, Balloon | None]:
    if taken.kinds is None:
        return None, None
    rows, rest = taken.contents.by_kind(taken.kinds, _FREE)
    kinds = [
        Kind(PAGE_KINDS.get(code, f"kind {code}"), pages, zero, reclaimed)
        for code, pages, zero, reclaimed in rows
    ]
    free = sum(pages for code, pages, *_ in rows if code == _FREE)
    return kinds, Balloon(free, Counts(**rest))


def _compression(taken: _Taken, seed: int) -> Compression:
    sizes, contents = taken.contents.compressed(taken.given(), SAMPLED_CONTENTS, seed)
    quarter = sizes <= PAGE_SIZE // 4
    half = (sizes <= PAGE_SIZE // 2) & ~quarter
    saved = quarter * 0.75 + half * 0.5
    sampled = int(sizes.size)
    mean = float(saved.mean()) if sampled else 0.0
    low, high = _interval(saved, contents)
    return Compression(
        contents=contents,
        sampled_contents=sampled,
        half_fraction=float(half.mean()) if sampled else 0.0,
        quarter_fraction=float(quarter.mean()) if sampled else 0.0,
        saved_pages=mean * contents,
        saved_low_pages=low * contents,
        saved_high_pages=high * contents,
    )


def _interval(saved: NDArray[np.float64], contents: int) -> tuple[float, float]:
    """The 95 % interval of the mean; see `Compression`."""
    if saved.size == contents:
        mean = float(saved.mean()) if contents else 0.0
        return mean, mean
    with_extremes = np.append(saved, [0.0, 0.75])
    left = 1 - saved.size / contents
    error = math.sqrt(float(with_extremes.var(ddof=1)) / saved.size * left)
    mean = float(saved.mean())
    return max(mean - _Z_95 * error, 0.0), min(mean + _Z_95 * error, 0.75)


def _kinds(images: list[GuestImage]) -> NDArray[np.uint8] | None:
    if all(image.kinds is None for image in images):
        return None
    unknown = np.uint8(UNKNOWN_KIND)
    return np.concatenate(
        [
            np.full(_pages(image), unknown) if image.kinds is None else image.kinds
            for image in images
        ]
    )


def _pages(image: GuestImage) -> int:
    given = image.given
    if isinstance(given, tuple):
        return int(given[0].size)
    return given.pages if isinstance(given, _core.PageSource) else int(given.shape[0])


def _within(what: str, value: object, least: int, most: int) -> int:
    number = whole_number(value, what)
    if not least <= number <= most:
        raise ConfigError(f"{what}: {number}; expected {least} to {most}")
    return number
