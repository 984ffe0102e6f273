//! Devices of a virtual machine: a network card with its rings of buffers, and how its disk reaches memory (§7).

use super::{GuestConfig, GuestKind};
use crate::error::Error;

/// Most packets a second each way.
pub const MAX_PACKET_RATE: u32 = 10_000_000;
/// Largest exponent of Zipf's law.
const MAX_EXPONENT: f64 = 10.0;

/// What memory a device reaches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reach {
    /// Low memory; what is above it is copied.
    #[default]
    Low,
    /// All memory.
    All,
}

impl Reach {
    /// Both, by name.
    pub const NAMES: [(&'static str, Self); 2] = [("low", Self::Low), ("all", Self::All)];
}

/// Which buffers of its ring a network card uses.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Reuse {
    /// One after the other, all of the ring: many cold ones if it is large.
    #[default]
    Ring,
    /// One after the other, so many: few hot ones.
    Few(u32),
    /// Any, by Zipf's law with this exponent.
    Zipf(f64),
}

/// A network card: packets are a page each, through buffers that its driver has in the guest's memory.
#[derive(Clone, Debug, PartialEq)]
pub struct NicConfig {
    /// Packets sent a second from each second after power-on on; ascending, none before the first.
    pub tx: Vec<(u32, u32)>,
    /// Packets received, likewise.
    pub rx: Vec<(u32, u32)>,
    /// Buffers of the transmit ring.
    pub tx_ring: u32,
    /// Buffers of the receive ring.
    pub rx_ring: u32,
    /// Which of them are used.
    pub reuse: Reuse,
    /// What memory it reaches.
    pub reach: Reach,
}

impl Default for NicConfig {
    /// Nothing is sent or received. 256 buffers a ring are the default of Linux's driver for gigabit cards of 2002.
    fn default() -> Self {
        Self {
            tx: vec![],
            rx: vec![],
            tx_ring: 256,
            rx_ring: 256,
            reuse: Reuse::default(),
            reach: Reach::default(),
        }
    }
}

/// A virtual disk that writes to and reads from the guest's pages itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DmaConfig {
    /// What memory it reaches.
    pub reach: Reach,
}

/// The devices of a virtual machine.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DeviceConfig {
    /// Its network card, if it has one.
    pub nic: Option<NicConfig>,
    /// How its disk reaches memory; none: the processor moves the data, and nothing is copied for the disk.
    pub disk: Option<DmaConfig>,
}

impl DeviceConfig {
    /// Refuses devices that a virtual machine of so many pages with that guest cannot have.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`], naming the first setting.
    pub fn check(&self, pages: u32, guest: &GuestConfig) -> Result<(), Error> {
        if self.disk.is_some() && guest.kind == GuestKind::Default {
            let expected = "a guest with files, such as \"linux\"".into();
            return Err(refuse("disk", "a disk of the default guest, which has no files".into(), expected));
        }
        let Some(nic) = &self.nic else { return Ok(()) };
        for (what, rates) in [("nic tx", &nic.tx), ("nic rx", &nic.rx)] {
            check_rates(what, rates)?;
        }
        for (what, ring) in [("nic tx_ring", nic.tx_ring), ("nic rx_ring", nic.rx_ring)] {
            if ring == 0 {
                return Err(refuse(what, "0 buffers".into(), "at least one buffer".into()));
            }
        }
        check_reuse(nic.reuse)?;
        let (buffers, most) = (u64::from(nic.tx_ring) + u64::from(nic.rx_ring), guest.buffers_at_most(pages));
        if buffers > u64::from(most) {
            let value = format!("{buffers} buffers in a VM of {pages} pages");
            return Err(refuse("nic rings", value, format!("at most {most} buffers in both")));
        }
        Ok(())
    }
}

fn check_rates(what: &'static str, rates: &[(u32, u32)]) -> Result<(), Error> {
    if let Some(pair) = rates.windows(2).find(|pair| pair[0].0 >= pair[1].0) {
        let value = format!("{} s after {} s", pair[1].0, pair[0].0);
        return Err(refuse(what, value, "times that ascend".into()));
    }
    match rates.iter().find(|(_, rate)| *rate > MAX_PACKET_RATE) {
        Some((_, rate)) => {
            Err(refuse(what, format!("{rate} packets a second"), format!("at most {MAX_PACKET_RATE}")))
        }
        None => Ok(()),
    }
}

fn check_reuse(reuse: Reuse) -> Result<(), Error> {
    match reuse {
        Reuse::Few(0) => Err(refuse("nic few", "0 buffers".into(), "at least one buffer".into())),
        // Nor is it NaN.
        Reuse::Zipf(exponent) if !(0.0..=MAX_EXPONENT).contains(&exponent) => {
            Err(refuse("nic exponent", exponent.to_string(), format!("0 to {MAX_EXPONENT}")))
        }
        _ => Ok(()),
    }
}

fn refuse(what: &'static str, value: String, expected: String) -> Error {
    Error::Setting { what, value, expected }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(nic: NicConfig, pages: u32, kind: GuestKind) -> &'static str {
        let devices = DeviceConfig { nic: Some(nic), disk: None };
        match devices.check(pages, &GuestConfig::of(kind)) {
            Err(Error::Setting { what, .. }) => what,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn impossible_cards_are_refused() {
        let plain = NicConfig::default;
        let bare = GuestKind::Default;
        assert_eq!(refused(NicConfig { tx_ring: 0, ..plain() }, 9999, bare), "nic tx_ring");
        assert_eq!(refused(NicConfig { rx_ring: 0, ..plain() }, 9999, bare), "nic rx_ring");
        assert_eq!(refused(NicConfig { tx: vec![(5, 1), (5, 2)], ..plain() }, 9999, bare), "nic tx");
        assert_eq!(refused(NicConfig { rx: vec![(0, u32::MAX)], ..plain() }, 9999, bare), "nic rx");
        assert_eq!(refused(NicConfig { reuse: Reuse::Few(0), ..plain() }, 9999, bare), "nic few");
        for exponent in [-1.0, 11.0, f64::NAN] {
            let nic = NicConfig { reuse: Reuse::Zipf(exponent), ..plain() };
            assert_eq!(refused(nic, 9999, bare), "nic exponent");
        }
    }

    #[test]
    fn a_guest_without_files_has_no_use_for_a_disk() {
        let devices = DeviceConfig { nic: None, disk: Some(DmaConfig::default()) };
        assert_eq!(devices.check(10_000, &GuestConfig::of(GuestKind::Linux)), Ok(()));
        let refused = devices.check(10_000, &GuestConfig::default());
        assert!(matches!(refused, Err(Error::Setting { what: "disk", .. })), "{refused:?}");
    }

    #[test]
    fn rings_fit_the_virtual_machine() {
        let rings = |each| NicConfig { tx_ring: each, rx_ring: each, ..NicConfig::default() };
        let fits = |nic, pages, kind| {
            DeviceConfig { nic: Some(nic), disk: None }.check(pages, &GuestConfig::of(kind))
        };
        assert_eq!(fits(rings(50), 100, GuestKind::Default), Ok(()));
        assert_eq!(refused(rings(51), 100, GuestKind::Default), "nic rings");
        assert_eq!(refused(rings(u32::MAX), 100, GuestKind::Default), "nic rings");
        // A kernel, and half of the memory for everybody else.
        let kernel = GuestConfig::of(GuestKind::Linux).boot_kernel_pages(10_000);
        let most = (5000 - kernel) / 2;
        assert_eq!(fits(rings(most), 10_000, GuestKind::Linux), Ok(()));
        assert_eq!(refused(rings(most + 1), 10_000, GuestKind::Linux), "nic rings");
    }
}
