"""Five real Linux guests on a host: how much of their memory is equal, how soon it is found."""

import sys

import esxcore
from esxcore.plot import draw

fleet = esxcore.Scenario.builtin().changed({"run.duration": "4min", "run.sample": "2s"})
recording = esxcore.run(fleet)
for row in recording.memory():
    print(
        f"{row.name:6} {row.resident_pages / 256:6.0f} MiB resident,"
        f" {row.reclaimed_pages / 256:4.0f} reclaimed, {row.cow_breaks:5} COW breaks"
    )
peak = recording.sharing_peak()
print(f"after {peak.time_s:.0f} s {peak.fraction:.1%} of what the contents allow was reclaimed")

figure = draw(recording, "Five Linux guests of 256 MiB share what is equal")
figure.savefig(sys.argv[1] if len(sys.argv) > 1 else "first_sharing.png", dpi=110)
