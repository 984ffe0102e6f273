"""What a host shows of itself: numbers and columns. Nothing here changes anything."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from esxcore import _core
from esxcore.errors import ArgumentTypeError, ConfigError, UnknownVmError
from esxcore.reports import SamplingReport
from esxcore.vm import Vm

VmLike: TypeAlias = Vm | str


class HostTables:
    """The part of `esxcore.Host` that answers questions."""

    _core: _core.Host

    def stats(self) -> dict[str, int]:
        """Whole-host numbers, in pages unless the name says otherwise."""
        return self._core.stats()

    def vms(self) -> dict[str, NDArray[Any]]:
        """Columns of numbers, a row a virtual machine in power-on order.

        ``consumed`` is its part of machine memory, the sum over its resident pages of 1 / sharers,
        and ``reclaimed`` what sharing spares it; both are fractions of pages that sum to the host's
        numbers. ``active_fraction`` is the part of its max that is in use, as `sampling` estimates
        it, and ``active_pages`` the same in whole pages, the nearest; NaN and -1 if sampling is
        off.
        """
        columns = self._core.vms()
        text = {name: np.array(columns[name], dtype=np.str_) for name in ("name", "salt")}
        return columns | text

    def sampling(self, vm: VmLike) -> SamplingReport:
        """What sampling knows of a virtual machine's activity (paper, section 5.3).

        In each period of its own time, `sampled` random pages are watched, and the fraction that it
        touches at least once enters a slow and a fast moving average. The estimate is the maximum
        of the two and of the fast one as if the running period ended now: it rises quickly and
        falls slowly.

        Raises
        ------
        ConfigError
            If sampling is off.
        """
        row = self._core.sampling(self._ref(vm))
        if row is None:
            raise ConfigError("sampling is off: sample_pages is 0; expected 1 or more")
        return SamplingReport(*row)

    def pmap(self, vm: VmLike) -> dict[str, NDArray[Any]]:
        """Columns of a virtual machine's pmap, a row a page.

        ``state`` is a `PageState`, ``mpn`` the machine page or -1, ``shared`` whether it has two or
        more sharers, ``hint`` whether a hint frame stands for it, ``traced`` whether its next
        access is to be counted, ``leaving`` whether its page-out is under way.
        """
        return self._core.pmap(self._ref(vm))

    def frames(self) -> dict[str, NDArray[Any]]:
        """Columns of the hash table's frames (paper, section 4.3), a row a frame, by machine page.

        ``kind`` is a `FrameKind`; ``hash`` has only its 40 highest bits in a hint; ``vm`` (row of
        `vms`) and ``ppn`` are of a hint and -1 otherwise; ``count`` is of a shared frame and 0
        otherwise.
        """
        return self._core.frames()

    def census(self) -> dict[str, int]:
        """What sharing could save: the resident contents, counted.

        Returns
        -------
        dict
            ``pages`` resident, ``zero_pages`` of them, ``distinct_pages`` contents,
            ``shared_pages`` whose content occurs at least twice, ``reclaimed_pages`` = pages -
            distinct. Contents of two sharing domains differ. Exact with tokens; bytes are told
            apart by 128-bit hashes.
        """
        return self._core.census()

    def _ref(self, vm: VmLike) -> tuple[int, str] | str:
        if isinstance(vm, str):
            if not vm.isprintable():  # so that it can be said to the core at all
                raise UnknownVmError(f"no VM {vm!r} is powered on")
            return vm
        if not isinstance(vm, Vm):
            raise ArgumentTypeError(f"vm: {vm!r}; expected a Vm or the name of one")
        owner: object = self
        if vm.host is not owner:
            raise UnknownVmError(f"VM {vm.name!r} belongs to another host; use its name here")
        return vm._handle
