//! Settings that come as mappings, checked and worded by the Python layer.

use esxcore_core::config::{
    AllocationConfig, BalanceConfig, BalloonConfig, BeforeSwap, DeviceConfig, DmaConfig, DriverConfig,
    GuestConfig, GuestKind, IoMode, LedgerConfig, NicConfig, Reach, RemapConfig, Replacement, Reuse,
    SharedCharge, Shares, ThresholdConfig, VmConfig, WhenScarce,
};
use esxcore_core::host::VmChanges;
use pyo3::prelude::*;

use crate::host::salt_of;

/// How a host divides its memory.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub struct Division {
    balance_period_s: u32,
    thresholds: (f64, f64, f64, f64),
    state_margin: f64,
    charge_fraction: bool,
    share_before_swap: bool,
    balloon_cap: f64,
    balloon_host_cap: f64,
    /// (name of a guest's type, fraction)
    balloon_guest_caps: Vec<(String, f64)>,
    swap_out_rate: u32,
    ledger_records: u32,
}

impl Division {
    /// The settings as the core takes them.
    pub fn into_config(self) -> BalanceConfig {
        let (high, soft, hard, low) = self.thresholds;
        BalanceConfig {
            balance_period_s: self.balance_period_s,
            shared_charge: if self.charge_fraction { SharedCharge::Fraction } else { SharedCharge::Full },
            before_swap: if self.share_before_swap { BeforeSwap::Share } else { BeforeSwap::Write },
            thresholds: ThresholdConfig { high, soft, hard, low, margin: self.state_margin },
            balloon: BalloonConfig {
                cap_fraction: self.balloon_cap,
                host_cap_fraction: self.balloon_host_cap,
                guest_type_caps: self.balloon_guest_caps,
            },
            swap_out_rate: self.swap_out_rate,
            ledger: LedgerConfig { records: self.ledger_records },
        }
    }
}

/// What devices reach, and what becomes of pages that they do not.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub struct IoSettings {
    low_pages: Option<u32>,
    threshold: u32,
    half_life_s: Option<u32>,
    when_scarce: String,
    mode: String,
}

impl IoSettings {
    /// The settings as the core takes them; names that it does not know were refused before.
    pub fn into_config(self) -> RemapConfig {
        let rule = WhenScarce::NAMES.iter().find(|(name, _)| *name == self.when_scarce);
        let mode = IoMode::NAMES.iter().find(|(name, _)| *name == self.mode);
        RemapConfig {
            low_pages: self.low_pages,
            threshold: self.threshold,
            half_life_s: self.half_life_s,
            when_scarce: rule.map_or_else(WhenScarce::default, |(_, rule)| *rule),
            mode: mode.map_or_else(IoMode::default, |(_, mode)| *mode),
        }
    }
}

/// Entitlement: a number, or "low", "normal" or "high".
#[derive(FromPyObject)]
pub enum Entitlement {
    /// So many.
    Number(u32),
    /// So many for each MiB of max.
    Word(String),
}

impl Entitlement {
    fn into_shares(self) -> Shares {
        match self {
            Self::Number(number) => Shares::Number(number),
            Self::Word(word) => match word.as_str() {
                "low" => Shares::Low,
                "high" => Shares::High,
                _ => Shares::Normal,
            },
        }
    }
}

/// What a virtual machine is, beyond its name and size.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub struct VmSettings {
    min_pages: Option<u32>,
    shares: Entitlement,
    overhead_pages: Option<u32>,
    balloon_limit: Option<u32>,
    /// (start_s, max_rate, limit_pages, stuck_at_s)
    driver: (Option<u32>, u32, u32, Option<u32>),
    guest: GuestSettings,
    nic: Option<NicSettings>,
    /// What memory its disk reaches by itself, if it does.
    disk: Option<String>,
    salt: Option<String>,
}

/// What network card it has.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub struct NicSettings {
    /// (seconds after power-on, packets a second)
    tx: Vec<(u32, u32)>,
    rx: Vec<(u32, u32)>,
    tx_ring: u32,
    rx_ring: u32,
    /// "ring", "few" or "zipf"
    reuse: String,
    few: u32,
    exponent: f64,
    dma: String,
}

impl NicSettings {
    /// The card as the core takes it; names that it does not know were refused before.
    fn into_config(self) -> NicConfig {
        NicConfig {
            tx: self.tx,
            rx: self.rx,
            tx_ring: self.tx_ring,
            rx_ring: self.rx_ring,
            reuse: match self.reuse.as_str() {
                "few" => Reuse::Few(self.few),
                "zipf" => Reuse::Zipf(self.exponent),
                _ => Reuse::Ring,
            },
            reach: reach_of(&self.dma),
        }
    }
}

fn reach_of(name: &str) -> Reach {
    Reach::NAMES.iter().find(|(known, _)| *known == name).map_or_else(Reach::default, |(_, reach)| *reach)
}

/// What operating system a guest has.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub struct GuestSettings {
    kind: String,
    replacement: String,
    image: Option<String>,
    swap_pages: Option<u32>,
    kernel_pages: u32,
    metadata_bytes: u32,
    boot_pages: u32,
    boot_s: u32,
    dirty_expire_s: u32,
    zero_rate: u32,
}

impl GuestSettings {
    /// The guest as the core takes it; names that it does not know were refused before.
    fn into_config(self) -> GuestConfig {
        let kind = GuestKind::NAMES.iter().find(|(name, _)| *name == self.kind);
        GuestConfig {
            kind: kind.map_or(GuestKind::Default, |(_, kind)| *kind),
            image: self.image,
            replacement: match self.replacement.as_str() {
                "lru" => Replacement::Lru,
                "clock" => Replacement::Clock,
                _ => Replacement::TwoList,
            },
            swap_pages: self.swap_pages,
            kernel_pages: self.kernel_pages,
            metadata_bytes: self.metadata_bytes,
            boot_pages: self.boot_pages,
            boot_s: self.boot_s,
            dirty_expire_s: self.dirty_expire_s,
            zero_rate: self.zero_rate,
        }
    }
}

impl VmSettings {
    /// The virtual machine as the core takes it.
    pub fn into_config(self, name: String, max_pages: u32) -> VmConfig {
        let (start_s, max_rate, limit_pages, stuck_at_s) = self.driver;
        VmConfig {
            name,
            max_pages,
            allocation: AllocationConfig {
                min_pages: self.min_pages,
                shares: self.shares.into_shares(),
                overhead_pages: self.overhead_pages,
            },
            balloon_limit: self.balloon_limit,
            driver: DriverConfig { start_s, max_rate, limit_pages, stuck_at_s },
            guest: self.guest.into_config(),
            devices: DeviceConfig {
                nic: self.nic.map(NicSettings::into_config),
                disk: self.disk.map(|name| DmaConfig { reach: reach_of(&name) }),
            },
            salt: self.salt.as_deref().map(salt_of),
        }
    }
}

/// What is to change about a virtual machine.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub struct Changes {
    max_pages: Option<u32>,
    min_pages: Option<u32>,
    shares: Option<Entitlement>,
    balloon_limit: Option<u32>,
}

impl Changes {
    /// The changes as the core takes them.
    pub fn into_changes(self) -> VmChanges {
        VmChanges {
            max_pages: self.max_pages,
            min_pages: self.min_pages,
            shares: self.shares.map(Entitlement::into_shares),
            balloon_limit: self.balloon_limit,
        }
    }
}
