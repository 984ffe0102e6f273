//! What `virsh save` writes: a header, the guest's XML, and a migration stream.
//!
//! # Source
//!
//! libvirt's documentation of the save image: magic, then 32-bit words in the byte order of the host: version, length of
//! the XML, whether the guest ran, compression, place of a cookie, and 14 reserved words.

use zerocopy::little_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::error::Error;
use crate::formats::migration;
use crate::map::{Builder, SegmentMap};
use crate::source::{Pulse, Source};

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Header {
    magic: [u8; 16],
    version: U32,
    xml_bytes: U32,
    was_running: U32,
    compression: U32,
    cookie: U32,
    reserved: [U32; 14],
}

const MAGIC: [u8; 16] = *b"LibvirtQemudSave";
const MAGIC_UNFINISHED: [u8; 16] = *b"LibvirtQemudPart";
const FORMAT: &str = "a libvirt save file";
/// By the number of the compression.
const COMPRESSIONS: [&str; 7] = ["none", "gzip", "bzip2", "xz", "lzop", "zstd", "sparse"];

/// The map of a libvirt save file.
///
/// # Errors
///
/// [`Error::Header`], [`Error::NotReadFeature`], and those of [`migration::parse`].
pub fn parse(source: &Source, builder: Builder, pulse: Pulse<'_>) -> Result<SegmentMap, Error> {
    let header: Header = source.read("a libvirt save header", 0)?;
    let refuse = |what, offset, value: String, expected| Err(Error::Header { what, offset, value, expected });
    match header.magic {
        MAGIC => {}
        MAGIC_UNFINISHED => {
            let expected = "LibvirtQemudSave, which libvirt writes when the save has finished";
            return refuse("the magic of a libvirt save file", 0, "LibvirtQemudPart".into(), expected);
        }
        other => {
            let value = other.escape_ascii().to_string();
            return refuse("the magic of a libvirt save file", 0, value, "LibvirtQemudSave");
        }
    }
    if ![1, 2].contains(&header.version.get()) {
        let value = header.version.to_string();
        return refuse("the version of a libvirt save file", 16, value, "1 or 2 (little endian)");
    }
    let compression = header.compression.get();
    if compression != 0 {
        let name = COMPRESSIONS.get(compression as usize).copied().unwrap_or("unknown");
        let hint = "set save_image_format = \"raw\" in libvirt's qemu.conf and save again";
        let feature = format!("compression {compression} ({name})");
        return Err(Error::NotReadFeature { format: FORMAT, feature, offset: 28, hint });
    }
    let stream = size_of::<Header>() as u64 + u64::from(header.xml_bytes.get());
    source.check("the guest's XML", size_of::<Header>() as u64, header.xml_bytes.get().into())?;
    migration::parse(source, stream, builder, pulse)
}
