"""How well a host knows what a guest uses: estimates from samples, beside the truth."""

import sys

import numpy as np
from matplotlib.figure import Figure

import esxcore

PAGES = 65_536  # of a guest of 256 MiB
truth = np.repeat([0.2, 0.6, 0.1, 0.4], 120)  # active fraction, second by second
minutes = np.arange(1, len(truth) + 1) / 60

figure = Figure(figsize=(10, 3.4), layout="constrained")
panels = figure.subplots(1, 3, sharey=True)
for samples, ax in zip((20, 100, 500), panels, strict=True):
    host = esxcore.Host("512MiB", content="tokens", seed=4, sample_pages=samples, sharing=False)
    guest, seen = host.power_on("guest", "256MiB"), []
    random = np.random.default_rng(1)
    for active in truth:
        guest.touch(random.integers(0, int(active * PAGES), 8000))
        host.advance(1)
        seen.append(guest.sampling())
    low, high, estimate = np.array([(s.interval_low, s.interval_high, s.estimate) for s in seen]).T
    settled = np.abs(estimate - truth)[60:120].mean()
    print(
        f"{samples:3} samples: off by {settled:.3f}, interval {(high - low)[30:].mean():.2f} wide"
    )
    ax.fill_between(minutes, low, high, step="post", alpha=0.25, label="95 % of a period")
    ax.plot(minutes, estimate, label="estimate")
    ax.step(minutes, truth, color="black", linewidth=1, label="truth")
    ax.set(title=f"{samples} samples in 30 s", xlabel="virtual time (minutes)", xlim=(0, 8))
panels[0].set(ylabel="active fraction", ylim=(0, 1))
panels[0].legend(frameon=False, fontsize=9)
figure.savefig(sys.argv[1] if len(sys.argv) > 1 else "sampling.png", dpi=110)
