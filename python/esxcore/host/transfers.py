"""I/O of guests: what devices do to their pages (paper, section 7)."""

from __future__ import annotations

from typing import Any, Literal, get_args

from esxcore.arguments import Ppns, Size, choice, in_range
from esxcore.config import parse_duration, parse_pages
from esxcore.errors import ConfigError
from esxcore.host.accesses import HostAccesses
from esxcore.host.tables import VmLike
from esxcore.reports import IoReport

IoMode = Literal["remap", "first-use", "copy", "iommu"]
IoScarce = Literal["coldest", "fair", "refuse"]

_LONGEST = 2**31


class HostTransfers(HostAccesses):
    """The part of `esxcore.Host` through which devices transfer pages."""

    def io(self, vm: VmLike, ppns: Ppns, direction: Literal["tx", "rx"] = "tx") -> IoReport:
        """A device transfers pages of a virtual machine in turn (paper, section 7).

        Each transfer is an access of the guest: it faults where a touch would, and is counted and
        sampled. A page above `low_memory` is copied through a bounce buffer each time, until it is
        *hot* and moved to low memory; the guest sees nothing of that. A batch stops as `touch`
        does; where it is cut changes nothing.

        Parameters
        ----------
        vm : Vm or str
            Whose pages.
        ppns : int or integer array of shape (transfers,)
            Which pages; duplicates are fine.
        direction : {"tx", "rx"}
            Whether the device reads the pages, or writes to them; what it writes is content of its
            own, different from every other page's.

        Raises
        ------
        PageRangeError
            If a page is out of range; nothing was transferred.
        ConfigError
            If there is no such direction.

        Examples
        --------
        >>> import esxcore
        >>> host = esxcore.Host("64MiB", content="tokens", low_memory="8MiB", policy=None)
        >>> web = host.power_on("web", max="32MiB")
        >>> _ = host.touch(web, range(web.max_pages))
        >>> report = host.io(web, [8000] * 100)
        >>> report.copies, report.remaps, report.evictions
        (16, 1, 1)
        """
        receive = choice(direction, "direction", ("tx", "rx")) == "rx"
        touched, moved = self._core.io(self._ref(vm), self._ppns(vm, ppns), receive)
        return IoReport(*touched, *moved)  # type: ignore[arg-type]


def io_settings(
    memory_pages: int,
    low_memory: Size | None,
    threshold: int,
    decay: Size | None,
    mode: IoMode,
    scarce: IoScarce,
) -> dict[str, Any]:
    """How a host treats I/O of pages that devices do not reach, as the core takes it."""
    low_pages = None if low_memory is None else parse_pages(low_memory, "low_memory")
    if low_pages is not None and low_pages > memory_pages:
        raise ConfigError(
            f"low_memory: {low_memory!r} is {low_pages} pages; expected at most {memory_pages},"
            " which is memory"
        )
    return {
        "low_pages": low_pages,
        "threshold": in_range(threshold, "io_threshold", 1, 2**32 - 1),
        "half_life_s": None if decay is None else _whole_seconds(decay),
        "when_scarce": choice(scarce, "io_scarce", get_args(IoScarce)),
        "mode": choice(mode, "io_mode", get_args(IoMode)),
    }


def _whole_seconds(decay: Size) -> int:
    if not isinstance(decay, str):
        return in_range(decay, "io_decay", 1, _LONGEST)
    seconds = parse_duration(decay, "io_decay")
    if not 1 <= seconds <= _LONGEST or seconds != round(seconds):
        raise ConfigError(f"io_decay: {decay!r}; expected whole seconds from 1 to {_LONGEST}")
    return round(seconds)
