"""Memory that changes hands: power-on, revoking, granting, and what deciding costs.

Token hosts, so that pages cost what their bookkeeping costs. Peers:

``pmap fill``
    ``np.full`` of as many 8-byte entries as the guest has pages: what making a pmap comes to.
``word copy``
    ``np.take`` of as many scattered words: what moving that many pages comes to where a page is a
    word.
``no ledger``, ``no question``
    The same host with nothing remembered, and with a policy that is never asked.
"""

from __future__ import annotations

import numpy as np
from measure import BATCH, Race, Ratio, scale

import esxcore

SCALE = scale()
PAGES = SCALE.memory_tokens // 4


def overcommitted() -> esxcore.Host:
    """A host without scanner and samples, with room for one guest and half of another."""
    return esxcore.Host(
        2 * PAGES, swap=4 * PAGES, content="tokens", sharing=False, sample_pages=0, seed=1
    )


def test_power_on(ratio: Ratio) -> None:
    """A guest is admitted, gets its pmap and its overhead, and goes."""
    host = overcommitted()
    pmap = np.empty(PAGES, dtype=np.uint64)

    def come_and_go() -> int:
        host.power_on("guest", max=PAGES, overhead=PAGES // 64).power_off()
        return host.stats()["free_pages"]

    results = ratio(
        Race(
            case="power on and off, empty",
            units=PAGES,
            ours={"power_on": come_and_go},
            peers={"pmap fill": lambda: pmap.fill(5)},
        )
    )
    assert set(results["power_on"]) == {2 * PAGES}


class Halves:
    """A guest of which half is paged out at once as its max is lowered, and touched in again."""

    def __init__(self) -> None:
        self.host = overcommitted()
        contents = np.arange(1, PAGES + 1)
        self.vm = self.host.power_on("guest", max=PAGES, min=0, overhead=0, contents=contents)
        self.words = np.arange(PAGES, dtype=np.uint64)
        self.order = np.random.default_rng(3).permutation(PAGES)
        self.parts = np.array_split(self.order, max(1, PAGES // BATCH))

    def revoke(self) -> int:
        """Lowers max; returns the pages in the swap file."""
        self.host.configure(self.vm, max=PAGES // 2)
        return int(self.host.vms()["swapped_pages"][0])

    def grant(self) -> int:
        """Touches everything; returns the pages that came back."""
        return sum(self.vm.touch(part).page_ins for part in self.parts)

    def whole(self) -> None:
        """Everything is in memory."""
        self.host.configure(self.vm, max=PAGES)
        self.grant()

    def halved(self) -> None:
        """Half is in the swap file and may come back."""
        self.whole()
        self.revoke()
        self.host.configure(self.vm, max=PAGES)

    def copy(self) -> object:
        """The peer."""
        return self.words.take(self.order[: PAGES // 2])


def test_revoke(ratio: Ratio) -> None:
    """Each page is offered for sharing and written in runs of slots."""
    halves = Halves()
    results = ratio(
        Race(
            case="revoke at once by paging",
            units=PAGES - PAGES // 2,
            ours={"configure": halves.revoke},
            peers={"word copy": halves.copy},
            prepare=halves.whole,
        )
    )
    assert set(results["configure"]) == {PAGES - PAGES // 2}


def test_grant(ratio: Ratio) -> None:
    """Half of the touched pages come from the swap file."""
    halves = Halves()
    results = ratio(
        Race(
            case="grant, paged in by touches",
            units=PAGES - PAGES // 2,
            ours={"touch": halves.grant},
            peers={"word copy": halves.copy},
            prepare=halves.halved,
        )
    )
    assert set(results["touch"]) == {PAGES - PAGES // 2}


def test_deciding(ratio: Ratio) -> None:
    """Fifteen seconds of many small idle guests: a plan each second and one question."""
    count = max(SCALE.policy_vms) // 10 or 1

    def crowd(period: int, records: int) -> esxcore.Host:
        host = esxcore.Host(
            512 * count,
            content="tokens",
            sharing=False,
            sample_pages=0,
            balance_period=period,
            ledger_records=records,
        )
        for number in range(count):
            host.power_on(f"vm{number}", max="1MiB", overhead=0)
        host.advance(1)
        return host

    hosts = {
        "asked": crowd(15, 16_384),
        "no ledger": crowd(15, 0),
        "no question": crowd(2**20, 0),
    }
    ratio(
        Race(
            case=f"15 s of {count} idle guests",
            units=15 * count,
            unit="VM seconds",
            ours={"asked": lambda: hosts["asked"].advance(15)},
            peers={
                name: (lambda host=host: host.advance(15))
                for name, host in hosts.items()
                if name != "asked"
            },
        )
    )
