"""A guest makes room for a newcomer: what its balloon takes costs less than what is paged out."""

import sys

import numpy as np
from matplotlib.figure import Figure

import esxcore

DRIVERS = {
    "ballooning": esxcore.BalloonDriver(),
    "no driver, so paging": esxcore.BalloonDriver(start=None),
}


class Backup:
    """Reads a file of 130 MiB once, and leaves it in the guest's page cache."""

    done = False

    def batch(self, now):
        if self.done:
            return None
        self.done, blocks = True, 130 * 256
        return esxcore.Batch(range(blocks), files=np.zeros(blocks, int), ops=blocks)


figure = Figure(figsize=(8.5, 5), layout="constrained")
upper, lower = figure.subplots(2, sharex=True)
for name, driver in DRIVERS.items():
    host = esxcore.Host("360MiB", seed=1, content="tokens", swap="1GiB", sharing=False)
    simulation = esxcore.Simulation(host, costs="2002", processors=4)
    web = host.power_on("web", "256MiB", min="64MiB", guest="linux", driver=driver)
    simulation.start(web, esxcore.zipf("80MiB", exponent=0.5, op_time="2ms"), after="10s")
    simulation.start(web, Backup(), after="10s")
    rows = []
    for second in range(240):
        if second == 60:
            host.power_on("newcomer", "256MiB", min="64MiB", guest="linux")
            simulation.start("newcomer", esxcore.toucher("200MiB", refs_per_s=5000), after="10s")
        simulation.advance(1)
        table = host.vms()
        taken = [table[f"{way}_pages"][0] / 256 for way in ("balloon", "swapped")]
        rows.append([simulation.report(web).operations, *taken])
    work, balloon, swapped = np.array(rows).T
    rate = np.diff(work, prepend=0)
    print(
        f"{name:20} {rate[40:60].mean():4.0f} operations/s alone, {rate[80:].mean():4.0f} with the"
        f" newcomer; {balloon[-1]:3.0f} MiB ballooned, {swapped.max():3.0f} MiB paged"
    )
    (line,) = upper.plot(rate, label=name)
    color = line.get_color()
    lower.plot(balloon, "-", color=color, label="in its balloon" if balloon.any() else None)
    lower.plot(swapped, "--", color=color, label="paged out")
upper.set(ylabel="operations a second", ylim=0)
lower.set(ylabel="taken from web (MiB)", xlabel="virtual time (s)", xlim=(0, 240), ylim=0)
upper.legend(frameon=False, loc=(0.33, 0.5))
lower.legend(frameon=False, loc="center left")
figure.savefig(sys.argv[1] if len(sys.argv) > 1 else "ballooning_or_paging.png", dpi=110)
