from typing import Any, TypeAlias, final

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "MAX_PAGES",
    "MAX_SAMPLE_PAGES",
    "PAGE_SIZE",
    "PAGE_STATES",
    "Host",
    "__version__",
    "min_funding_targets",
    "paper_parameters",
    "wilson",
]

__version__: str
PAGE_SIZE: int
MAX_PAGES: int
MAX_SAMPLE_PAGES: int
PAGE_STATES: list[str]

_Ppns: TypeAlias = NDArray[np.uint32] | NDArray[np.int64]

def min_funding_targets(
    *,
    shares: NDArray[np.int64],
    min_pages: NDArray[np.int64],
    max_pages: NDArray[np.int64],
    active_pages: NDArray[np.int64],
    available_pages: int,
    tax_rate: float,
) -> NDArray[np.int64]: ...
def paper_parameters() -> list[tuple[str, float, str, str, str]]: ...
def wilson(fraction: float, sampled: int, z: float) -> tuple[float, float]: ...

@final
class Host:
    def __new__(
        cls,
        memory_pages: int,
        *,
        tokens: bool,
        seed: list[int],
        draws: bool,
        vm_rate: int,
        host_rate: int,
        portable_hash: bool,
        hash_mask: int,
        salt: str | None,
        sampling: tuple[int, int, float, float],
    ) -> Host: ...
    def power_on(
        self, name: str, max_pages: int, contents: NDArray[Any] | None, salt: str | None
    ) -> tuple[int, str]: ...
    def power_off(self, vm: str | tuple[int, str]) -> None: ...
    def find(self, vm: str | tuple[int, str]) -> tuple[int, str, int]: ...
    def touch(
        self, vm: str | tuple[int, str], ppns: _Ppns, write: bool
    ) -> tuple[int, bool, int, int, int]: ...
    def write(
        self, vm: str | tuple[int, str], ppns: _Ppns, contents: NDArray[Any]
    ) -> tuple[int, bool, int, int, int]: ...
    def read(self, vm: str | tuple[int, str], ppns: _Ppns) -> NDArray[Any]: ...
    def peek(self, vm: str | tuple[int, str], ppns: _Ppns) -> NDArray[Any]: ...
    def scan(self, pages: int) -> tuple[int, int, int, int, int, int, int, int]: ...
    def advance(self, ns: int) -> tuple[int, int, int, int, int, int, int, int]: ...
    def real_bytes_wanted(self, max_pages: int) -> int: ...
    def now_ns(self) -> int: ...
    def fork(self) -> Host: ...
    def audit(self) -> None: ...
    def digest(self) -> str: ...
    def census(self) -> dict[str, int]: ...
    def stats(self) -> dict[str, int]: ...
    def vms(self) -> dict[str, Any]: ...
    def sampling(
        self, vm: str | tuple[int, str]
    ) -> tuple[int, int, int, int, int, int, float, float, float, float, float, float] | None: ...
    def pmap(self, vm: str | tuple[int, str]) -> dict[str, NDArray[Any]]: ...
    def frames(self) -> dict[str, NDArray[Any]]: ...
