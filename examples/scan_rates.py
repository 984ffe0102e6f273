"""How fast sharing is found at four scan rates, from the paper's default up, as one picture."""

from matplotlib.figure import Figure

from esxcore import Scenario, run

quiet = {"memory": "1536MiB", "seed": 7}
guests = [
    {"name": name, "contents": {"trace": "builtin:fleet_a", "vm": vm}}
    for vm, name in enumerate(["py1", "py2", "redis", "sqlite", "nginx"])
]

figure = Figure(figsize=(7, 4), layout="constrained")
ax = figure.subplots()
for rate in (200, 1000, 5000, 25_000):
    scenario = Scenario.from_mapping(
        {
            "host": quiet,
            "sharing": {"vm_rate": rate, "host_rate": rate},
            "vms": guests,
            "run": {"duration": "5min", "sample": "10s"},
        }
    )
    recording = run(scenario)
    reclaimed_mib = recording.host["reclaimed_pages"] / 256
    ax.plot(recording.time_s / 60, reclaimed_mib, label=f"{rate} pages a second")
    print(f"{rate:6} pages a second: {reclaimed_mib[-1]:5.0f} MiB after 5 minutes")

ax.set(xlabel="virtual time (minutes)", ylabel="reclaimed (MiB)", ylim=0)
ax.legend()
figure.savefig("scan_rates.png")
