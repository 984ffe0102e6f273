//! The memory manager of ESX Server (Waldspurger, OSDI 2002) as an engine.
//!
//! Rooms by floor; a room names lower floors only (docs/design.md section 2):
//!
//! | floor | rooms |
//! |---|---|
//! | 6 run | [`workload`]: what processes do; [`simulate`]: their course through virtual time |
//! | 5 host | [`host`] [`touch`] [`stats`] [`census`] [`digest`]: compose the rooms below; [`reclaim`] [`admission`]: who gives and who may come; [`ledger`]: what was decided, and why |
//! | 4 plug-ins | [`policy`]: how many pages each virtual machine should have; [`guest`]: which pages a guest gives up |
//! | 3 mechanisms | [`share`] [`sample`] [`balloon`] [`swap`] [`remap`]: select pages |
//! | 2 transition | [`memory`] changes page state, [`audit`] proves it consistent |
//! | 1 containers | [`content`] [`machine`] [`pmap`] [`frame_table`] [`swapfile`] [`hash`] |
//! | 0 words | [`types`] [`mod@reference`] [`config`] [`error`] [`rng`], the structures all rooms are made of, [`arena`] [`page_set`] [`vm_table`], [`page_trace`], `counts` and [`compare`] |
//!
//! ```
//! use esxcore_core::config::{HostConfig, VmConfig};
//! use esxcore_core::host::Host;
//! use esxcore_core::rng::Seed;
//! use esxcore_core::types::{ContentKind, PageBatch, Ppn};
//!
//! let mut host = Host::new(HostConfig::bare(1024, ContentKind::Tokens, Seed([7; 32])))?;
//! for name in ["one", "two"] {
//!     let config = VmConfig::new(name, 100);
//!     let vm = host.power_on(config, &mut || Ok(()))?;
//!     host.load(vm, Ppn(0), PageBatch::Tokens(&[5; 100]))?;
//! }
//! let report = host.scan(200);
//! assert_eq!(report.merged, 199);
//! assert_eq!(host.memory().machine().free_pages(), 1023);
//! # Ok::<(), esxcore_core::error::Error>(())
//! ```

pub mod admission;
pub mod arena;
pub mod audit;
pub mod balloon;
pub mod census;
pub mod compare;
pub mod config;
pub mod content;
mod counts;
pub mod digest;
pub mod error;
pub mod frame_table;
pub mod guest;
pub mod hash;
pub mod host;
pub mod ledger;
pub mod machine;
pub mod memory;
pub mod page_set;
pub mod page_trace;
pub mod pmap;
pub mod policy;
pub mod reclaim;
pub mod reference;
pub mod remap;
pub mod rng;
pub mod sample;
pub mod share;
pub mod simulate;
pub mod stats;
pub mod swap;
pub mod swapfile;
pub mod touch;
pub mod types;
pub mod vm_table;
pub mod workload;
