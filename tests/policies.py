"""The loop that defines min-funding revocation, slow and obvious: the oracle of its targets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import esxcore

MILLION = 1_000_000


@dataclass(frozen=True)
class Guest:
    """One VM."""

    shares: int
    min_pages: int
    max_pages: int
    active_pages: int

    def price(self, pages: int, tax_rate: Fraction) -> Fraction:
        """Adjusted shares-per-page, as the paper writes it (section 5.2)."""
        active = min(Fraction(1), Fraction(self.active_pages, pages))
        idle_page_cost = 1 / (1 - tax_rate)
        return self.shares / (pages * (active + idle_page_cost * (1 - active)))


def slow_loop(guests: Sequence[Guest], available_pages: int, tax_rate: Fraction) -> list[int]:
    """Takes a page at a time from whoever pays least, from everyone's max."""
    pages = [guest.max_pages for guest in guests]
    while sum(pages) > available_pages:
        rich = [vm for vm, guest in enumerate(guests) if pages[vm] > guest.min_pages]
        pages[min(rich, key=lambda vm: (guests[vm].price(pages[vm], tax_rate), vm))] -= 1
    return pages


def targets(guests: Sequence[Guest], available_pages: int, tax_rate: float) -> list[int]:
    """What the engine says."""
    found = esxcore.min_funding_targets(
        shares=[guest.shares for guest in guests],
        min_pages=[guest.min_pages for guest in guests],
        max_pages=[guest.max_pages for guest in guests],
        active_pages=[guest.active_pages for guest in guests],
        available_pages=available_pages,
        tax_rate=tax_rate,
    )
    assert found.dtype == "int64"
    assert found.shape == (len(guests),)
    return [int(pages) for pages in found]
