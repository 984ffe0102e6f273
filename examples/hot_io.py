"""A network card that does not reach all memory: copies a second by eight rules, as one picture.

A guest lies above the memory that its card reaches, which another guest fills. It sends and
receives through rings of buffers: most packets use few of them, some use any. After a minute it
takes other buffers. Where hot buffers move to low memory, copies fall by orders of magnitude within
a minute, and again after the change; otherwise every packet is copied for ever (paper, section 7).
"""

import sys

import numpy as np
from matplotlib.figure import Figure

import esxcore

SECONDS, CHANGE = 120, 60
PACKETS = 20_000  # a second, half of them each way
RING = 4096  # buffers of each ring, most of them hardly ever used
COSTS = esxcore.Costs.preset("nvme")
COPY_NS, MOVE_NS = COSTS.io_copy_ns, COSTS.io_remap_ns
COMPETITIVE = esxcore.competitive_threshold(COSTS)  # copies have cost as much as the move

RULES = {
    "always copy": {"io_mode": "copy"},
    "threshold 64": {"io_threshold": 64},
    "threshold 16": {"io_threshold": 16},
    f"competitive ({COMPETITIVE})": {"io_threshold": COMPETITIVE},
    "threshold 4": {"io_threshold": 4},
    "threshold 1": {"io_threshold": 1},
    "first use": {"io_mode": "first-use"},
    "I/O MMU": {"io_mode": "iommu"},
}


def buffers(random, first, packets):
    """Which pages packets go through: a few hot ones and many cold ones, by Zipf's law."""
    weights = np.arange(1, RING + 1) ** -1.2
    return first + random.choice(RING, packets, p=weights / weights.sum())


def copies_each_second(rule):
    host = esxcore.Host("512MiB", content="tokens", policy=None, low_memory="64MiB", **rule)
    host.power_on("quiet", contents=np.arange(1, 64 * 256 + 1))  # fills what the card reaches
    web = host.power_on("web", max="128MiB")
    web.touch(range(web.max_pages), write=True)
    random, copies = np.random.default_rng(7), []
    for second in range(SECONDS):
        send, receive = (0, RING) if second < CHANGE else (2 * RING, 3 * RING)
        sent = web.io(buffers(random, send, PACKETS // 2), "tx")
        received = web.io(buffers(random, receive, PACKETS // 2), "rx")
        copies.append(sent.copies + received.copies)
        host.advance(1)
    host.audit()
    return np.array(copies), host.stats()


figure = Figure(figsize=(8, 4.5), layout="constrained")
ax = figure.subplots()
for name, rule in RULES.items():
    copies, stats = copies_each_second(rule)
    cost_ms = (stats["io_copies"] * COPY_NS + stats["io_remaps"] * MOVE_NS) / 1e6
    print(
        f"{name:16} {stats['io_copies']:8} copies {stats['io_remaps']:5} moves "
        f"{stats['io_evictions']:5} made room {cost_ms:9.1f} ms"
    )
    if copies.any():
        ax.plot(np.arange(1, SECONDS + 1), copies, label=name)

ax.set_yscale("symlog", linthresh=10)
ax.set(xlabel="virtual time (s)", ylabel="copies a second", xlim=(0, SECONDS), ylim=0)
ax.set_title("Hot buffers move to low memory; at 60 s the guest takes other buffers", loc="left")
figure.legend(loc="outside right center")
figure.savefig(sys.argv[1] if len(sys.argv) > 1 else "hot_io.png", dpi=150)
