"""Every error and warning of the package, one tree with `EsxError` at its root.

Each class is also the built-in exception that fits, so ``except ValueError`` and ``except
EsxError`` both do what a reader expects. The native core raises these very classes; its facts stand
in the attributes.
"""

from __future__ import annotations


class EsxError(Exception):
    """Root of everything esxcore raises on purpose."""


class ConfigError(EsxError, ValueError):
    """A setting is out of range, malformed or contradicts another one."""


class ScenarioError(ConfigError):
    """A scenario file says something that cannot be run; the message names file and field."""


class MinOvercommittedError(ConfigError):
    """What is guaranteed to all virtual machines together is more than there is.

    Attributes
    ----------
    min_pages : int
        Sum of all min.
    available_pages : int
        Pages there are for all of them.
    """

    def __init__(self, message: str, min_pages: int = 0, available_pages: int = 0) -> None:
        super().__init__(message)
        self.min_pages = min_pages
        self.available_pages = available_pages

    def __reduce__(self) -> tuple[type, tuple[str, int, int]]:
        return type(self), (str(self), self.min_pages, self.available_pages)


class NotAdmittedError(ConfigError):
    """What a virtual machine is to be promised does not fit beside what others are (section 6.2).

    Attributes
    ----------
    wanted_pages : int
        Pages of memory or of swap space that would be reserved for it.
    unreserved_pages : int
        Pages that no other virtual machine has reserved.
    """

    def __init__(self, message: str, wanted_pages: int = 0, unreserved_pages: int = 0) -> None:
        super().__init__(message)
        self.wanted_pages = wanted_pages
        self.unreserved_pages = unreserved_pages

    def __reduce__(self) -> tuple[type, tuple[str, int, int]]:
        return type(self), (str(self), self.wanted_pages, self.unreserved_pages)


class PolicyError(EsxError, ValueError):
    """A policy answered what cannot be; the targets before stay in force and no page has moved."""


class VmBlockedError(EsxError, RuntimeError):
    """The virtual machine is held up until it has come down to its target (section 6.3).

    Attributes
    ----------
    target_pages : int
        What it should have.
    done : int
        Pages of the request that were served before it stopped.
    """

    def __init__(self, message: str, target_pages: int = 0, done: int = 0) -> None:
        super().__init__(message)
        self.target_pages = target_pages
        self.done = done

    def __reduce__(self) -> tuple[type, tuple[str, int, int]]:
        return type(self), (str(self), self.target_pages, self.done)


class DataError(EsxError, ValueError):
    """A data file is missing, corrupt, or holds other arrays than its format says."""


class ContentError(EsxError, ValueError):
    """Page contents of a wrong shape or value (a token is an integer from 0 to 2**63 - 1)."""


class ArgumentTypeError(EsxError, TypeError):
    """An argument of a wrong type or dtype."""


class PageRangeError(EsxError, IndexError):
    """A page number that the virtual machine does not have."""


class OutOfMachineMemoryError(EsxError, MemoryError):
    """Fewer machine pages are free than are needed.

    Attributes
    ----------
    wanted_pages : int
        Machine pages the call still needed.
    free_pages : int
        Machine pages that were free.
    done : int
        Pages of the request that were served before it stopped.
    """

    def __init__(
        self, message: str, wanted_pages: int = 0, free_pages: int = 0, done: int = 0
    ) -> None:
        super().__init__(message)
        self.wanted_pages = wanted_pages
        self.free_pages = free_pages
        self.done = done

    def __reduce__(self) -> tuple[type, tuple[str, int, int, int]]:
        return type(self), (str(self), self.wanted_pages, self.free_pages, self.done)


class RealMemoryError(EsxError, MemoryError):
    """The system running esxcore has too little memory for the machine that is simulated."""

    # Not left to MemoryError: libraries that pickle errors with their tracebacks, as Dask does,
    # make what has no way of its own by MemoryError.__new__, which refuses other classes.
    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        return type(self), self.args


class EngineError(EsxError, RuntimeError):
    """An engine that others provide cannot be reached, gives up, or has other code than this."""


class WorkloadError(EsxError, ValueError):
    """A workload yields what no process can do, or nothing: its time would stand still."""


class UnknownVmError(EsxError, LookupError):
    """No virtual machine of that name or handle is powered on."""


class DuplicateVmError(EsxError, ValueError):
    """A virtual machine of that name is already powered on."""


class HostBusyError(EsxError, RuntimeError):
    """The host is serving another call; it never waits."""


class MissingLibraryError(EsxError, ImportError):
    """A library that esxcore does not depend on is needed here; the message says how to get it."""


class SweepError(EsxError, RuntimeError):
    """A run of a study failed; the rows that are done are in the ledger."""


class InvariantError(EsxError, AssertionError):
    """An audit found the host's state contradicting itself: a bug in esxcore.

    Attributes
    ----------
    invariant : str
        Number of the broken invariant in ``docs/design.md`` section 8, such as ``"I2"``.
    """

    def __init__(self, message: str, invariant: str = "") -> None:
        super().__init__(message)
        self.invariant = invariant

    def __reduce__(self) -> tuple[type, tuple[str, str]]:
        return type(self), (str(self), self.invariant)


class SizeWarning(UserWarning):
    """An integer size, which counts pages, is so small that MiB were surely meant."""
