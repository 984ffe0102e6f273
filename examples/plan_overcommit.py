"""How many guests fit: until the worst of them is 5 % slower than on a host with room for all."""

import sys

import numpy as np
from matplotlib.figure import Figure

import esxcore

COSTS, COUNTS = ["2002", "nvme"], [4, 5, 6, 7, 8, 9, 10]
small = {"max": "128MiB", "min": "32MiB", "overhead": "8MiB"}
guest = esxcore.Guest("linux", image="debian")  # of one image, so that their files are shared
lab = esxcore.Scenario(memory="640MiB", swap="2GiB", duration="2min", processors=16)
lab.vm("web", guest=guest, workload=esxcore.zipf("80MiB", exponent=0.5, op_time="5ms"), **small)
rows = esxcore.sweep(lab, {"run.costs": COSTS, "vms.web.count": COUNTS}, jobs=1)

figure = Figure(figsize=(7.5, 4), layout="constrained")
ax = figure.subplots()
for costs, slowdown in zip(COSTS, np.reshape(rows["worst_slowdown"], (2, -1)), strict=True):
    fit = max(count for count, worst in zip(COUNTS, slowdown, strict=True) if worst < 1.05)
    beyond = slowdown[COUNTS.index(fit) + 1]
    print(f"{costs}: {fit} guests fit; with one more the worst is {beyond - 1:.1%} slower")
    ax.plot(COUNTS, slowdown, "o-", label=f"costs of {costs}")
ax.axhline(1.05, color="0.5", linewidth=1)
ax.annotate("5 % slower", (4, 1.09), color="0.4")
ax.set_yscale("log")
ax.set_yticks([1, 2, 4, 8], ["1", "2", "4", "8"])
ax.minorticks_off()
ax.set(xlabel="guests of 128 MiB on 640 MiB", ylabel="the worst is so many times slower")
ax.legend(frameon=False, loc="upper left")
figure.savefig(sys.argv[1] if len(sys.argv) > 1 else "plan_overcommit.png", dpi=110)
