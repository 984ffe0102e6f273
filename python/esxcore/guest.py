"""Guests: which operating system a virtual machine runs, as far as its memory goes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Guest:
    """The operating system in a virtual machine: how it manages its own memory.

    The paper gives none of these numbers; each says where it is from, or that it is chosen. A guest
    needs more than twice the memory that its kernel takes, 17 MiB by default.

    Parameters
    ----------
    kind : {"default", "linux", "windows"}
        ``"default"`` manages nothing: page n of a process is "physical" page n, and the balloon
        gets empty pages first, then random ones. ``"linux"`` fills spare memory with cache.
        ``"windows"`` zeroes all its memory at boot, and clears freed pages when idle.
    image : str, optional
        Whose files it has: guests of one image have files of the same contents, so they share.
        Without it they are its own.
    replacement : {"two-list", "clock", "lru"}
        How it chooses the pages it gives up.
    swap : str or int, optional
        Its own swap device; as large as its memory if left out.
    kernel : str or int
        Its kernel's code and data, whatever its size (chosen).
    metadata_bytes : int
        Bytes of tables that its kernel has for each page of "physical" memory seen at boot (chosen;
        Linux 2.4 on IA-32 had 44 to 64 in its page descriptors alone).
    boot : str or int
        What it reads of its image at boot (chosen).
    boot_time : str or int
        How long boot takes (chosen); processes of a scenario begin after it. The balloon driver of
        a Linux guest is loaded half-way through it, that of a Windows guest 5 s after it (chosen),
        unless `BalloonDriver` says when.
    dirty_expire : str or int
        How long a block stays dirty before it is written back, as in Linux.
    zero_rate : int
        Freed pages that Windows' zero-page thread clears in an idle second (chosen).
    """

    kind: Literal["default", "linux", "windows"] = "linux"
    image: str | None = None
    replacement: Literal["two-list", "clock", "lru"] = "two-list"
    swap: str | int | None = None
    kernel: str | int = "8MiB"
    metadata_bytes: int = 96
    boot: str | int = "24MiB"
    boot_time: str | int = "10s"
    dirty_expire: str | int = "30s"
    zero_rate: int = 32_768
