"""A workload of one's own: a hot spot wanders through a guest and breaks sharing as it goes."""

import numpy as np

from esxcore import Scenario, run
from esxcore.workload import Accesses

SECONDS, PAGES_A_SECOND = 60, 200


class WanderingHotSpot:
    """Reads 1000 pages from a spot that moves on by 200 a second, and writes those it leaves."""

    def accesses(self, second: int) -> Accesses:
        spot = PAGES_A_SECOND * second
        return Accesses(np.arange(spot, spot + 1000), np.arange(spot, spot + PAGES_A_SECOND))


twins = {"name": "twin", "count": 2, "contents": {"trace": "builtin:fleet_a", "vm": 3}}
scenario = Scenario.from_mapping(
    {
        "host": {"memory": "512MiB", "seed": 3},
        "sharing": {"vm_rate": 4000, "host_rate": 8000},
        "vms": [twins],
        "run": {"duration": f"{SECONDS}s"},
    }
)
recording = run(scenario, workloads={"twin-1": WanderingHotSpot()})

for row in recording.memory():
    reclaimed_mib = row.reclaimed_pages / 256
    print(f"{row.name:7} {reclaimed_mib:6.1f} MiB reclaimed, {row.cow_breaks:5} COW breaks")
