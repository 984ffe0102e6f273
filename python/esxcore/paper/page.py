"""All figures on one page: an HTML file that needs no network, light and dark."""

from __future__ import annotations

from collections.abc import Mapping

from jinja2 import Environment, PackageLoader, StrictUndefined
from plotly.offline import get_plotlyjs

from esxcore import __version__
from esxcore.paper.claims import Kind
from esxcore.paper.interactive import interactive
from esxcore.paper.reproduction import Reproduction
from esxcore.report.colours import DARK, LIGHT, as_css
from esxcore.report.page import script_json

_TONES_LIGHT = {
    "tone-ink": "#000000",
    "tone-grey": "#8A8F98",
    "tone-blue": "#0072B2",
    "tone-sky": "#56B4E9",
    "tone-orange": "#E69F00",
    "tone-red": "#D55E00",
    "tone-green": "#009E73",
    "tone-purple": "#CC79A7",
}
_TONES_DARK = _TONES_LIGHT | {
    "tone-ink": "#ffffff",
    "tone-blue": "#6cc0f0",
    "tone-green": "#35c79b",
    "tone-red": "#f2803c",
}


def page(made: Mapping[str, Reproduction], seed: int) -> str:
    """The page of what was made, by name of target."""
    environment = Environment(
        loader=PackageLoader("esxcore.paper", "page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    claims = [claim for each in made.values() for claim in each.claims]
    mechanisms = [claim for claim in claims if claim.kind is Kind.MECHANISM]
    return environment.get_template("page.html").render(
        made=made,
        mechanisms=len(mechanisms),
        failed=sum(claim.fails for claim in mechanisms),
        others=len(claims) - len(mechanisms),
        version=__version__,
        seed=seed,
        light=as_css(LIGHT | _TONES_LIGHT),
        dark=as_css(DARK | _TONES_DARK),
        plotly=get_plotlyjs(),
        figures=script_json({name: interactive(each.chart) for name, each in made.items()}),
    )
