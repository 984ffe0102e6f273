"""What the idle memory tax does: to targets, by arithmetic, and to work done, by a sweep."""

import sys

import numpy as np
from matplotlib.figure import Figure

import esxcore

RATES = [0, 0.25, 0.5, 0.75, 0.9]
MIB = 256  # pages
guests = {"max_pages": [64 * MIB] * 2, "min_pages": [8 * MIB] * 2, "shares": [1000] * 2}
active = {"active_pages": [2 * MIB, 60 * MIB], "available_pages": 90 * MIB}
targets = [esxcore.min_funding_targets(**guests, **active, tax_rate=rate) for rate in RATES]

quiet = {"sharing": {"enabled": False}, "sampling": {"period": "5s"}, "costs": "2002"}
lab = esxcore.Scenario(memory="96MiB", swap="128MiB", duration="2min", **quiet)
for name, work in (
    ("idle", esxcore.toucher([("0s", "60MiB"), ("10s", "2MiB")], refs_per_s=4000)),
    ("busy", esxcore.zipf("60MiB", exponent=0, op_time="2ms")),
):
    lab.vm(name, max="64MiB", min="8MiB", overhead="0MiB", workload=work)
rows = esxcore.sweep(lab, {"policy.tax_rate": RATES}, seeds=3, jobs=1)

work = np.reshape(rows["ops_per_s:busy"], (len(RATES), 3)).mean(axis=1)
for rate, (idle, busy), done in zip(RATES, np.array(targets) / MIB, work, strict=True):
    print(f"tax {rate:4.0%}: idle {idle:4.1f} MiB, busy {busy:4.1f} MiB, {done:6.1f} operations/s")

percent = 100 * np.array(RATES)
figure = Figure(figsize=(9, 3.6), layout="constrained")
left, right = figure.subplots(1, 2)
left.plot(percent, np.array(targets) / MIB, "o-", label=["idle", "busy"])
left.set(title="by arithmetic, of 90 MiB", xlabel="tax rate (%)", ylabel="target (MiB)", ylim=0)
left.legend(frameon=False)
right.plot(percent, work, "o-", color="C1")
right.set(title="by living through it", xlabel="tax rate (%)", ylabel="busy: operations/s", ylim=0)
figure.savefig(sys.argv[1] if len(sys.argv) > 1 else "tax.png", dpi=110)
