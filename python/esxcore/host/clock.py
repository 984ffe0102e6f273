"""Scans, by hand and while virtual time passes."""

from __future__ import annotations

from typing import SupportsIndex

from esxcore.arguments import in_range, real_number
from esxcore.errors import ConfigError
from esxcore.host.tables import HostTables
from esxcore.reports import ScanReport


class HostClock(HostTables):
    """The part of `esxcore.Host` that lets mechanisms work."""

    def scan(self, pages: SupportsIndex) -> ScanReport:
        """Scans pages for sharing now (paper, section 4.3).

        Every pick counts, also of a page that cannot be shared. Each cluster of up to 16 pages is
        taken of the virtual machine that hand scans have brought least far, so that on a fresh host
        as many picks as there are pages are one pass over each. A pass over quiet guests finds all
        there is.

        Parameters
        ----------
        pages : int
            Pages to pick.
        """
        count = in_range(pages, "pages", 0, 2**63 - 1)
        return ScanReport(*self._core.scan(count))

    def advance(self, seconds: float) -> ScanReport:
        """Lets virtual time pass; at each whole second every mechanism does its part.

        Sampling periods end, page-outs are written, the policy is asked when it is time, balloons
        move, page-outs begin, pages are scanned.

        Parameters
        ----------
        seconds : float
            How long, to the nanosecond.

        Returns
        -------
        ScanReport
            What the scanner did in this time. After Ctrl-C, the host is at the second it has
            reached.

        Raises
        ------
        PolicyError
            If the policy's answer cannot be; what the policy itself raises comes out as it is. The
            targets before stay in force, and time goes on from there in the next call.
        """
        elapsed = real_number(seconds, "seconds")
        if not 0 <= elapsed <= 2**33:  # nor is NaN
            raise ConfigError(f"seconds: {seconds!r}; expected a number from 0 to 2**33")
        return ScanReport(*self._core.advance(round(elapsed * 1e9)))

    @property
    def now(self) -> float:
        """Virtual time in seconds since the host was made."""
        return self._core.now_ns() / 1e9
