"""A virtual machine's handle: the methods of its host with the machine filled in."""

from __future__ import annotations

from typing import Any, Literal, Protocol

from numpy.typing import ArrayLike, NDArray

from esxcore.arguments import Ppns, Shares, Size
from esxcore.config import size_text
from esxcore.reports import Explanation, IoReport, SamplingReport, TouchReport


class VmHost(Protocol):
    """What a handle asks of its host; `esxcore.Host` has it."""

    def touch(self, vm: Vm, ppns: Ppns, write: bool = False) -> TouchReport: ...  # noqa: D102
    def io(  # noqa: D102
        self, vm: Vm, ppns: Ppns, direction: Literal["tx", "rx"] = "tx"
    ) -> IoReport: ...
    def write(self, vm: Vm, ppns: Ppns, data: ArrayLike) -> TouchReport: ...  # noqa: D102
    def read(self, vm: Vm, ppns: Ppns) -> Any: ...  # noqa: D102
    def peek(self, vm: Vm, ppns: Ppns) -> Any: ...  # noqa: D102
    def pmap(self, vm: Vm) -> dict[str, NDArray[Any]]: ...  # noqa: D102
    def sampling(self, vm: Vm) -> SamplingReport: ...  # noqa: D102
    def power_off(self, vm: Vm) -> None: ...  # noqa: D102
    def configure(  # noqa: D102
        self,
        vm: Vm,
        *,
        max: Size | None = None,
        min: Size | None = None,
        shares: Shares | None = None,
        balloon_limit: Size | None = None,
    ) -> None: ...
    def explain(self, vm: Vm, at: str | float | None = None) -> Explanation: ...  # noqa: D102


class Vm:
    """A virtual machine that is powered on; made by `Host.power_on`.

    Its methods are those of `Host` with this machine filled in.

    Attributes
    ----------
    host : Host
        Where it runs.
    name : str
        Its name.
    max_pages : int
        Its "physical" memory, in pages.
    """

    __slots__ = ("_handle", "host", "max_pages")

    def __init__(self, host: VmHost, handle: tuple[int, str], max_pages: int) -> None:
        self.host = host
        self.max_pages = max_pages
        self._handle = handle

    @property
    def name(self) -> str:
        """Its name."""
        return self._handle[1]

    def touch(self, ppns: Ppns, write: bool = False) -> TouchReport:
        """See `Host.touch`."""
        return self.host.touch(self, ppns, write)

    def io(self, ppns: Ppns, direction: Literal["tx", "rx"] = "tx") -> IoReport:
        """See `Host.io`."""
        return self.host.io(self, ppns, direction)

    def write(self, ppns: Ppns, data: ArrayLike) -> TouchReport:
        """See `Host.write`."""
        return self.host.write(self, ppns, data)

    def read(self, ppns: Ppns) -> Any:
        """See `Host.read`."""
        return self.host.read(self, ppns)

    def peek(self, ppns: Ppns) -> Any:
        """See `Host.peek`."""
        return self.host.peek(self, ppns)

    def pmap(self) -> dict[str, NDArray[Any]]:
        """See `Host.pmap`."""
        return self.host.pmap(self)

    def sampling(self) -> SamplingReport:
        """See `Host.sampling`."""
        return self.host.sampling(self)

    def configure(
        self,
        *,
        max: Size | None = None,
        min: Size | None = None,
        shares: Shares | None = None,
        balloon_limit: Size | None = None,
    ) -> None:
        """See `Host.configure`."""
        self.host.configure(self, max=max, min=min, shares=shares, balloon_limit=balloon_limit)

    def explain(self, at: str | float | None = None) -> Explanation:
        """See `Host.explain`."""
        return self.host.explain(self, at)

    def power_off(self) -> None:
        """See `Host.power_off`."""
        self.host.power_off(self)

    def __repr__(self) -> str:
        return f"<Vm {self.name!r}, {size_text(self.max_pages)}>"
