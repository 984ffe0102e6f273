//! A network card: packets in time, and which buffers of its rings they go through.
//!
//! Packets of a slice are transferred at its beginning, in turn a few each way, at the expense of the guest's virtual
//! processor: set-up, interrupt, copies and moves of each packet are paid for before processes run. When the slice is used up
//! the rest is dropped, as by a machine that is busy with interrupts alone. A virtual machine that is held up transfers
//! nothing. Rates are whole packets a second, and what of a packet is left of a slice is kept for the next.
//!
//! The driver is loaded when its guest has booted, and asks for buffers until its rings are full: with fewer, it uses those.

use std::ops::ControlFlow;

use super::guest::Guest;
use super::steps::Payer;
use super::{SECOND_NS, World};
use crate::config::{CostConfig, NicConfig, Reuse};
use crate::reference::Patience;
use crate::remap::IoCounts;
use crate::rng::Stream;
use crate::types::{Direction, Ppn};
use crate::workload::draw::ZipfLaw;

/// Packets that are transferred one way before it is the other's turn.
const TURN: u64 = 8;
const DIRECTIONS: [Direction; 2] = [Direction::Transmit, Direction::Receive];

/// Processor time of transfers that raised so many interrupts.
pub(super) fn transfer_ns(costs: &CostConfig, transfers: u64, interrupts: u64, io: &IoCounts) -> u64 {
    let moves = io.remaps + io.private_copies + io.evictions;
    transfers * costs.dma_setup_ns
        + interrupts * costs.interrupt_ns
        + io.copies * costs.io_copy_ns
        + moves * costs.io_remap_ns
}

/// A ring of buffers, and the packets that go through it.
#[derive(Clone, Debug)]
struct Ring {
    /// Packets a second, from each second after power-on on.
    rates: Vec<(u32, u32)>,
    size: u32,
    reuse: Reuse,
    law: Option<ZipfLaw>,
    buffers: Vec<u32>,
    next: usize,
    /// Of the next packet, in parts of a second.
    part_ns: u64,
}

impl Ring {
    fn new(rates: &[(u32, u32)], size: u32, reuse: Reuse) -> Self {
        let law = match reuse {
            Reuse::Zipf(exponent) => Some(ZipfLaw::new(size, exponent)),
            Reuse::Ring | Reuse::Few(_) => None,
        };
        Self { rates: rates.to_vec(), size, reuse, law, buffers: vec![], next: 0, part_ns: 0 }
    }

    fn missing(&self) -> u32 {
        self.size - self.buffers.len() as u32
    }

    /// Packets that are due in so much time of a second after power-on.
    fn due(&mut self, second: u64, ns: u64) -> u64 {
        let rate = self.rates.iter().rev().find(|(from, _)| u64::from(*from) <= second);
        self.part_ns += rate.map_or(0, |(_, rate)| u64::from(*rate)) * ns;
        let due = self.part_ns / SECOND_NS;
        self.part_ns %= SECOND_NS;
        if self.buffers.is_empty() { 0 } else { due }
    }

    /// The buffer of the next packet.
    fn choose(&mut self, stream: &mut Stream) -> u32 {
        let all = self.buffers.len();
        let place = match (&self.law, self.reuse) {
            // With fewer buffers than the ring has room for, several ranks have one.
            (Some(law), _) => law.rank(stream) as usize % all,
            (None, Reuse::Few(few)) => self.step(all.min(few as usize)),
            (None, _) => self.step(all),
        };
        self.buffers[place]
    }

    fn step(&mut self, round: usize) -> usize {
        let place = self.next % round;
        self.next = (place + 1) % round;
        place
    }
}

/// A network card and its driver.
#[derive(Clone, Debug)]
pub(super) struct Nic {
    config: NicConfig,
    /// To transmit, and to receive.
    rings: [Ring; 2],
    stream: Stream,
    /// Packets until then have been dealt with.
    until_ns: u64,
    /// Until then its guest is busy with them.
    busy_until_ns: u64,
}

impl Nic {
    pub fn new(config: &NicConfig, stream: Stream) -> Self {
        let tx = Ring::new(&config.tx, config.tx_ring, config.reuse);
        let rx = Ring::new(&config.rx, config.rx_ring, config.reuse);
        Self { config: config.clone(), rings: [tx, rx], stream, until_ns: 0, busy_until_ns: 0 }
    }

    /// Whether packets may come.
    pub fn is_loaded(&self) -> bool {
        self.rings.iter().any(|ring| !ring.buffers.is_empty())
    }

    /// Buffers that its driver still asks for.
    pub fn missing(&self) -> u32 {
        self.rings.iter().map(Ring::missing).sum()
    }

    /// Puts buffers into the rings, the emptier one first.
    pub fn take(&mut self, buffers: Vec<Ppn>) {
        for buffer in buffers {
            let [tx, rx] = &mut self.rings;
            let ring = if rx.missing() > tx.missing() { rx } else { tx };
            if ring.missing() > 0 {
                ring.buffers.push(buffer.0);
            }
        }
    }

    /// Packets each way that are due from one time to another, in a virtual machine powered on at that time.
    fn due(&mut self, from_ns: u64, until_ns: u64, powered_on_ns: u64) -> [u64; 2] {
        let from_ns = from_ns.max(self.until_ns);
        self.until_ns = self.until_ns.max(until_ns);
        let (second, ns) =
            (from_ns.saturating_sub(powered_on_ns) / SECOND_NS, until_ns.saturating_sub(from_ns));
        self.rings.each_mut().map(|ring| ring.due(second, ns))
    }

    fn choose(&mut self, way: usize, packets: u64, into: &mut Vec<u32>) {
        let Self { rings, stream, .. } = self;
        into.clear();
        into.extend((0..packets).map(|_| rings[way].choose(stream)));
    }
}

impl Guest {
    /// Whether its slices are to be lived one by one, whatever its processes do.
    pub(super) fn has_traffic(&self) -> bool {
        self.nic.as_ref().is_some_and(Nic::is_loaded)
    }

    /// Transfers the packets of a slice; returns the time that its virtual processor is busy with them.
    pub(super) fn transfer_packets(&mut self, world: &mut World<'_>, from_ns: u64, until_ns: u64) -> u64 {
        let Some(mut nic) = self.nic.take_if(|nic| nic.is_loaded()) else { return 0 };
        let mut due = nic.due(from_ns, until_ns, self.powered_on_ns);
        let begin_ns = nic.busy_until_ns.max(from_ns);
        let (mut used_ns, mut ppns) = (0, vec![]);
        while due != [0, 0] && begin_ns + used_ns < until_ns && !self.is_held {
            for (way, direction) in DIRECTIONS.into_iter().enumerate() {
                nic.choose(way, due[way].min(TURN), &mut ppns);
                due[way] -= self.transfer_some(world, &ppns, (direction, &nic.config), &mut used_ns, from_ns);
            }
        }
        self.report.dropped += due[0] + due[1];
        self.report.device_ns += used_ns;
        // What was begun may take longer than the slice; the rest of it is of the next one.
        nic.busy_until_ns = begin_ns + used_ns;
        let busy_ns = nic.busy_until_ns.min(until_ns) - from_ns;
        self.device_ns += busy_ns;
        self.nic = Some(nic);
        busy_ns
    }

    /// Transfers packets one way; returns how many.
    fn transfer_some(
        &mut self,
        world: &mut World<'_>,
        ppns: &[u32],
        (direction, nic): (Direction, &NicConfig),
        used_ns: &mut u64,
        now_ns: u64,
    ) -> u64 {
        if ppns.is_empty() || self.is_held {
            return 0;
        }
        let World { host, disk, costs } = world;
        let mut payer = Payer { process: None, kernel_ns: used_ns, now_ns, patience: Patience::GoesOn };
        let moved = host.transfer(self.vm, ppns, (direction, nic.reach), &mut |_, fault| {
            payer.meet(fault, disk, costs);
            ControlFlow::Continue(())
        });
        // A guest that names a page which it does not have has it refused.
        let Ok(moved) = moved else { return 0 };
        let done = moved.done as u64;
        payer.compute(transfer_ns(costs, done, done, &moved.io));
        self.report.packets += done;
        self.hold(moved.stopped.as_ref());
        done
    }

    /// The driver of its network card asks for buffers, if any are missing.
    pub(super) fn load_driver(&mut self, world: &mut World<'_>) {
        let Some(nic) = self.nic.as_mut().filter(|nic| nic.missing() > 0) else { return };
        let pages = world.host.vm(self.vm).pages;
        let os = world.host.guest_os(self.vm).0;
        let missing = nic.missing();
        let given = os.take_buffers(missing, pages, &mut self.pending);
        nic.take(given.into_iter().filter(|ppn| ppn.0 < pages).collect());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Seed;

    fn stream() -> Stream {
        Seed([1; 32]).stream("nic", 0)
    }

    fn ring(reuse: Reuse, buffers: std::ops::Range<u32>) -> Ring {
        let mut ring = Ring::new(&[(0, 1500), (2, 0), (3, 7)], 100, reuse);
        ring.buffers = buffers.collect();
        ring
    }

    #[test]
    fn packets_are_as_many_as_the_rate_says_however_time_is_cut() {
        for parts in [1, 3, 7, 100, 1000] {
            let mut ring = ring(Reuse::Ring, 5..6);
            let seconds = (0..5).map(|second| {
                (0..parts)
                    .map(|part| {
                        let at = |part| SECOND_NS * part / parts;
                        ring.due(second, at(part + 1) - at(part))
                    })
                    .sum::<u64>()
            });
            assert_eq!(seconds.collect::<Vec<_>>(), [1500, 1500, 0, 7, 7], "{parts} parts");
        }
        assert_eq!(ring(Reuse::Ring, 0..0).due(0, SECOND_NS), 0, "without buffers there are none");
    }

    #[test]
    fn rings_are_gone_round_as_far_as_is_said() {
        let mut random = stream();
        let mut taken = |mut ring: Ring| (0..7).map(|_| ring.choose(&mut random)).collect::<Vec<_>>();
        assert_eq!(taken(ring(Reuse::Ring, 10..14)), [10, 11, 12, 13, 10, 11, 12]);
        assert_eq!(taken(ring(Reuse::Few(2), 10..14)), [10, 11, 10, 11, 10, 11, 10]);
        assert_eq!(taken(ring(Reuse::Few(9), 10..12)), [10, 11, 10, 11, 10, 11, 10]);
    }

    #[test]
    fn zipf_prefers_the_first_buffers() {
        let (mut random, mut ring, mut times) = (stream(), ring(Reuse::Zipf(1.2), 0..100), [0; 100]);
        (0..20_000).for_each(|_| times[ring.choose(&mut random) as usize] += 1);
        let total: f64 = (1..=100).map(|rank| f64::from(rank).powf(-1.2)).sum();
        for rank in [1, 2, 10] {
            let expected = 20_000.0 * f64::from(rank).powf(-1.2) / total;
            let found = f64::from(times[rank as usize - 1]);
            assert!((found - expected).abs() < 5.0 * expected.sqrt(), "rank {rank}: {found} of {expected}");
        }
    }

    #[test]
    fn buffers_fill_both_rings() {
        let config = NicConfig { tx_ring: 3, rx_ring: 5, ..NicConfig::default() };
        let mut nic = Nic::new(&config, stream());
        assert_eq!((nic.missing(), nic.is_loaded()), (8, false));
        nic.take((0..4).map(Ppn).collect());
        assert_eq!((nic.missing(), nic.is_loaded()), (4, true));
        nic.take((4..12).map(Ppn).collect());
        assert_eq!(nic.missing(), 0);
        let [tx, rx] = &nic.rings;
        assert_eq!((tx.buffers.len(), rx.buffers.len()), (3, 5));
        assert!(tx.buffers.iter().chain(&rx.buffers).all(|ppn| *ppn < 8), "no more than fit");
    }

    #[test]
    fn a_slice_that_is_lived_again_has_no_packets() {
        let config = NicConfig { tx: vec![(0, 1000)], ..NicConfig::default() };
        let mut nic = Nic::new(&config, stream());
        nic.take(vec![Ppn(3)]);
        assert_eq!(nic.due(0, 10_000_000, 0), [10, 0]);
        assert_eq!(nic.due(0, 10_000_000, 0), [0, 0]);
        assert_eq!(nic.due(500_000_000, 510_000_000, 0), [10, 0], "nor has time that only the host lived");
    }
}
