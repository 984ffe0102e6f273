"""Guest memory to look at: image files, arrays, running processes and page-content traces.

`open_images` turns what a caller names into `GuestImage`s. A page-content trace holds several
guests and becomes several images; everything else becomes one. Nothing is read yet but headers.

Neighbours: `esxcore.counting` counts them, `esxcore.experiment` gives them to a host;
`esxcore.contents` reads traces.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from esxcore import _core
from esxcore.config import PAGE_SIZE, whole_number
from esxcore.contents import DIGEST_BYTES, TOKEN_LIMIT, ContentTrace
from esxcore.errors import ArgumentTypeError, ConfigError, ContentError, DataError

ImageLike: TypeAlias = str | os.PathLike[str] | NDArray[np.uint8]
"""The path of an image or of a page-content trace, or an array of shape (pages, 4096)."""

Given: TypeAlias = _core.PageSource | NDArray[np.uint8] | tuple[NDArray[np.uint32], int]
"""An image as the core reads it: opened, an array of pages, or contents and their space."""

_ZIP_MAGIC = b"PK\x03\x04"
_TRACE = "trace"
_LARGEST_PID = 2**31 - 1


@dataclass(frozen=True, eq=False)
class GuestImage:
    """The memory of one guest, opened.

    Attributes
    ----------
    path : str
        What it was called: a path, ``"trace.npz[1]"``, ``"array[0]"`` or ``"pid 17"``.
    source : int
        Position among the sources that were asked for.
    given : object
        What the core reads: an open source, an array of pages, or contents and their space.
    facts : dict
        ``format``, and what else is known without reading pages.
    kinds : uint8 array of shape (pages,), optional
        What the guest used each page for.
    """

    path: str
    source: int
    given: Given
    facts: dict[str, Any]
    kinds: NDArray[np.uint8] | None = None


@dataclass(frozen=True, eq=False)
class OpenTrace:
    """A page-content trace among the images: which of them are its guests."""

    trace: ContentTrace
    first: int


def formats() -> tuple[str, ...]:
    """Names of the formats that can be asked for."""
    return (*_core.image_formats(), _TRACE)


def open_images(
    sources: Iterable[ImageLike], pids: Iterable[int] = (), format: str | None = None
) -> tuple[list[GuestImage], list[OpenTrace]]:
    """Opens guest memory.

    Parameters
    ----------
    sources : paths or uint8 arrays of shape (pages, 4096)
        Images in the order in which they are counted.
    pids : integers
        Running processes, after the sources; of a QEMU its guest memory.
    format : str, optional
        One of `formats` for all files, instead of what their first bytes say.

    Returns
    -------
    images : list of GuestImage
        One for each source and process, and one for each guest of a trace.
    traces : list of OpenTrace
        The traces among them.

    Raises
    ------
    DataError
        If a file or process cannot be read; the message names it.
    ConfigError, ContentError, ArgumentTypeError
        If an argument is none of these.
    """
    if isinstance(sources, np.ndarray):
        raise ArgumentTypeError("sources: one array; expected a list of images")
    _check_list("sources", sources, "expected a list of images")
    _check_list("pids", pids, "expected a list of process numbers")
    if format is not None and format not in formats():
        raise ConfigError(f"format: {format!r}; expected one of {', '.join(formats())}")
    images: list[GuestImage] = []
    traces: list[OpenTrace] = []
    number = -1
    for number, source in enumerate(sources):
        if isinstance(source, np.ndarray):
            images.append(_array(source, number))
        elif isinstance(source, (str, os.PathLike)):
            _open_file(Path(source), number, format, images, traces)
        else:
            raise ArgumentTypeError(
                f"sources[{number}]: {type(source).__name__}; expected a path or a uint8 array"
            )
    for source_number, pid in enumerate(pids, number + 1):
        images.append(_process(pid, source_number))
    if not images:
        raise ConfigError("sources: none; expected at least one image")
    return images, traces


def sharing_domains(
    salt: str | Iterable[str], sources: Sequence[int]
) -> tuple[str | list[str], list[int]]:
    """Who shares with whom.

    Parameters
    ----------
    salt : ``"none"``, ``"per-vm"`` or names
        All with all, none with any other, or those of the same name: a name for each source, or
        for each image.
    sources : sequence of int
        The source of each image, rising from 0.

    Returns
    -------
    salt : str or list of str
        The same, to be kept.
    domains : list of int
        The sharing domain of each image.

    Raises
    ------
    ConfigError, ArgumentTypeError
        If it is none of these.
    """
    if isinstance(salt, str) and salt in ("none", "per-vm"):
        return salt, [0 if salt == "none" else number for number in range(len(sources))]
    expected = "expected 'none', 'per-vm', or a list of names"
    if isinstance(salt, str):
        raise ConfigError(f"salt: {salt!r}; {expected}")
    _check_list("salt", salt, expected)
    names = [_name(name, expected) for name in salt]
    count = sources[-1] + 1
    if len(names) not in (count, len(sources)):
        wanted = f"{count}, one for each source"
        if count != len(sources):
            wanted += f", or {len(sources)}, one for each image"
        found = "1 name" if len(names) == 1 else f"{len(names)} names"
        raise ConfigError(f"salt: {found}; expected {wanted}")
    by_image = names if len(names) == len(sources) else [names[source] for source in sources]
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
    return names, [numbers[name] for name in by_image]


def space_of(traces: Sequence[OpenTrace], trace: int) -> int:
    """The space of a trace's numbers: traces with digests share one, images with pages have 0."""
    return 1 if traces[trace].trace.digests is not None else 2 + trace


def with_common_numbers(images: list[GuestImage], traces: list[OpenTrace]) -> list[GuestImage]:
    """Gives contents of keyed traces one number where their hashes are equal.

    Raises
    ------
    DataError
        If the traces were exported under different keys.
    """
    keyed = [opened for opened in traces if opened.trace.digests is not None]
    if not keyed:
        return images
    checks = {opened.trace.source: bytes(_column(opened.trace, "key_check")) for opened in keyed}
    if len(set(checks.values())) > 1:
        raise DataError(
            f"{' and '.join(checks)}: exported under different keys; expected one key for all"
        )
    digests = np.concatenate([_column(opened.trace, "digests") for opened in keyed])
    rows = np.ascontiguousarray(digests).view(f"V{DIGEST_BYTES}").ravel()
    _, inverse = np.unique(rows, return_inverse=True)
    common = inverse.ravel().astype(np.uint32) + np.uint32(1)
    images = list(images)
    for opened in keyed:
        own, common = np.split(common, [len(_column(opened.trace, "digests"))])
        own[0] = 0
        for place in range(opened.first, opened.first + opened.trace.vms):
            image = images[place]
            if isinstance(image.given, tuple):
                ids, space = image.given
                images[place] = replace(image, given=(own[ids], space))
    return images


def _check_list(what: str, values: object, expected: str) -> None:
    """Refuses what is one thing where a list of them is needed."""
    if isinstance(values, (str, bytes, os.PathLike)) or not isinstance(values, Iterable):
        raise ArgumentTypeError(f"{what}: {type(values).__name__}; {expected}")


def _name(value: object, expected: str) -> str:
    if not isinstance(value, str):
        raise ArgumentTypeError(f"salt: {value!r} is {type(value).__name__}; {expected}")
    if not value:
        raise ConfigError(f"salt: an empty name; {expected}")
    return str(value)  # NumPy's strings too


def _column(trace: ContentTrace, name: str) -> NDArray[np.uint8]:
    column: NDArray[np.uint8] = getattr(trace, name)
    return column


def _open_file(
    path: Path,
    number: int,
    format: str | None,
    images: list[GuestImage],
    traces: list[OpenTrace],
) -> None:
    if format == _TRACE or (format is None and _is_archive(path)):
        opened = OpenTrace(ContentTrace.load(path), len(images))
        traces.append(opened)
        images.extend(_guests(opened, number, str(path), space_of(traces, len(traces) - 1)))
        return
    source = _core.PageSource.open(path, format)
    images.append(GuestImage(str(path), number, source, source.facts()))


def _guests(opened: OpenTrace, number: int, path: str, space: int) -> list[GuestImage]:
    trace = opened.trace
    ids, ends = trace.dense_ids(), np.cumsum(trace.vm_pages)
    guests = []
    for vm, (end, pages) in enumerate(zip(ends.tolist(), trace.vm_pages.tolist(), strict=True)):
        rows = slice(end - pages, end)
        kinds = None if trace.kinds is None else trace.kinds[rows]
        name = f"{path}[{vm}]" if trace.vms > 1 else path
        guests.append(
            GuestImage(name, number, (ids[rows], space), {"format": _TRACE}, kinds),
        )
    return guests


def _array(pages: NDArray[Any], number: int) -> GuestImage:
    name = f"array[{number}]"
    if pages.dtype != np.uint8 or pages.shape[1:] != (PAGE_SIZE,) or not pages.size:
        raise ContentError(
            f"{name}: {pages.dtype} of shape {pages.shape};"
            f" expected uint8 of shape (pages, {PAGE_SIZE}), at least one page"
        )
    return GuestImage(name, number, np.ascontiguousarray(pages), {"format": "array"})


def _process(pid: int, number: int) -> GuestImage:
    wanted = whole_number(pid, "pid")
    if not 1 <= wanted <= _LARGEST_PID:
        raise ConfigError(f"pid: {wanted}; expected the number of a process")
    source = _core.PageSource.attach(wanted)
    return GuestImage(f"pid {wanted}", number, source, source.facts())


def _is_archive(path: Path) -> bool:
    """Whether a file begins like an npz archive; whoever opens it says why it cannot be read."""
    try:
        if not path.is_file():
            return False
        with path.open("rb") as stream:
            return stream.read(len(_ZIP_MAGIC)) == _ZIP_MAGIC
    except OSError:
        return False


class VmContents(Protocol):
    """The page contents of one virtual machine, opened: of a trace, or of an image."""

    @property
    def vm_pages(self) -> int:
        """How many pages it has."""


@dataclass(frozen=True, eq=False)
class TraceContents:
    """One virtual machine of a page-content trace."""

    trace: ContentTrace
    vm: int

    @property
    def vm_pages(self) -> int:
        """How many pages it has."""
        return int(self.trace.vm_pages[self.vm])


@dataclass(frozen=True, eq=False)
class ImageContents:
    """The virtual machine of a memory image."""

    source: _core.PageSource

    @property
    def vm_pages(self) -> int:
        """How many pages it has."""
        return self.source.pages


def open_image(path: Path) -> ImageContents:
    """Opens a memory image whose pages are to be the contents of a virtual machine.

    Raises
    ------
    DataError
        If it cannot be read as one.
    """
    if _is_archive(path):
        raise DataError(f"{path}: a page-content trace; expected a memory image")
    return ImageContents(_core.PageSource.open(path, None))


def contents_reader(
    sources: Iterable[VmContents | None], kind: str
) -> Callable[[VmContents | None], NDArray[Any] | None]:
    """What makes page contents for a host of `kind` "tokens" or "bytes", one VM at a time.

    For tokens all images are counted together, here and once, so equal pages of two images have
    equal tokens; these are above the tokens of all traces, except for the zero page.
    """
    known = list(dict.fromkeys(source for source in sources if source is not None))
    images = [source for source in known if isinstance(source, ImageContents)]
    tokens = {}
    if kind == "tokens" and images:
        ids = [int(source.trace.ids.max()) for source in known if isinstance(source, TraceContents)]
        tokens = dict(zip(images, _tokens(images, max(ids, default=0)), strict=True))

    def contents(source: VmContents | None) -> NDArray[Any] | None:
        if isinstance(source, ImageContents):
            return tokens[source] if kind == "tokens" else source.source.read()
        if isinstance(source, TraceContents):
            trace, vm = source.trace, source.vm
            return trace.tokens(vm) if kind == "tokens" else trace.pages(vm)
        return None

    return contents


def _tokens(images: list[ImageContents], above: int) -> list[NDArray[np.uint64]]:
    given: list[Given] = [image.source for image in images]
    found = _core.Contents.take(given, [0] * len(images), False, None, None)
    if above + found.numbers > TOKEN_LIMIT:
        raise DataError(
            f"a trace has content {above}; expected room for those of images below 2**63"
        )
    tokens = found.ids().astype(np.uint64)
    tokens[tokens != 0] += np.uint64(above)
    return np.split(tokens, np.cumsum([image.vm_pages for image in images])[:-1])
