"""Real memory that a census needs besides the memory it counts, in a process of its own.

::

    python bench/footprint.py PAGES        # prints bytes of the peak, as JSON

The process makes an array of `PAGES` different pages real, has a small census warm up whatever is
set up once, and then looks how far its resident size rises above what it was: the index, the
numbers of the contents (4 bytes a page) and the threads' buffers.
"""

from __future__ import annotations

import ctypes
import gc
import json
import re
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import datasets
import numpy as np
from measure import PAGE_BYTES

import esxcore
from esxcore import _core

_WARM_UP = 64
_RESET_PEAK = "5"
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of glibc's mallopt


def measured(pages: int) -> dict[str, int]:
    """Bytes that a census of so many different pages needs: identification, and all of it."""
    command = [sys.executable, __file__, str(pages)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    found: dict[str, int] = json.loads(done.stdout)
    return found


def peak(run: Callable[[], object]) -> int:
    """Bytes by which the resident size rises at most while this runs."""
    gc.collect()
    Path("/proc/self/clear_refs").write_text(_RESET_PEAK)
    before = _status("VmRSS")
    run()
    return _status("VmHWM") - before


def _return_freed_blocks() -> None:
    """Has glibc return them to the system; else they would be resident before and used unseen."""
    libc = ctypes.CDLL(None)
    if not (libc.mallopt(_MMAP_THRESHOLD, 65536) and libc.mallopt(_TRIM_THRESHOLD, 0)):
        raise SystemExit("mallopt: refused")


def _status(name: str) -> int:
    found = re.search(rf"^{name}:\s*(\d+) kB$", Path("/proc/self/status").read_text(), re.M)
    if found is None:
        raise SystemExit(f"/proc/self/status: no {name}")
    return int(found[1]) * 1024


def main() -> None:
    """The command."""
    _return_freed_blocks()
    pages = np.empty((int(sys.argv[1]), PAGE_BYTES), dtype=np.uint8)
    datasets.fill(pages, datasets.make("distinct", len(pages)))

    def identify(image: datasets.Pages) -> object:
        return _core.Contents.take([image], [0], False, None, None)

    def whole(image: datasets.Pages) -> object:
        return esxcore.census([image])

    runs = {"identification": identify, "census": whole}
    for run in runs.values():
        run(pages[:_WARM_UP])
    print(json.dumps({name: peak(partial(run, pages)) for name, run in runs.items()}))


if __name__ == "__main__":
    main()
