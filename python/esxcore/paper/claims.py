"""Claims: what the paper shows, what came out here, and what follows from that.

There are three kinds. A *mechanism* must emerge by itself: it holds or it fails, and a failure
fails the command. What is *calibrated* is an input that was fitted so that a figure can be drawn:
it is shown as such and is never called a success. What is *recalled* has a number of the paper that
nobody could verify: its deviation is told and decides nothing.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Self


class Kind(StrEnum):
    """What a claim is worth; see the module."""

    MECHANISM = "mechanism"
    CALIBRATED = "calibrated"
    RECALLED = "recalled"


class Confidence(StrEnum):
    """How well a number of the paper is known."""

    CONFIRMED = "confirmed"
    SECONDARY = "secondary"
    MANUAL = "manual"
    RECALLED = "recalled"
    DERIVED = "derived"
    SILENT = "silent"


@dataclass(frozen=True, slots=True)
class Claim:
    """One line of the comparison.

    Attributes
    ----------
    text : str
        What is claimed.
    kind : Kind
        Whether it has to emerge, was fitted, or stands beside a number that is not verified.
    paper : str
        What the paper says, in words or a number with its unit; a dash if it says nothing.
    confidence : Confidence
        How well that is known.
    here : str
        What came out here.
    verdict : str
        ``holds`` or ``fails`` of a mechanism, ``fitted``, or a deviation.
    why : str
        The reason for a tolerance, or how a number was fitted.
    """

    text: str
    kind: Kind
    paper: str
    confidence: Confidence
    here: str
    verdict: str
    why: str = ""

    @property
    def fails(self) -> bool:
        """Whether it is a mechanism that did not emerge."""
        return self.verdict == "fails"

    @property
    def paper_text(self) -> str:
        """What the paper says and how well that is known."""
        if self.confidence is Confidence.SILENT:
            return self.paper
        return f"{self.paper} ({self.confidence})"

    def table(self) -> dict[str, str]:
        """As plain values."""
        return {key: str(value) for key, value in asdict(self).items()}

    @classmethod
    def of(cls, table: dict[str, Any]) -> Self:
        """From what `table` gives."""
        kind, confidence = Kind(table["kind"]), Confidence(table["confidence"])
        return cls(**(table | {"kind": kind, "confidence": confidence}))


def mechanism(
    text: str,
    holds: bool,
    here: str,
    *,
    paper: str = "–",
    confidence: Confidence = Confidence.SILENT,
    why: str = "",
) -> Claim:
    """A claim that must emerge by itself."""
    verdict = "holds" if holds else "fails"
    return Claim(text, Kind.MECHANISM, paper, confidence, here, verdict, why)


def calibrated(
    text: str,
    here: str,
    *,
    paper: str = "–",
    confidence: Confidence = Confidence.SILENT,
    why: str,
) -> Claim:
    """An input that was fitted; `why` says to what and how."""
    return Claim(text, Kind.CALIBRATED, paper, confidence, here, "fitted", why)


def recalled(
    text: str,
    paper: float,
    here: float,
    unit: str,
    *,
    confidence: Confidence = Confidence.RECALLED,
    why: str = "",
) -> Claim:
    """A number beside one of the paper's that is not verified.

    Numbers in percent deviate by points, others by a part of the paper's.
    """
    if unit == "%":
        verdict = f"{here - paper:+.1f} points"
    else:
        verdict = f"{100 * (here / paper - 1):+.0f} %" if paper else f"{here:+.4g} {unit}"
    said, found = (f"{value:,.4g} {unit}".rstrip() for value in (paper, here))
    return Claim(text, Kind.RECALLED, said, confidence, found, verdict, why)
