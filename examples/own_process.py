"""A process of one's own beside one that is built in: a batch job that sleeps between its rounds.

A workload is an object with a method ``batch(now)``. It yields operations, the simulation lets it
live through them, and how many it gets done in a second depends on the memory that its guest has.
Here a job goes through 96 MiB every ten seconds, in a Linux guest that has 256 MiB, then 64 MiB.
"""

import numpy as np

import esxcore

JOB = 96 * 256  # pages


class Job:
    """Writes each of its pages once, 50 at a time, and sleeps until its next round is due."""

    def __init__(self, period: float) -> None:
        self.period = period

    def batch(self, now: float) -> esxcore.Batch:
        due = (now // self.period + 1) * self.period
        return esxcore.Batch(np.arange(JOB), writes=True, ops=50, op_time=1e-3, sleep_until=due)


def main() -> None:
    host = esxcore.Host(memory="1GiB", seed=1, content="tokens")
    simulation = esxcore.Simulation(host, processors=2, costs="2002")
    for name, size in (("roomy", "256MiB"), ("cramped", "64MiB")):
        vm = host.power_on(name, size, guest="linux")
        simulation.start(vm, Job(10), after="15s")
        simulation.start(vm, esxcore.idle(base="200MiB"), after="15s")
    simulation.advance(15 + 120)
    for vm in ("roomy", "cramped"):
        work = simulation.report(vm)
        print(
            f"{vm:<8} {work.operations:>6} operations, 99 of 100 within {work.p99_ns / 1e6:.1f} ms,"
            f" stalled for {work.stall_some_s:.0f} s"
        )


if __name__ == "__main__":
    main()
