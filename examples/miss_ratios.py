"""How much memory a program needs: misses by three rules of replacement, of a recorded trace."""

import sys

import numpy as np
from matplotlib.figure import Figure

import esxcore

trace = esxcore.PageTrace.load("builtin:trace_sort")  # a program that sorts a text
sizes = np.unique(np.geomspace(3, 300, 36).astype(int))
print(f"{trace.references} references to {trace.distinct} pages")

figure = Figure(figsize=(8, 4), layout="constrained")
ax = figure.subplots()
for rule, style in (("lru", "-"), ("clock", "--"), ("two-list", ":")):
    ratios = esxcore.miss_ratios(trace, sizes, policy=rule)
    enough = sizes[np.argmax(ratios < 0.01)]
    print(f"{rule:9} {enough:3} pages to miss less than once in a hundred references")
    ax.loglog(sizes * 4, ratios, style, linewidth=2, label=rule)
once = trace.distinct / trace.references
ax.axhline(once, color="0.6", linewidth=1)
ax.annotate("each page once", (12, once * 1.15), color="0.4")
ax.set(xlabel="memory (KiB)", ylabel="misses a reference", xlim=(12, 1200))
ax.set_xticks([16, 32, 64, 128, 256, 512, 1024], [16, 32, 64, 128, 256, 512, 1024])
ax.minorticks_off()
ax.set_title("A sort lives in 32 KiB at a time, whoever is thrown out", loc="left")
ax.legend(frameon=False)
figure.savefig(sys.argv[1] if len(sys.argv) > 1 else "miss_ratios.png", dpi=110)
