"""The mechanisms that a reproduction claims."""

from __future__ import annotations

from esxcore.paper import Reproduction
from esxcore.paper.claims import Claim, Kind


def mechanisms(made: Reproduction) -> list[Claim]:
    """All of them."""
    return [claim for claim in made.claims if claim.kind is Kind.MECHANISM]


def mechanism(made: Reproduction, text: str) -> Claim:
    """The one that begins like this."""
    (claim,) = (claim for claim in mechanisms(made) if claim.text.startswith(text))
    return claim
