"""The first quarter of an hour, as it is printed in the docs, runs as it stands.

>>> import esxcore as esx
>>> class ByActivity:                                # a policy is one method: view in, pages out
...     def targets(self, view):
...         return view.apportion(view.active_pages + 1)
>>> lab = esx.Scenario(memory="512MiB", duration="20min")
>>> lab.vm("idle", max="256MiB", guest="windows", workload="idle")
>>> lab.vm("busy", max="256MiB", guest="linux", workload=esx.zipf("220MiB"))
>>> runs = esx.compare(lab, ["static", "esx2002", "proxmox", ByActivity()], seeds=10)
>>> runs         # ops/s, stall, swapped MiB, fairness, churn, each ± 95 % (paired seeds)
4 policies, 10 runs of 20 min each; mean ± 95 % interval, best throughput first
...
static ...
...
Difference to static by paired seeds; * 0 lies outside the 95 % interval
...
esx2002 ...* ...
...
>>> runs.plot("compare.png")
<Figure size ...>
>>> print(runs["esx2002"].explain("idle", at="12min"))
idle at 720 s: target ...
"""

from __future__ import annotations

import doctest
from pathlib import Path

import pytest


@pytest.mark.timeout(600)
def test_it_runs_as_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    parsed = doctest.DocTestParser().get_doctest(__doc__ or "", {}, "first_comparison", __file__, 0)
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    told: list[str] = []
    results = doctest.DocTestRunner(optionflags=flags).run(parsed, out=told.append)
    assert results.failed == 0, "".join(told)
    assert results.attempted == 9
    assert (tmp_path / "compare.png").read_bytes().startswith(b"\x89PNG")
