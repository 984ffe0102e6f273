//! The text of /proc/PID/smaps: of each mapping a line as in /proc/PID/maps, then what the kernel counts of it.
//!
//! The file of a mapping may have any name; the kernel escapes line ends in it (`\012`) and nothing else. So a name
//! cannot end its line, and lines of counts are told from mappings by their first letter, which is a capital.

use std::str::FromStr;

use crate::error::Error;
use crate::map::PAGE_BYTES;

/// Names of what the kernel puts into every process, and of memory that nobody but the process may read.
const NOT_ITS_OWN: [&str; 7] =
    ["[vdso]", "[vvar", "[vsyscall]", "[vectors]", "[sigpage]", "[uprobes]", "/secretmem"];

/// A mapping and what the kernel counts of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mapping {
    /// Address of its first byte, on a page border.
    pub start: u64,
    /// Address after its last byte, on a page border and above `start`.
    pub end: u64,
    /// As in `rwxp`.
    pub permissions: [u8; 4],
    /// Where it begins in its file, in bytes.
    pub offset: u64,
    /// Major and minor number of the file system.
    pub device: (u32, u32),
    /// Number of the file there; zero if there is no file.
    pub inode: u64,
    /// Name of the file, a word in brackets, or empty.
    pub name: String,
    /// Bytes in one of its pages, which may be huge; zero if the kernel does not say.
    pub page_bytes: u64,
    /// Pages in memory, without the kernel's zero page.
    pub resident: u64,
    /// Pages in swap.
    pub swapped: u64,
    /// Children do not inherit it.
    pub is_kept_at_fork: bool,
    /// Memory of a device.
    pub is_device: bool,
}

impl Mapping {
    /// Whether the process may read it.
    pub fn is_readable(&self) -> bool {
        self.permissions[0] == b'r'
    }

    /// Whether writes are seen by others who map the file.
    pub fn is_shared(&self) -> bool {
        self.permissions[3] == b's'
    }

    /// Whether it is the process's own memory, to be read without harm.
    pub fn is_memory(&self) -> bool {
        self.is_readable() && !self.is_device && !NOT_ITS_OWN.iter().any(|name| self.name.starts_with(name))
    }

    /// Bytes.
    pub fn bytes(&self) -> u64 {
        self.end - self.start
    }

    /// Takes in a line of counts; those of no use here are passed over.
    fn count(&mut self, line: &str) -> Option<()> {
        let (name, value) = line.split_once(':')?;
        match name {
            "Rss" | "Shared_Hugetlb" | "Private_Hugetlb" => {
                self.resident = self.resident.saturating_add(kibibytes(value)? / 4);
            }
            "Swap" => self.swapped = kibibytes(value)? / 4,
            "KernelPageSize" => self.page_bytes = kibibytes(value)?.checked_mul(1024)?,
            "VmFlags" => {
                let mut flags = value.split_ascii_whitespace();
                self.is_kept_at_fork = flags.clone().any(|flag| flag == "dc");
                self.is_device = flags.any(|flag| flag == "io" || flag == "pf");
            }
            _ => {}
        }
        Some(())
    }
}

impl FromStr for Mapping {
    type Err = ();

    /// Reads a line as in /proc/PID/maps.
    fn from_str(line: &str) -> Result<Self, ()> {
        mapping(line).filter(|mapping| mapping.start < mapping.end).ok_or(())
    }
}

/// Reads the whole text.
///
/// # Errors
///
/// [`Error::Header`] with the line that is not as the kernel writes it.
pub fn parse(text: &[u8]) -> Result<Vec<Mapping>, Error> {
    let mut mappings: Vec<Mapping> = vec![];
    let mut offset = 0;
    for bytes in text.split_inclusive(|byte| *byte == b'\n') {
        let line = String::from_utf8_lossy(bytes.strip_suffix(b"\n").unwrap_or(bytes));
        let wrong = |expected| Error::Header {
            what: "a line of smaps",
            offset,
            value: format!("{:?}", line.chars().take(80).collect::<String>()),
            expected,
        };
        if line.starts_with(|first: char| first.is_ascii_uppercase()) {
            let counted = mappings.last_mut().and_then(|mapping| mapping.count(&line));
            counted.ok_or_else(|| wrong("a count of the mapping before it"))?;
        } else {
            let mapping: Mapping = line.parse().map_err(|()| wrong("a mapping"))?;
            if mappings.last().is_some_and(|last| last.end > mapping.start) {
                return Err(wrong("a mapping above those before it"));
            }
            mappings.push(mapping);
        }
        offset += bytes.len() as u64;
    }
    Ok(mappings)
}

fn mapping(line: &str) -> Option<Mapping> {
    let mut words = line.splitn(6, ' ');
    let (start, end) = words.next()?.split_once('-')?;
    let permissions = words.next()?.as_bytes().try_into().ok()?;
    let offset = hexadecimal(words.next()?)?;
    let (major, minor) = words.next()?.split_once(':')?;
    let device = (u32::from_str_radix(major, 16).ok()?, u32::from_str_radix(minor, 16).ok()?);
    let inode = words.next()?.parse().ok()?;
    let name = words.next().unwrap_or_default().trim_start_matches(' ').to_string();
    let (start, end) = (address(start)?, address(end)?);
    Some(Mapping { start, end, permissions, offset, device, inode, name, ..Mapping::default() })
}

/// An address on a page border.
fn address(word: &str) -> Option<u64> {
    hexadecimal(word).filter(|address| address.is_multiple_of(PAGE_BYTES))
}

fn hexadecimal(word: &str) -> Option<u64> {
    u64::from_str_radix(word, 16).ok()
}

/// A number as in `   4124 kB`.
fn kibibytes(value: &str) -> Option<u64> {
    value.strip_suffix(" kB")?.trim_start_matches(' ').parse().ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TWO: &str = "\
7f47dfe00000-7f47e3e00000 rw-p 00000000 00:00 0 
Size:              65536 kB
KernelPageSize:        4 kB
Rss:                  12 kB
Private_Hugetlb:       4 kB
Swap:                  8 kB
THPeligible:           1
VmFlags: rd wr mr mw me dc ac hg mg 
7fa077fff000-7fa07bfff000 rw-s 00001000 00:1b 2                          /dev/shm/a b\\012c (deleted)
VmFlags: rd wr sh io
ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]
";

    #[test]
    fn mappings_and_their_counts_are_read() {
        let mappings = parse(TWO.as_bytes()).unwrap();
        let guest = &mappings[0];
        assert_eq!((guest.start, guest.bytes()), (0x7f47_dfe0_0000, 64 << 20));
        assert_eq!((guest.resident, guest.swapped, guest.page_bytes), (4, 2, 4096));
        assert!(guest.is_kept_at_fork && guest.is_memory() && !guest.is_shared() && guest.name.is_empty());
        let file = &mappings[1];
        assert_eq!((file.name.as_str(), file.inode), ("/dev/shm/a b\\012c (deleted)", 2));
        assert_eq!((file.offset, file.device), (4096, (0, 0x1b)));
        assert!(file.is_shared() && file.is_device && !file.is_memory());
        assert_eq!(mappings[2].end, 0xffff_ffff_ff60_1000);
        assert!(!mappings[2].is_readable() && !mappings[2].is_memory());
        assert_eq!(parse(b""), Ok(vec![]));
    }

    #[test]
    fn memory_of_the_kernel_is_not_the_process_s() {
        for name in ["[vdso]", "[vvar]", "[vvar_vclock]", "[vsyscall]", "/secretmem (deleted)"] {
            let line = format!("1000-2000 r-xp 00000000 00:00 0    {name}\n");
            assert!(!parse(line.as_bytes()).unwrap()[0].is_memory(), "{name}");
        }
        for name in ["", "[heap]", "[stack]", "[anon:vdso]", "/lib/x.so", "/dev/zero (deleted)"] {
            let line = format!("1000-2000 r-xp 00000000 00:00 0    {name}\n");
            assert!(parse(line.as_bytes()).unwrap()[0].is_memory(), "{name}");
        }
    }

    #[test]
    fn other_lines_are_refused() {
        for (text, expected) in [
            ("5563-5564 r--p 00000000 fe:00 1 /none\n", "a mapping"),
            ("\n", "a mapping"),
            ("1000-1000 r--p 00000000 fe:00 1\n", "a mapping"),
            ("1000-3000 r--p 00000000 fe:00 1\n2000-4000 r--p 00000000 fe:00 1\n", "a mapping above"),
            ("1000-10000000000000000 r--p 00000000 fe:00 1\n", "a mapping"),
            ("Rss: 4 kB\n", "a count"),
            ("1000-2000 r--p 00000000 fe:00 1\nRss: 99999999999999999999 kB\n", "a count"),
            ("1000-2000 r--p 00000000 fe:00 1\nRss: four\n", "a count"),
        ] {
            let error = parse(text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(&format!("expected {expected}")) && !error.contains('\n'), "{error}");
        }
    }

    /// What a line may be made of, and what comes near to it.
    fn word() -> impl Strategy<Value = String> {
        prop_oneof![
            Just("1000-2000 rw-p 00000000 00:00 0 x\n".to_string()),
            "[0-9a-f]{1,17}-[0-9a-f]{1,17} [rwxps-]{3,5} [0-9a-f]{1,17} [0-9a-f]{2}:[0-9a-f]{2} [0-9]{1,21}[ -~]{0,9}\n",
            "(Rss|Swap|KernelPageSize|VmFlags|Size): {0,3}[0-9]{1,21}( kB)?\n",
            "[ -~\n]{0,20}",
        ]
    }

    proptest! {
        #[test]
        fn any_bytes_are_mappings_in_order_or_one_line(text in proptest::collection::vec(any::<u8>(), 0..300)) {
            check(&text)?;
        }

        #[test]
        fn lines_like_those_of_the_kernel_are_too(words in proptest::collection::vec(word(), 0..8)) {
            check(words.concat().as_bytes())?;
        }
    }

    fn check(text: &[u8]) -> Result<(), TestCaseError> {
        match parse(text) {
            Ok(mappings) => {
                prop_assert!(mappings.iter().all(|mapping| mapping.start < mapping.end));
                prop_assert!(mappings.windows(2).all(|pair| pair[0].end <= pair[1].start));
                prop_assert!(mappings.iter().all(|mapping| !mapping.name.contains('\n')));
            }
            Err(error) => prop_assert!(!error.to_string().contains('\n'), "{}", error),
        }
        Ok(())
    }
}
