"""What guests do to their pages, and what can be seen of them."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from esxcore.arguments import (
    Ppns,
    byte_contents,
    need_real_memory,
    one_page,
    page_numbers,
    token_contents,
    unwrap,
)
from esxcore.config import PAGE_SIZE
from esxcore.host.tables import HostTables, VmLike
from esxcore.reports import TouchReport

_MUCH = 2**26
"""Bytes of a result from which it is asked whether real memory has them."""


class HostAccesses(HostTables):
    """The part of `esxcore.Host` through which guests access their pages."""

    content: Literal["bytes", "tokens"]

    def touch(self, vm: VmLike, ppns: Ppns, write: bool = False) -> TouchReport:
        """The guest accesses pages in turn.

        A write gives the page fresh content of its own, different from every other page's. A batch
        for which no machine page is left stops before the reference it cannot serve; call again
        with the rest.

        Parameters
        ----------
        vm : Vm or str
            Whose pages.
        ppns : int or integer array of shape (references,)
            Which pages; duplicates are fine.
        write : bool
            Whether the accesses are stores.

        Raises
        ------
        PageRangeError
            If a page is out of range; no page was touched.
        """
        return _touch_report(self._core.touch(self._ref(vm), self._ppns(vm, ppns), bool(write)))

    def write(self, vm: VmLike, ppns: Ppns, data: ArrayLike) -> TouchReport:
        """The guest writes `data` to pages in turn.

        Parameters
        ----------
        vm : Vm or str
            Whose pages.
        ppns : int or integer array of shape (k,)
            Which pages.
        data : array
            uint8 of shape (k, 4096), or integer tokens of shape (k,); without the first axis for a
            single page. Bytes are not copied first: nobody should change them meanwhile.

        Raises
        ------
        PageRangeError, ContentError, ArgumentTypeError
            If an argument is wrong; no page was touched.
        OutOfMachineMemoryError
            If no machine page is left; its attribute `done` tells how many pages were written.
        """
        numbers = self._ppns(vm, ppns)
        data = one_page(data) if np.ndim(ppns) == 0 else data  # type: ignore[arg-type]
        return _touch_report(self._core.write(self._ref(vm), numbers, self._contents(data)))

    def read(self, vm: VmLike, ppns: Ppns) -> Any:
        """What the guest reads from pages in turn.

        Returns
        -------
        array or int
            uint8 of shape (k, 4096), or uint64 tokens of shape (k,); for a single page uint8 of
            shape (4096,), or the token. Tokens from 2**63 up are contents that the engine made.

        Raises
        ------
        PageRangeError
            If a page is out of range; no page was read.
        OutOfMachineMemoryError
            If no machine page is left for a first touch; `done` pages were read.
        """
        return unwrap(self._core.read(self._ref(vm), self._wanted(vm, ppns)), ppns)

    def peek(self, vm: VmLike, ppns: Ppns) -> Any:
        """What the guest would read, as `read` returns it; not an access, so nothing changes."""
        return unwrap(self._core.peek(self._ref(vm), self._wanted(vm, ppns)), ppns)

    def _ppns(self, vm: VmLike, ppns: Ppns) -> NDArray[np.uint32] | NDArray[np.int64]:
        return page_numbers(ppns, lambda: self._core.find(self._ref(vm)))

    def _wanted(self, vm: VmLike, ppns: Ppns) -> NDArray[np.uint32] | NDArray[np.int64]:
        """Page numbers whose contents fit into real memory."""
        count = ppns.size if isinstance(ppns, np.ndarray) else 0  # a list that long exists already
        wanted = count * (PAGE_SIZE if self.content == "bytes" else 8)
        if wanted > _MUCH:
            need_real_memory(wanted, f"an array of {count} pages")
        return self._ppns(vm, ppns)

    def _contents(self, contents: ArrayLike) -> NDArray[Any]:
        return byte_contents(contents) if self.content == "bytes" else token_contents(contents)


def _touch_report(row: tuple[int, str | None, int, int, int]) -> TouchReport:
    return TouchReport(*row)  # type: ignore[arg-type]
