//! One parser a format, each from the bytes of a file to a map of its pages.
//!
//! A parser trusts nothing: every offset and count is checked against the length of the file before it is used, and each
//! round of a loop consumes bytes of the file.

pub mod elf;
pub mod libvirt;
pub mod lime;
pub mod migration;
pub mod overlay;
pub mod raw;
pub mod vmware;
