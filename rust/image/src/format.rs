//! Which format a file is in, by the bytes it begins with.
//!
//! Raw images and vmem files have no such bytes, so everything else comes first: a file that begins with a known magic is
//! never taken for raw memory.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use crate::error::Error;

/// Bytes at the beginning of a file that [`detect`] looks at.
pub const HEAD_BYTES: usize = 64;

/// A format that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Memory as it is, from guest address 0.
    Raw,
    /// ELF core, as QEMU's `dump-guest-memory` and VirtualBox's `dumpvmcore` write it.
    Elf,
    /// LiME version 1.
    Lime,
    /// VMware's memory file, with or without the suspend or snapshot file beside it.
    Vmem,
    /// VMware's suspend or snapshot file with the memory inside it.
    Vmss,
    /// QEMU's migration stream, version 3.
    Migration,
    /// What `virsh save` writes: a header and a migration stream.
    LibvirtSave,
}

/// All formats that are read.
pub const FORMATS: [Format; 7] = [
    Format::Raw,
    Format::Elf,
    Format::Lime,
    Format::Vmem,
    Format::Vmss,
    Format::Migration,
    Format::LibvirtSave,
];

impl Format {
    /// Its name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Elf => "elf",
            Self::Lime => "lime",
            Self::Vmem => "vmem",
            Self::Vmss => "vmss",
            Self::Migration => "migration",
            Self::LibvirtSave => "libvirt-save",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

impl FromStr for Format {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        FORMATS.into_iter().find(|format| format.name() == name).ok_or_else(|| Error::UnknownFormat {
            name: name.to_string(),
            expected: FORMATS.map(Format::name).join(", "),
        })
    }
}

/// Begins of formats that are read.
const READ: [(&[u8], Format); 9] = [
    (b"\x7fELF", Format::Elf),
    (b"EMiL", Format::Lime),
    (&[0xd0, 0xbe, 0xd2, 0xbe], Format::Vmss),
    (&[0xd1, 0xba, 0xd1, 0xba], Format::Vmss),
    (&[0xd2, 0xbe, 0xd2, 0xbe], Format::Vmss),
    (&[0xd3, 0xbe, 0xd3, 0xbe], Format::Vmss),
    (b"QEVM", Format::Migration),
    (b"LibvirtQemudSave", Format::LibvirtSave),
    (b"LibvirtQemudPart", Format::LibvirtSave),
];

const DUMP_AGAIN: &str = "dump again with dump-guest-memory without -z, -l, -s, -R and -w, or with virsh dump \
                          --memory-only --format elf";
const FROM_HYPERVISOR: &str = "dump the guest from its hypervisor as ELF core or raw memory instead";
const A_DISK: &str = "it holds a disk; give an image of memory";
const UNPACK: &str = "unpack it first";

/// Begins of formats that are not read: their bytes, their name and what to do.
const NOT_READ: [(&[u8], &str, &str); 32] = [
    (b"KDUMP   ", "a compressed kdump file", DUMP_AGAIN),
    (b"DISKDUMP", "a diskdump file", DUMP_AGAIN),
    (b"makedumpfile", "a flattened kdump file", DUMP_AGAIN),
    (b"AVML", "a compressed AVML image", "convert it with avml-convert to LiME or raw"),
    (b"LVMA", "a compressed AVML image", "convert it with avml-convert to LiME or raw"),
    (b"PAGEDUMP", "a Windows crash dump (32 bits)", FROM_HYPERVISOR),
    (b"PAGEDU64", "a Windows crash dump (64 bits)", FROM_HYPERVISOR),
    (b"hibr", "a Windows hibernation file", FROM_HYPERVISOR),
    (b"HIBR", "a Windows hibernation file", FROM_HYPERVISOR),
    (b"wake", "a Windows hibernation file", FROM_HYPERVISOR),
    (b"WAKE", "a Windows hibernation file", FROM_HYPERVISOR),
    (b"RSTR", "a Windows hibernation file", FROM_HYPERVISOR),
    (b"Xen saved domain", "a saved Xen domain", "dump its memory with a tool for Xen as raw"),
    (b"LibxlFmt", "a Xen migration stream", "dump its memory with a tool for Xen as raw"),
    (b"LinuxGuestRecord", "a saved Xen domain", "dump its memory with a tool for Xen as raw"),
    (b"\x7fVirtualBox SavedState", "a saved VirtualBox state", "use VBoxManage debugvm NAME dumpvmcore"),
    (b"MDMP", "a Windows minidump", FROM_HYPERVISOR),
    (&[0x1f, 0x8b, 0x08], "compressed by gzip", UNPACK),
    (b"BZh", "compressed by bzip2", UNPACK),
    (b"\xfd7zXZ\0", "compressed by xz", UNPACK),
    (&[0x28, 0xb5, 0x2f, 0xfd], "compressed by zstd", UNPACK),
    (&[0x04, 0x22, 0x4d, 0x18], "compressed by lz4", UNPACK),
    (&[0x89, b'L', b'Z', b'O', 0, b'\r', b'\n', 0x1a, b'\n'], "compressed by lzop", UNPACK),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", UNPACK),
    (b"PK\x03\x04", "a zip archive", UNPACK),
    (b"\xff\x06\0\0sNaPpY", "compressed by snappy", UNPACK),
    (b"QFI\xfb", "a qcow2 disk image", "load the snapshot in QEMU and use dump-guest-memory"),
    (b"KDMV", "a VMDK disk image", A_DISK),
    (b"# Disk DescriptorFile", "a VMDK disk image", A_DISK),
    (b"<<< Oracle VM VirtualBox Disk Image", "a VDI disk image", A_DISK),
    (b"vhdxfile", "a VHDX disk image", A_DISK),
    (b"conectix", "a VHD disk image", A_DISK),
];

/// The format of a file by its first [`HEAD_BYTES`] bytes (or all it has) and, if they say nothing, by its name.
///
/// # Errors
///
/// [`Error::NotRead`] for a format that is known but not read.
pub fn detect(head: &[u8], path: Option<&Path>) -> Result<Format, Error> {
    if let Some((_, format)) = READ.iter().find(|(magic, _)| head.starts_with(magic)) {
        return Ok(*format);
    }
    if let Some((_, format, hint)) = NOT_READ.iter().find(|(magic, ..)| head.starts_with(magic)) {
        return Err(Error::NotRead { format, hint });
    }
    let extension = path.and_then(Path::extension);
    let is_vmem = extension.is_some_and(|extension| extension.eq_ignore_ascii_case("vmem"));
    Ok(if is_vmem { Format::Vmem } else { Format::Raw })
}
