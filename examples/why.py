"""Why a guest has the target it has: in words, in numbers, and on a picture."""

import sys

from matplotlib.figure import Figure

import esxcore

lab = esxcore.Scenario(memory="400MiB", duration="6min", sampling={"period": "10s"})
lab.vm("idle", max="256MiB", guest="windows", workload="idle")
lab.vm("busy", max="256MiB", guest="linux", workload=esxcore.zipf("220MiB", op_time="2ms"))
lab.event("4min", vm="idle", shares="high")
runs = esxcore.compare(lab, ["esx2002"], seeds=1)["esx2002"]
recording = runs.recording()

figure = Figure(figsize=(8.5, 4.2), layout="constrained")
ax = figure.subplots()
for vm, name in enumerate(recording.vm_names):
    for words, style in (("target", "-"), ("active", ":")):
        mib = recording.vms[f"{words}_pages"][:, vm] / 256
        ax.plot(recording.time_s / 60, mib, style, color=f"C{vm}", label=f"{name}: {words}")

for minute, side in ((1, 1), (3, -1), (5.25, 1)):
    why = runs.explain("idle", at=60 * minute)  # the run is lived again until then
    print(why.text, end="\n\n")
    mib, taxed = why.facts["target_pages"] / 256, why.facts["taxed_pages"] / 256
    ax.plot(minute, mib, "ko")
    words = f"tax takes {taxed:.0f} MiB" if taxed > 0 else f"tax of others gives {-taxed:.0f} MiB"
    ax.annotate(words, (minute, mib), (0, 12 * side - 4), textcoords="offset points", ha="center")
ax.axvline(4, color="0.5", linewidth=1)
ax.annotate("idle gets twice the shares", (4.05, 260))
ax.set(xlabel="virtual time (minutes)", ylabel="MiB", xlim=(0, 6), ylim=(0, 275))
figure.legend(loc="outside right center", frameon=False)
figure.savefig(sys.argv[1] if len(sys.argv) > 1 else "why.png", dpi=110)
