"""Windows guests zero all their memory at boot: paged out, or shared before it comes to that."""

import sys

from matplotlib.figure import Figure

import esxcore

LINES = {"reclaimed": "reclaimed by sharing", "swapped": "paged out", "balloon": "in balloons"}
figure = Figure(figsize=(9, 3.6), layout="constrained")
for ax, share in zip(figure.subplots(1, 2, sharey=True), (False, True), strict=True):
    rule = {"share_before_swap": share}
    lab = esxcore.Scenario(memory="512MiB", duration="90s", reclaim=rule, sampling={"pages": 0})
    for number in (0, 1, 2):
        start = f"{20 * number}s"
        lab.vm(f"w{number}", max="256MiB", guest="windows", workload="idle", start=start)
    recording = esxcore.run(lab)
    host = recording.host
    print(
        f"share before swap {share!s:5}: {host['swapped_pages'].max() / 256:4.0f} MiB paged out,"
        f" {host['shared_before_swap_pages'][-1] / 256:4.0f} MiB shared instead"
    )
    for column, words in LINES.items():
        ax.plot(recording.time_s, host[f"{column}_pages"] / 256, label=words)
    for boot in (0, 20, 40):
        ax.axvspan(boot, boot + 10, color="0.93", zorder=0)
        ax.annotate("boot", (boot + 5, 340), ha="center", color="0.4", fontsize=9)
    ax.set(title=f"share before swap: {'on' if share else 'off'}", xlabel="virtual time (s)")
    ax.set(xlim=(0, 90))
figure.axes[0].set(ylabel="MiB", ylim=(0, 360))
ax.legend(frameon=False, loc="center left")
figure.savefig(sys.argv[1] if len(sys.argv) > 1 else "windows_boot.png", dpi=110)
