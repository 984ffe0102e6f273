"""Colours of the report, by what they stand for, on light and on dark ground.

Lines and layers have the colours of `esxcore.plot`, the palette of Okabe and Ito, which people with
any kind of colour blindness can tell apart; where black would not show on dark ground, it is white.
"""

from __future__ import annotations

Palette = dict[str, str]

LIGHT: Palette = {
    "ground": "#f6f7f9",
    "card": "#ffffff",
    "ink": "#16191d",
    "soft-ink": "#59616b",
    "rule": "#dfe3e8",
    "grid": "#eceff2",
    "accent": "#0072B2",
    "resident": "#56B4E9",
    "balloon": "#E69F00",
    "swapped": "#D55E00",
    "target": "#000000",
    "active": "#004D40",
    "shared": "#0072B2",
    "reclaimed": "#D55E00",
    "possible": "#000000",
    "free": "#000000",
    "work": "#009E73",
    "some": "#CC79A7",
    "full": "#8A3B66",
    "transfers": "#0072B2",
    "copied": "#D55E00",
    "moved": "#009E73",
    "dropped": "#8A3B66",
    "high": "#E8F3EC",
    "soft": "#FBE7A1",
    "hard": "#F2A65A",
    "low": "#B5484B",
    "high-ink": "#2c4a38",
    "soft-ink-on": "#4d3d00",
    "hard-ink": "#3d2100",
    "low-ink": "#ffffff",
}

DARK: Palette = LIGHT | {
    "ground": "#0f1216",
    "card": "#171b21",
    "ink": "#e9ecf0",
    "soft-ink": "#9aa4b0",
    "rule": "#2b323b",
    "grid": "#262c34",
    "accent": "#6cc0f0",
    "target": "#ffffff",
    "active": "#7fe0c8",
    "shared": "#9CC9FF",
    "possible": "#ffffff",
    "free": "#ffffff",
    "work": "#35c79b",
    "some": "#d58fb4",
    "full": "#f3c1dc",
    "transfers": "#6cc0f0",
    "copied": "#f28a4a",
    "moved": "#35c79b",
    "dropped": "#f3c1dc",
    "high": "#1c3328",
    "soft": "#65530f",
    "hard": "#b8661c",
    "low": "#c9444a",
    "high-ink": "#a9d3bb",
    "soft-ink-on": "#ffe9a8",
    "hard-ink": "#1d1003",
    "low-ink": "#ffffff",
}


def as_css(palette: Palette) -> str:
    """The palette as declarations of CSS variables."""
    return " ".join(f"--{name}: {colour};" for name, colour in palette.items())
