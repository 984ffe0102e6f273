"""A census of running processes finds what was planted in them and leaves them as they were."""

from __future__ import annotations

import ctypes
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import esxcore
import planting
from esxcore.contents import ContentTrace
from planting import DISTINCT, GIVEN_BACK, UNTOUCHED, ZEROS, Planted, given_back, planted

YAMA = Path("/proc/sys/kernel/yama/ptrace_scope")

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="processes are read on Linux only"),
    pytest.mark.skipif(
        YAMA.exists() and int(YAMA.read_text()) > 1 and os.geteuid() != 0,
        reason="this system lets nobody read processes of their own",
    ),
]

PR_SET_PTRACER = 0x59616D61

LOOK_AT_PARENT = """
import json, sys
import numpy as np
import esxcore

planted = np.load(sys.argv[2])
print(json.dumps(esxcore.census([planted], pids=[int(sys.argv[1])]).to_dict()))
"""


def rss_kib(pid: int) -> list[int]:
    """Memory of a process by two counts of the kernel: one that is quick, one that is exact."""
    found = []
    for name, field in (("status", "VmRSS"), ("smaps_rollup", "Rss")):
        match = re.search(rf"^{field}:\s+(\d+) kB", Path(f"/proc/{pid}/{name}").read_text(), re.M)
        assert match is not None
        found.append(int(match[1]))
    return found


def mapping(pid: int, address: int) -> dict[str, int]:
    """What the kernel says of the mapping at an address, in KiB, but when it was looked at."""
    text = Path(f"/proc/{pid}/smaps").read_text()
    for part in re.split(r"^(?=[0-9a-f]+-[0-9a-f]+ )", text, flags=re.M):
        head = re.match(r"([0-9a-f]+)-([0-9a-f]+) ", part)
        if head and int(head[1], 16) <= address < int(head[2], 16):
            rows = re.findall(r"^(\w+):\s+(\d+) kB", part, re.M)
            return {name: int(kib) for name, kib in rows if name != "Referenced"}
    raise AssertionError(f"no mapping at {address:#x}")


@dataclass
class Child:
    pid: int
    label: str
    address: int


@contextmanager
def child_of(label: str) -> Iterator[Child]:
    """A process that has planted its pages and waits."""
    command = [sys.executable, planting.__file__, label]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        address = int(process.stdout.readline())
        for _ in range(3):  # it takes memory for its input when it first reads
            process.stdin.write("\n")
            process.stdin.flush()
            assert process.stdout.readline() == "done\n"
        while "State:\tS" not in Path(f"/proc/{process.pid}/status").read_text():
            os.sched_yield()
        yield Child(process.pid, label, address)
        process.stdin.close()


@pytest.fixture(scope="module")
def child() -> Iterator[Child]:
    with child_of("child") as child:
        yield child


def test_what_a_process_planted_is_found(child: Child, tmp_path: Path) -> None:
    found = esxcore.census([planted(child.label)], pids=[child.pid])
    assert found.common_contents[0, 1] == DISTINCT
    assert found.images[0].common_pages == DISTINCT
    assert found.images[1].path == f"pid {child.pid}"
    found.export(tmp_path / "trace.npz")
    ids = ContentTrace.load(tmp_path / "trace.npz").ids
    own, others = ids[:DISTINCT], ids[DISTINCT:]
    copies = np.bincount(others, minlength=int(ids.max()) + 1)[own]
    assert copies.tolist() == [2] * DISTINCT
    assert found.images[1].zero_pages >= ZEROS


def test_its_mapping_is_counted_page_by_page(child: Child) -> None:
    """Written zeros are present; pages given back or never touched are absent."""
    present = 2 * DISTINCT + ZEROS
    assert mapping(child.pid, child.address)["Rss"] == 4 * present
    facts = esxcore.census(pids=[child.pid]).images[0].facts
    assert facts["format"] == "process"
    assert facts["absent_pages"] >= GIVEN_BACK + UNTOUCHED
    assert (facts["lost_pages"], facts["swapped_pages"]) == (0, 0)


def test_what_it_gave_back_is_gone(child: Child) -> None:
    found = esxcore.census([given_back(child.label)], pids=[child.pid])
    assert found.common_contents[0, 1] == 0


@pytest.mark.parametrize("verify", ["bytes", "hash128"])
def test_its_size_stays_as_it_was(child: Child, verify: Any) -> None:
    before = rss_kib(child.pid), mapping(child.pid, child.address)
    found = esxcore.census(pids=[child.pid], verify=verify)
    assert (rss_kib(child.pid), mapping(child.pid, child.address)) == before
    assert found.pages * 4 >= before[0][1] * 0.5  # or else nothing was looked at


def test_two_looks_at_a_process_that_waits_agree(child: Child) -> None:
    one, other = (esxcore.census(pids=[child.pid]).to_dict() for _ in range(2))
    assert one == other


def test_processes_share_with_each_other_and_with_arrays(child: Child) -> None:
    """A second process with the same contents: found in both, and saved across them."""
    with child_of(child.label) as twin:
        found = esxcore.census(pids=[child.pid, twin.pid])
        apart = esxcore.census(pids=[child.pid, twin.pid], salt="per-vm")
    assert found.common_contents[0, 1] >= DISTINCT
    assert found.inter_reclaimed_pages >= DISTINCT
    assert apart.inter_reclaimed_pages == 0
    assert apart.common_contents[0, 1] == 0
    assert apart.intra_reclaimed_pages == found.intra_reclaimed_pages


def test_a_process_that_has_ended(child: Child) -> None:
    with child_of("other") as other:
        pid = other.pid
        assert esxcore.census(pids=[pid]).pages > 0
    said = rf"^process {pid}: there is no such process$"
    with pytest.raises(esxcore.DataError, match=said):
        esxcore.census(pids=[child.pid, pid])


def test_a_process_that_ends_half_way(child: Child) -> None:
    def pids() -> Iterator[int]:
        with child_of("brief") as brief:
            yield brief.pid  # and is opened
        yield child.pid

    with pytest.raises(
        esxcore.DataError, match=r"^process \d+: it has ended, or runs another program now$"
    ):
        esxcore.census(pids=pids())


def test_a_process_that_nobody_has_waited_for_yet() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        said = rf"^process {process.pid}: it has ended, or runs another program now$"
        with pytest.raises(esxcore.DataError, match=said):
            esxcore.census(pids=[process.pid])


def kernel_threads() -> list[int]:
    """Those that are to be seen; none in most containers."""
    flags = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            words = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        flags[int(path.parent.name)] = int(words[6])
    return [pid for pid, flag in flags.items() if flag & 0x0020_0000]


def test_a_thread_of_the_kernel() -> None:
    threads = kernel_threads()
    if not threads:
        pytest.skip("no thread of the kernel is to be seen")
    said = rf"^process {threads[0]}: it is a kernel thread, which has no memory of its own$"
    with pytest.raises(esxcore.DataError, match=said):
        esxcore.census(pids=threads[:1])


@contextmanager
def readable_by_children() -> Iterator[None]:
    """Lets any process of this user read this one, where Yama lets only ancestors."""
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    prctl(PR_SET_PTRACER, ctypes.c_ulong(-1))  # fails, and is not needed, without Yama
    try:
        yield
    finally:
        prctl(PR_SET_PTRACER, ctypes.c_ulong(0))


def test_a_census_of_the_test_itself(tmp_path: Path) -> None:
    """By a process of its own, because who counts himself changes while he counts.

    The tolerance is 0 pages for the planted mapping, in every figure of the kernel. The size of the
    whole process says nothing: starting a process and reading its answer, Python allocates memory.
    """
    here = Planted("tests")
    np.save(tmp_path / "planted.npy", planted("tests"))
    command = [sys.executable, "-c", LOOK_AT_PARENT, str(os.getpid()), "planted.npy"]
    before = mapping(os.getpid(), here.address)
    with readable_by_children():
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    after = mapping(os.getpid(), here.address)
    assert (done.returncode, done.stderr) == (0, "")
    assert before == after
    assert before["Rss"] == 4 * (2 * DISTINCT + ZEROS)
    found = json.loads(done.stdout)
    assert found["images"][1]["path"] == f"pid {os.getpid()}"
    assert found["common_contents"][0] == [DISTINCT, DISTINCT]
    assert found["images"][1]["zero_pages"] >= ZEROS
    assert found["images"][1]["intra_reclaimed_pages"] >= DISTINCT
    assert found["images"][1]["facts"]["absent_pages"] >= GIVEN_BACK + UNTOUCHED


def test_a_process_can_count_itself() -> None:
    """It changes meanwhile, but what it planted does not."""
    here = Planted("myself")
    before = mapping(os.getpid(), here.address)
    found = esxcore.census([planted("myself")], pids=[os.getpid()])
    assert mapping(os.getpid(), here.address) == before
    assert found.common_contents[0, 1] == DISTINCT
