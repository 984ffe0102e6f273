"""Pictures of recordings and of censuses.

Of a recording: sharing over time, what the contents would allow, and COW breaks (`draw`); where
memory had to be divided, who should have what and has it (`draw_division`); what guests got done
(`draw_throughput`), and how much of their I/O was copied (`draw_io`). Of a census: what would be
saved, and who shares with whom (`draw_census`).

Each function draws on the axes it is given or makes a figure of its own, and leaves matplotlib's
global state alone: no pyplot, no backend, no lasting change of rcParams. Names are text, never
mathematics; a picture that `draw` makes is the same whatever the user's matplotlibrc says. Labels
use the words of `Recording` and of the paper's Figure 4.

A leaf: nothing in the package imports it but the command that was asked for a picture, and it
imports nothing of the package when it runs.
"""

from esxcore.plot.census import draw_census, plot_common_contents, plot_savings
from esxcore.plot.division import draw_division, plot_free_memory, plot_vm_memory
from esxcore.plot.io import draw_io, plot_io
from esxcore.plot.sharing import draw, plot_cow_breaks, plot_sharing
from esxcore.plot.style import png_bytes
from esxcore.plot.sweep import draw_sweep, plot_sweep
from esxcore.plot.throughput import draw_throughput, plot_throughput

__all__ = [
    "draw",
    "draw_census",
    "draw_division",
    "draw_io",
    "draw_sweep",
    "draw_throughput",
    "plot_common_contents",
    "plot_cow_breaks",
    "plot_free_memory",
    "plot_io",
    "plot_savings",
    "plot_sharing",
    "plot_sweep",
    "plot_throughput",
    "plot_vm_memory",
    "png_bytes",
]
