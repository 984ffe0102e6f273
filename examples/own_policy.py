"""A policy of one's own against three that are built in, on a server of 2002, by paired seeds."""

import sys

import esxcore


class ByActivity:
    """Memory in proportion to what is active."""

    def targets(self, view):
        return view.apportion(view.active_pages + 1)


lab = esxcore.Scenario(memory="400MiB", duration="8min", sampling={"period": "10s"}, costs="2002")
lab.vm("idle", max="256MiB", guest="windows", workload="idle")
lab.vm("busy", max="256MiB", guest="linux", workload=esxcore.zipf("220MiB", op_time="2ms"))
runs = esxcore.compare(lab, ["static", "esx2002", "proxmox", ByActivity()], seeds=4)

for policy in runs.ranked:
    work = runs.estimate("ops_per_s", policy)
    gain = runs.difference("ops_per_s", policy)  # to the first policy, seed by seed
    print(
        f"{policy:10} {work.mean:6.1f} operations a second,"
        f" {gain.mean:+6.1f} ± {gain.half:.1f} against static"
    )
runs.plot(sys.argv[1] if len(sys.argv) > 1 else "own_policy.png")
