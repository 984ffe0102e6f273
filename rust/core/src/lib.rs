//! The memory manager of ESX Server (Waldspurger, OSDI 2002) as an engine.
//!
//! Rooms by floor; a room names lower floors only (docs/design.md section 2):
//!
//! | floor | rooms |
//! |---|---|
//! | 5 host | [`host`] [`touch`] [`stats`] [`census`] [`digest`]: compose the rooms below |
//! | 4 plug-ins | [`policy`]: how many pages each virtual machine should have |
//! | 3 mechanisms | [`share`] [`sample`]: select pages |
//! | 2 transition | [`memory`] changes page state, [`audit`] proves it consistent |
//! | 1 containers | [`content`] [`machine`] [`pmap`] [`frame_table`] [`swapfile`] [`hash`] |
//! | 0 words | [`types`] [`config`] [`error`] [`rng`], the two structures all containers are made of, [`arena`] [`page_set`], and [`compare`] |
//!
//! ```
//! use esxcore_core::config::{HostConfig, VmConfig};
//! use esxcore_core::host::Host;
//! use esxcore_core::rng::Seed;
//! use esxcore_core::types::{ContentKind, PageBatch, Ppn};
//!
//! let mut host = Host::new(HostConfig::new(1024, ContentKind::Tokens, Seed([7; 32])))?;
//! for name in ["one", "two"] {
//!     let config = VmConfig { name: name.into(), max_pages: 100, salt: None };
//!     let vm = host.power_on(config, &mut || Ok(()))?;
//!     host.load(vm, Ppn(0), PageBatch::Tokens(&[5; 100]))?;
//! }
//! let report = host.scan(200);
//! assert_eq!(report.merged, 199);
//! assert_eq!(host.memory().machine().free_pages(), 1023);
//! # Ok::<(), esxcore_core::error::Error>(())
//! ```

pub mod arena;
pub mod audit;
pub mod census;
pub mod compare;
pub mod config;
pub mod content;
pub mod digest;
pub mod error;
pub mod frame_table;
pub mod hash;
pub mod host;
pub mod machine;
pub mod memory;
pub mod page_set;
pub mod pmap;
pub mod policy;
pub mod rng;
pub mod sample;
pub mod share;
pub mod stats;
pub mod swapfile;
pub mod touch;
pub mod types;
