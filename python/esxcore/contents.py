"""Page-content traces: which content each page of some virtual machines has.

A trace numbers the contents of real memory: one integer a page, equal numbers where pages were
equal byte by byte, 0 for a page of zeros. That is all that content-based page sharing (paper,
section 4) depends on, in a ten-thousandth of the space. `ContentTrace` reads and checks such a
file; a token host takes the numbers as they are, and for a byte host `page_bytes` makes a page out
of each number, equal exactly where the numbers are.

Neighbours: `esxcore.datafile` opens the file; `esxcore.experiment` gives the contents to a host.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from esxcore.config import PAGE_SIZE
from esxcore.datafile import open_arrays
from esxcore.errors import ArgumentTypeError, ConfigError, ContentError, DataError

TOKEN_LIMIT = 2**63
"""User tokens are below this; the engine keeps the upper half for fresh contents of its own."""

PAGE_KINDS = {
    0: "no page",
    1: "balloon",
    2: "reserved",
    3: "free",
    4: "slab",
    5: "page table",
    6: "anonymous",
    7: "tmpfs",
    8: "file",
    9: "other",
    255: "unknown",
}
"""What guests use pages for, by the numbers of a trace's ``kind``."""

UNKNOWN_KIND = 255
DIGEST_BYTES = 16
KEYED_ZERO = bytes(DIGEST_BYTES)
"""The row of the zero page among a trace's digests: it is known without a key."""

_WORDS = PAGE_SIZE // 8
_CHUNK_PAGES = 1024  # 4 MiB of output at a time: the intermediate values stay in the cache
_GAMMA = np.uint64(0x9E3779B97F4A7C15)  # the increment of splitmix64


@dataclass(frozen=True, eq=False)
class ContentTrace:
    """The contents of all pages of some virtual machines at one moment.

    Parameters
    ----------
    ids : integers, shape (pages of all VMs,)
        Number of each page's content, VM after VM in PPN order. 0 is the zero page.
    vm_pages : integers, shape (VMs,)
        Pages of each virtual machine.
    kinds : uint8, shape of `ids`, optional
        What the guest used each page for (3 free, 6 anonymous, 8 file and so on, 255 unknown).
    source : str
        Where the arrays came from; begins every error message.
    digests : uint8, shape (highest id + 1, 16), optional
        A keyed hash of each content, by its number; contents of two traces under the same key are
        equal where these are.
    key_check : uint8, shape (16,), optional
        Equal for traces under the same key; there if `digests` is.

    Raises
    ------
    DataError
        If types, shapes or values contradict this.

    Examples
    --------
    >>> trace = ContentTrace(np.array([0, 5, 5, 7]), np.array([3, 1]))
    >>> trace.vms, trace.tokens(0)
    (2, array([0, 5, 5], dtype=uint64))
    """

    ids: NDArray[Any]
    vm_pages: NDArray[Any]
    kinds: NDArray[np.uint8] | None = None
    source: str = "content trace"
    digests: NDArray[np.uint8] | None = None
    key_check: NDArray[np.uint8] | None = None

    def __post_init__(self) -> None:
        self._check_integers("id", self.ids)
        self._check_integers("vm_pages", self.vm_pages)
        if self.vm_pages.size == 0 or self.vm_pages.min() < 1:
            raise self._error("vm_pages", "must give one VM or more at least one page each")
        pages = sum(map(int, self.vm_pages))
        if pages != self.ids.size:
            raise self._error(
                "id", f"has {self.ids.size} pages; expected {pages}, the sum of 'vm_pages'"
            )
        low, high = int(self.ids.min()), int(self.ids.max())
        if low < 0 or high >= TOKEN_LIMIT:
            raise self._error("id", f"holds {low if low < 0 else high}; expected 0 to 2**63 - 1")
        if self.kinds is not None and self.kinds.shape != self.ids.shape:
            raise self._error("kind", f"has {self.kinds.size} pages; expected {pages}, as in 'id'")
        self._check_digests(high)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Reads a trace from an npz archive with arrays ``id``, ``vm_pages`` and perhaps ``kind``.

        Raises
        ------
        DataError
            If the file is missing or corrupt, or an array is missing, of a wrong type or
            contradicts another.
        """
        with open_arrays(path) as file:
            ids = file.take("id", np.integer, 1)
            vm_pages = file.take("vm_pages", np.integer, 1)
            names = file.names()
            kinds = file.take("kind", np.uint8, 1) if "kind" in names else None
            digests = file.take("digest", np.uint8, 2) if "digest" in names else None
            key_check = None if digests is None else file.take("key_check", np.uint8, 1)
        return cls(ids, vm_pages, kinds, str(path), digests, key_check)

    @property
    def vms(self) -> int:
        """How many virtual machines the trace holds."""
        return int(self.vm_pages.size)

    def dense_ids(self) -> NDArray[np.uint32]:
        """The ids as numbers of 32 bits that are not much higher than there are pages.

        Equal and different where the ids are, and 0 where they are 0; as they are if the trace has
        digests, whose rows they number.
        """
        if self.digests is not None or int(self.ids.max()) < max(2 * self.ids.size, 2**20):
            return self.ids.astype(np.uint32)
        _, dense = np.unique(np.append(self.ids, 0), return_inverse=True)
        return dense.ravel()[:-1].astype(np.uint32)

    def tokens(self, vm: int) -> NDArray[np.uint64]:
        """Contents of one VM for a token host.

        Parameters
        ----------
        vm : int
            Position of the VM in the trace, from 0.

        Returns
        -------
        uint64, shape (pages of that VM,)
            One token a page; a copy.

        Raises
        ------
        DataError
            If the trace has no such VM.
        """
        if not 0 <= vm < self.vms:
            raise DataError(f"{self.source}: no VM {vm}; expected 0 to {self.vms - 1}")
        first = int(self.vm_pages[:vm].sum())
        return self.ids[first : first + int(self.vm_pages[vm])].astype(np.uint64)

    def pages(self, vm: int) -> NDArray[np.uint8]:
        """Contents of one VM for a byte host: `page_bytes` of its tokens, shape (pages, 4096)."""
        return page_bytes(self.tokens(vm))

    def _check_digests(self, highest: int) -> None:
        if self.digests is None:
            return
        wanted = (highest + 1, DIGEST_BYTES)
        shape = self.digests.shape
        if len(shape) != 2 or shape[1] != DIGEST_BYTES or not highest < shape[0] <= 2**32:
            raise self._error("digest", f"has shape {shape}; expected {wanted}")
        if self.key_check is None or self.key_check.shape != (DIGEST_BYTES,):
            raise self._error("key_check", f"is missing or not of shape ({DIGEST_BYTES},)")

    def _check_integers(self, name: str, array: NDArray[Any]) -> None:
        if array.dtype.kind not in "iu" or array.ndim != 1:
            raise self._error(
                name, f"is {array.dtype} with {array.ndim} axes; expected integers with 1 axis"
            )

    def _error(self, name: str, problem: str) -> DataError:
        return DataError(f"{self.source}: array '{name}' {problem}")


class TraceKey:
    """Makes hashes of contents that tell nothing to whoever lacks a secret (keyed BLAKE2b).

    Parameters
    ----------
    secret : str or bytes
        Of any length but empty. Who can guess it can find out whether a known page was there.

    Raises
    ------
    ConfigError
        If the secret is empty.
    ArgumentTypeError
        If it is no text and no bytes.
    """

    def __init__(self, secret: str | bytes) -> None:
        if not isinstance(secret, (str, bytes)):
            raise ArgumentTypeError(f"key: {type(secret).__name__}; expected text or bytes")
        try:
            data = os.fsencode(secret) if isinstance(secret, str) else secret
        except UnicodeEncodeError as error:
            raise ConfigError(f"key: {error}; expected a secret") from error
        if not data:
            raise ConfigError("key: empty; expected a secret")
        self._key = hashlib.blake2b(data, digest_size=32, person=b"esxcore key").digest()

    def digest(self, page: bytes | memoryview) -> bytes:
        """The hash of a page: 16 bytes."""
        return hashlib.blake2b(page, digest_size=DIGEST_BYTES, key=self._key).digest()

    def check(self) -> NDArray[np.uint8]:
        """What tells traces under two keys apart, and nothing more: uint8, shape (16,)."""
        return np.frombuffer(self.digest(b"esxcore page-content trace"), dtype=np.uint8)


def page_bytes(tokens: NDArray[Any]) -> NDArray[np.uint8]:
    """Makes a 4 KiB page of each token: equal for equal tokens, else different, zeros for 0.

    Word j of a page is splitmix64's mix of ``mix(token) + j * gamma``. The mix is a bijection of 64
    bits, so word 0 alone tells any two tokens apart, and only token 0 gives a zero word there. The
    same on any machine.

    Parameters
    ----------
    tokens : integers, shape (k,)
        From 0 to 2**63 - 1.

    Returns
    -------
    uint8, shape (k, 4096)
        The pages.

    Raises
    ------
    ContentError
        If `tokens` is not a row of such integers.

    Examples
    --------
    >>> pages = page_bytes(np.array([0, 9, 9]))
    >>> pages.shape, bool(pages[0].any()), bool((pages[1] == pages[2]).all())
    ((3, 4096), False, True)
    """
    tokens = np.asarray(tokens)
    if tokens.ndim != 1 or tokens.dtype.kind not in "iu":
        raise ContentError(
            f"tokens: {tokens.dtype} of shape {tokens.shape}; expected integers of shape (k,)"
        )
    if tokens.size and (tokens.min() < 0 or tokens.max() >= TOKEN_LIMIT):
        raise ContentError(f"tokens: {tokens.min()} to {tokens.max()}; expected 0 to 2**63 - 1")
    words = np.empty((tokens.size, _WORDS), "<u8")
    steps = np.arange(_WORDS, dtype=np.uint64) * _GAMMA
    for start in range(0, tokens.size, _CHUNK_PAGES):
        chunk = tokens[start : start + _CHUNK_PAGES].astype(np.uint64)
        seeds = _mix(chunk.copy())[:, None]
        words[start : start + chunk.size] = _mix(seeds + steps)
        words[start : start + chunk.size][chunk == 0] = 0
    return words.view(np.uint8)


def _mix(words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finaliser of splitmix64, in place: a bijection on 64 bits that leaves 0 alone."""
    words ^= words >> np.uint64(30)
    words *= np.uint64(0xBF58476D1CE4E5B9)
    words ^= words >> np.uint64(27)
    words *= np.uint64(0x94D049BB133111EB)
    words ^= words >> np.uint64(31)
    return words
