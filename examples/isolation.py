"""What isolation costs: pages that sharing saves across five guests, within tenants, and alone."""

import sys

import numpy as np
from matplotlib.figure import Figure

import esxcore

fleet = esxcore.Scenario.builtin().data_path("builtin:fleet_a")  # or images: ["a.raw", "b.raw"]
GUESTS = ["py1", "py2", "redis", "sqlite", "nginx"]
DOMAINS = {
    "each alone": "per-vm",
    "two tenants": ["north", "south", "north", "south", "south"],
    "all together": "none",
}
PARTS = {"zero": "zero pages", "intra": "equal within a guest", "inter": "equal across guests"}

figure = Figure(figsize=(10, 4.2), layout="constrained")
bars, matrix = figure.subplots(1, 2)
for name, domain in DOMAINS.items():
    census = esxcore.census([fleet], salt=domain)
    left = 0.0
    for number, part in enumerate(PARTS):
        mib = getattr(census, f"{part}_reclaimed_pages") / 256
        bars.barh(name, mib, left=left, color=f"C{number}")
        left += mib
    print(f"{name:12} {left:6.1f} MiB saved of {census.pages / 256:.0f}")
bars.set(xlabel="saved by sharing (MiB)")
bars.legend(
    PARTS.values(), frameon=False, fontsize=9, loc="lower left", bbox_to_anchor=(0, 1), ncols=3
)
bars.set_xlim(0, 1280)
matrix.imshow(census.common_contents / 256, cmap="Blues", vmax=120)
for (row, column), pages in np.ndenumerate(census.common_contents):
    matrix.text(column, row, f"{pages / 256:.0f}", ha="center", va="center")
matrix.set_xticks(range(5), GUESTS)
matrix.set_yticks(range(5), GUESTS)
matrix.set_title("MiB of contents in common, zero pages aside", fontsize=10)
figure.savefig(sys.argv[1] if len(sys.argv) > 1 else "isolation.png", dpi=110)
