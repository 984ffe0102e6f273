"""Makes the pictures of the pages on concepts, one by one or all.

    python docs/pictures.py [NAME ...] [--out FOLDER]

Names are those of the functions below. Everything is computed anew, in less than a minute.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch

import esxcore
from esxcore.plot.style import (
    ORANGE,
    POSSIBLE,
    PURPLE,
    RECLAIMED,
    SHARED,
    SKY,
    over_time,
    own_style,
    png_bytes,
)

MIB = 256  # pages
STATES = {
    esxcore.PageState.EMPTY: "#F0F0F0",
    esxcore.PageState.PRIVATE: SKY,
    esxcore.PageState.SHARED: SHARED,
    esxcore.PageState.SWAPPED: RECLAIMED,
    esxcore.PageState.BALLOONED: ORANGE,
}


def pmap() -> Figure:
    """Where each page of a real guest is, at three moments of its life."""
    trace = esxcore.ContentTrace.load(esxcore.Scenario.builtin().data_path("builtin:fleet_a"))
    host = esxcore.Host(
        "1GiB", content="tokens", seed=5, scan_vm_rate=4000, scan_host_rate=16_000, swap="2GiB"
    )
    redis = host.power_on("redis", contents=trace.tokens(2), overhead=0)
    host.power_on("nginx", contents=trace.tokens(4), overhead=0)
    moments = [("at power-on", redis.pmap()["state"])]
    host.advance(30)
    moments.append(("after a pass of the scanner", redis.pmap()["state"]))
    new = host.power_on("newcomer", max="900MiB", min="450MiB", overhead=0)
    redis.configure(min="32MiB")
    for start in range(0, new.max_pages, 4 * MIB):
        new.touch(range(start, min(start + 4 * MIB, new.max_pages)), write=True)
        if start % (64 * MIB) == 0:
            host.advance(1)
    host.advance(60)
    moments.append(("when another guest needs memory", redis.pmap()["state"]))
    figure = Figure(figsize=(9, 3.9), layout="constrained")
    for axes, (title, states) in zip(figure.subplots(1, 3), moments, strict=True):
        axes.imshow(
            states.reshape(-1, 256),
            cmap=ListedColormap(list(STATES.values())),
            vmin=-0.5,
            vmax=len(STATES) - 0.5,
            interpolation="nearest",
        )
        axes.set_title(title, fontsize=10)
        axes.set_xticks([])
        axes.set_yticks([])
    legend = [Patch(facecolor=color, label=state.name.lower()) for state, color in STATES.items()]
    figure.legend(handles=legend, loc="outside lower center", ncols=5, frameon=False)
    figure.suptitle("65 536 pages of a guest, page 0 at the top left", fontsize=12)
    return figure


def frames() -> Figure:
    """Hints become shared frames, and pages are reclaimed, in the packaged run."""
    recording = esxcore.run(esxcore.Scenario.builtin())
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    axes = figure.subplots()
    minutes = recording.time_s / 60
    for name, label, color in (
        ("hint_frames", "hint frames", ORANGE),
        ("shared_frames", "shared frames", SHARED),
        ("reclaimed_pages", "pages reclaimed", RECLAIMED),
        ("cow_breaks", "COW breaks so far", PURPLE),
    ):
        axes.plot(minutes, recording.host[name] / 1000, label=label, color=color)
    axes.set_ylabel("thousands")
    axes.set_ylim(0)
    over_time(axes, minutes)
    axes.legend(frameon=False)
    axes.set_title("Five real guests: what the scanner leaves and finds", loc="left")
    return figure


def sampling() -> Figure:
    """A program touches more and less memory, and the estimate follows (figure 6)."""
    sizes = [("0s", 50), ("5min", 150), ("10min", 100), ("15min", 220), ("20min", 50)]
    host = esxcore.Host("1GiB", content="tokens", seed=11, sharing=False)
    host.power_on("guest", "256MiB", guest="windows", driver=esxcore.BalloonDriver(start=None))
    simulation = esxcore.Simulation(host)
    toucher = esxcore.toucher([(time, f"{size}MiB") for time, size in sizes], op_time="5us")
    simulation.start("guest", toucher, after="2min")
    reports, seconds = [], range(0, 27 * 60, 5)
    for _ in seconds:
        simulation.advance(5)
        reports.append(host.sampling("guest"))
    minutes = (np.array(seconds) + 5) / 60
    figure = Figure(figsize=(9, 3.9), layout="constrained")
    axes = figure.subplots()
    steps = [2 + 5 * step for step in range(len(sizes) + 1)]
    levels = [size for _, size in sizes] + [sizes[-1][1]]
    axes.step(steps, levels, where="post", color=POSSIBLE, label="touched by the program")
    for name, color, style in (
        ("slow", SKY, "--"),
        ("fast", ORANGE, "--"),
        ("estimate", RECLAIMED, "-"),
    ):
        values = [getattr(report, name) * 256 for report in reports]
        axes.plot(minutes, values, style, color=color, label=name)
    axes.set_ylabel("MiB")
    axes.set_ylim(0, 265)
    over_time(axes, minutes)
    axes.legend(frameon=False, ncols=4, loc="lower center", bbox_to_anchor=(0.5, 1.07))
    axes.set_title("The estimate rises fast and falls slowly", loc="left", fontsize=11)
    return figure


def tax() -> Figure:
    """An idle and a busy guest, without the tax and then with it (figure 7)."""
    host = esxcore.Host(
        round(358 * MIB / 0.94),
        content="tokens",
        seed=7,
        sharing=False,
        policy=esxcore.MinFunding(0.0),
        swap="512MiB",
    )
    for name in ("idle", "busy"):
        host.power_on(name, "256MiB", min="128MiB", overhead=0)
        host.touch(name, np.arange(256 * MIB), write=True)
    begin, end = 900, 1500
    rows = []
    for second in range(end):
        if second == begin:
            host.policy = esxcore.MinFunding(0.75)
        host.touch("idle", np.arange(15 * MIB))
        host.touch("busy", np.arange(220 * MIB), write=True)
        host.advance(1)
        table = host.vms()
        rows.append([table[key] / MIB for key in ("target_pages", "active_pages")])
    values, minutes = np.array(rows), np.arange(1, end + 1) / 60
    figure = Figure(figsize=(9, 3.9), layout="constrained")
    axes = figure.subplots()
    for vm, (name, color) in enumerate((("idle", SKY), ("busy", RECLAIMED))):
        axes.plot(minutes, values[:, 0, vm], color=color, label=f"{name}: target")
        axes.plot(minutes, values[:, 1, vm], ":", color=color, label=f"{name}: active, by estimate")
    axes.axvline(begin / 60, color="0.4", linewidth=1)
    axes.annotate("tax rate 0 % → 75 %", (begin / 60, 90), (begin / 60 + 0.3, 90), fontsize=9)
    axes.set_ylabel("MiB")
    axes.set_ylim(0, 265)
    over_time(axes, minutes)
    axes.legend(frameon=False, ncols=4, loc="lower center", bbox_to_anchor=(0.5, 1.07), fontsize=9)
    axes.set_title("Two guests of equal shares on 358 MiB", loc="left", fontsize=11)
    return figure


def drivers() -> Figure:
    """Four guests that are to give the same; what a balloon does not give is paged."""
    drivers = {
        "healthy": esxcore.BalloonDriver(),
        "slow: 256 pages a second": esxcore.BalloonDriver(max_rate=256),
        "stuck after 28 s": esxcore.BalloonDriver(stuck_at="28s"),
        "none": esxcore.BalloonDriver(start=None),
    }
    host = esxcore.Host("1200MiB", content="tokens", seed=3, sharing=False, swap="2GiB")
    for name, driver in drivers.items():
        host.power_on(name, "256MiB", min="64MiB", overhead=0, driver=driver)
        host.touch(name, range(256 * MIB), write=True)
    new = host.power_on("newcomer", "512MiB", min="64MiB", overhead=0)
    rows = []
    for second in range(60):
        if second >= 10:  # 8 MiB a second
            new.touch(range(*slice(2048 * (second - 10), 2048 * (second - 9)).indices(512 * MIB)))
        host.advance(1)
        table = host.vms()
        rows.append([table[key][:4] / MIB for key in ("balloon_pages", "swapped_pages")])
    values, seconds = np.array(rows), np.arange(1, 61)
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    panels = figure.subplots(1, 4, sharey=True)
    for vm, (name, axes) in enumerate(zip(drivers, panels, strict=True)):
        parts = values[:, 0, vm], values[:, 1, vm]
        axes.stackplot(seconds, *parts, colors=[ORANGE, RECLAIMED], labels=["balloon", "swapped"])
        axes.set_title(name, fontsize=10)
        axes.set_xlabel("seconds")
        axes.set_xlim(0, 60)
        axes.grid(visible=True, color="0.9", linewidth=0.8)
        axes.set_axisbelow(True)
        if vm == 0:
            axes.set_ylabel("MiB taken")
            axes.legend(frameon=False, loc="upper left")
    return figure


PICTURES = {made.__name__: made for made in (pmap, frames, sampling, tax, drivers)}


def main() -> None:
    """Makes what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(PICTURES))
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "concepts")
    given = parser.parse_args()
    for name in given.names or PICTURES:
        with own_style():
            (given.out / f"{name}.png").write_bytes(png_bytes(PICTURES[name](), dpi=110))


if __name__ == "__main__":
    main()
