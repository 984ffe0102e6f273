"""How much one pass over five real guests finds: each page once, or pages drawn at random."""

from esxcore import Scenario
from esxcore.experiment import build_host

fleet = Scenario.builtin()

for order in ("permutation", "draws"):
    host = build_host(fleet.changed({"sharing.order": order}))
    census = host.census()
    host.scan(census["pages"])
    found = host.stats()["reclaimed_pages"] / census["reclaimed_pages"]
    print(f"{order:12} {found:7.2%} of what the contents allow")
