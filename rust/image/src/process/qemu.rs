//! Which mappings of a QEMU are guest memory.
//!
//! QEMU keeps each block of guest-visible memory from its children at a fork (`dc` among the flags of smaps) and maps
//! nothing else so: not its heap, its stacks or the code it translates, which may be larger than the guest. Besides RAM
//! these blocks are firmware and video memory, so RAM is told by its size, which the command line says: `-m` for main
//! memory, `size` of each `memory-backend-*` object. Of two blocks with the size asked for, the one with the higher
//! address is taken, because main memory is made before devices are. If the command line does not say it (a guest made
//! from a configuration file, or a default), the largest block is main memory.

use crate::process::smaps::Mapping;

/// How much more a block may have than was asked for: sizes are rounded up to 8 KiB, or to huge pages of the mapping.
const ROUNDED_BYTES: u64 = 8192;

/// Where main memory comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Main {
    /// The command line does not say.
    #[default]
    Unknown,
    /// A block of this many bytes.
    Bytes(u64),
    /// Backends that are named as such.
    Backends,
}

/// What the command line says of guest memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    main: Main,
    /// Bytes of each backend.
    backends: Vec<u64>,
}

/// Whether a program of this name is a QEMU that runs virtual machines; wrapped programs have a dot before their name.
pub fn is_qemu(name: &[u8]) -> bool {
    let name = name.strip_prefix(b".").unwrap_or(name);
    name.starts_with(b"qemu-system") || name.starts_with(b"qemu-kvm")
}

impl Asked {
    /// Reads /proc/PID/cmdline: arguments, each ended by a zero. What is not understood is passed over.
    pub fn read(command_line: &[u8]) -> Self {
        let arguments: Vec<_> = command_line.split(|byte| *byte == 0).map(String::from_utf8_lossy).collect();
        let mut asked = Self::default();
        for pair in arguments.windows(2) {
            let Some(option) = pair[0].strip_prefix('-') else { continue };
            asked.option(option.strip_prefix('-').unwrap_or(option), &pair[1]);
        }
        asked
    }

    fn option(&mut self, option: &str, value: &str) {
        match option {
            "m" => {
                let size = key(value, "size").or_else(|| value.split(',').next().map(str::to_string));
                if let Some(bytes) = size.and_then(|size| size_bytes(&size, 1 << 20)) {
                    self.main(Main::Bytes(bytes));
                }
            }
            "machine" | "M" if key(value, "memory-backend").is_some() => self.main(Main::Backends),
            "numa" if key(value, "memdev").is_some() => self.main(Main::Backends),
            "object" => self.backends.extend(backend_bytes(value)),
            _ => {}
        }
    }

    /// Backends named as main memory have the size that `-m` repeats.
    fn main(&mut self, main: Main) {
        if self.main != Main::Backends {
            self.main = main;
        }
    }
}

/// The mappings that are guest memory, in the order of their addresses; none if there is none.
pub fn guest_memory(mappings: Vec<Mapping>, asked: &Asked) -> Vec<Mapping> {
    let kept: Vec<Mapping> =
        mappings.into_iter().filter(|mapping| mapping.is_kept_at_fork && mapping.is_memory()).collect();
    let mut blocks: Vec<&[Mapping]> = kept.chunk_by(are_one_block).collect();
    let mut taken = vec![];
    for bytes in &asked.backends {
        taken.extend(take(&mut blocks, *bytes));
    }
    match asked.main {
        Main::Bytes(bytes) => taken.extend(take(&mut blocks, bytes)),
        Main::Unknown => taken.extend(take_largest(&mut blocks)),
        Main::Backends => {}
    }
    if taken.is_empty() {
        taken.extend(take_largest(&mut blocks));
    }
    taken.sort_unstable_by_key(|block| block[0].start);
    taken.concat()
}

/// Whether two mappings are parts of one: settings for a part of a block split its mapping, and between blocks there
/// is a page that is not mapped.
fn are_one_block(one: &Mapping, next: &Mapping) -> bool {
    one.end == next.start && (one.device, one.inode) == (next.device, next.inode)
}

fn block_bytes(block: &[Mapping]) -> u64 {
    block.iter().map(Mapping::bytes).sum()
}

/// Takes out the block with this many bytes that has the highest address.
fn take<'a>(blocks: &mut Vec<&'a [Mapping]>, bytes: u64) -> Option<&'a [Mapping]> {
    let fits = |block: &&[Mapping]| {
        let more = block_bytes(block).checked_sub(bytes);
        more.is_some_and(|more| more < block[0].page_bytes.max(ROUNDED_BYTES))
    };
    blocks.iter().rposition(fits).map(|at| blocks.remove(at))
}

/// Takes out the largest block.
fn take_largest<'a>(blocks: &mut Vec<&'a [Mapping]>) -> Option<&'a [Mapping]> {
    let largest = (0..blocks.len()).max_by_key(|at| block_bytes(blocks[*at]));
    largest.map(|at| blocks.remove(at))
}

/// Size of a memory backend, given as `memory-backend-ram,size=1G` or as JSON; none if it is another object.
fn backend_bytes(object: &str) -> Option<u64> {
    if object.starts_with('{') {
        return object.contains("\"memory-backend-").then(|| json_number(object, "\"size\"")).flatten();
    }
    let kind = key(object, "qom-type").unwrap_or_else(|| object.to_string());
    kind.starts_with("memory-backend-").then(|| size_bytes(&key(object, "size")?, 1)).flatten()
}

/// The value of `name` in `a=1,b=2`, where two commas are one comma of a value.
fn key(options: &str, name: &str) -> Option<String> {
    let options = options.replace(",,", "\0");
    let mut pairs = options.split(',').filter_map(|option| option.split_once('='));
    pairs.find(|(key, _)| *key == name).map(|(_, value)| value.replace('\0', ","))
}

/// The whole number after `name` in flat JSON.
fn json_number(text: &str, name: &str) -> Option<u64> {
    let value = text[text.find(name)? + name.len()..].trim_start().strip_prefix(':')?.trim_start();
    let end = value.find(|digit: char| !digit.is_ascii_digit()).unwrap_or(value.len());
    value[..end].parse().ok()
}

/// Bytes of a size such as `256`, `4G`, `1.5g` or `0x1000`; a number alone counts `unit` bytes.
fn size_bytes(text: &str, unit: u64) -> Option<u64> {
    if let Some(digits) = text.strip_prefix("0x") {
        return u64::from_str_radix(digits, 16).ok()?.checked_mul(unit);
    }
    let end = text.find(|digit: char| !digit.is_ascii_digit() && digit != '.').unwrap_or(text.len());
    let unit = match &text[end..] {
        "" => unit,
        "b" | "B" => 1,
        "k" | "K" => 1 << 10,
        "m" | "M" => 1 << 20,
        "g" | "G" => 1 << 30,
        "t" | "T" => 1 << 40,
        _ => return None,
    };
    match text[..end].split_once('.') {
        None => text[..end].parse::<u64>().ok()?.checked_mul(unit),
        Some(_) => text[..end].parse::<f64>().ok().map(|number| (number * unit as f64) as u64),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::process::smaps;

    const MIB: u64 = 1 << 20;

    fn asked(arguments: &str) -> Asked {
        Asked::read(format!("qemu-system-x86_64 {arguments} ").replace(' ', "\0").as_bytes())
    }

    #[test]
    fn names() {
        for name in ["qemu-system-x86_64", "qemu-system-x86", "qemu-kvm", ".qemu-system-arm-wrapped"] {
            assert!(is_qemu(name.as_bytes()), "{name}");
        }
        for name in ["qemu-x86_64-static", "qemu-img", "python3", "", "."] {
            assert!(!is_qemu(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("256", Some(256 * MIB)),
            ("256M", Some(256 * MIB)),
            ("1.5G", Some(1536 * MIB)),
            ("0x10", Some(16 * MIB)),
            ("4096k", Some(4 * MIB)),
            ("2T", Some(2 << 40)),
            ("17b", Some(17)),
            ("99999999999T", None),
            ("1X", None),
            ("", None),
            (".", None),
            ("1.2.3", None),
        ] {
            assert_eq!(size_bytes(text, MIB), bytes, "{text}");
        }
    }

    #[test]
    fn command_lines() {
        for (arguments, main, backends) in [
            ("-S", Main::Unknown, vec![]),
            ("-m 64", Main::Bytes(64 * MIB), vec![]),
            ("--m size=1G,slots=2,maxmem=4G", Main::Bytes(1024 * MIB), vec![]),
            ("-m 1G,slots=2", Main::Bytes(1024 * MIB), vec![]),
            ("-object memory-backend-file,mem-path=/a,,size=3,size=64M,id=m", Main::Unknown, vec![64 * MIB]),
            ("-object {\"qom-type\":\"memory-backend-ram\",\"size\":4096}", Main::Unknown, vec![4096]),
            ("-object {\"qom-type\":\"iothread\",\"size\":4096} -m", Main::Unknown, vec![]),
            (
                "-M pc,memory-backend=m -m 64 -object memory-backend-memfd,id=m,size=64M",
                Main::Backends,
                vec![64 * MIB],
            ),
            (
                "-m 3 -numa node,memdev=a -numa node,memdev=b -object qom-type=memory-backend-ram,size=1M,id=a \
                 -object memory-backend-ram,size=2097152,id=b",
                Main::Backends,
                vec![MIB, 2 * MIB],
            ),
            ("-name guest=-m 99", Main::Unknown, vec![]),
        ] {
            assert_eq!(asked(arguments), Asked { main, backends }, "{arguments}");
        }
    }

    /// Starts of what is taken of these mappings, each `start MiB flags` in MiB.
    fn taken(mappings: &[(u64, u64, &str)], arguments: &str) -> Vec<u64> {
        let text: String = mappings
            .iter()
            .map(|(start, size, flags)| {
                let (start, end) = (start * MIB, (start + size) * MIB);
                format!(
                    "{start:x}-{end:x} rw-p 00000000 00:00 0 \nKernelPageSize: 4 kB\nVmFlags: rd wr {flags}\n"
                )
            })
            .collect();
        let found = guest_memory(smaps::parse(text.as_bytes()).unwrap(), &asked(arguments));
        found.iter().map(|mapping| mapping.start / MIB).collect()
    }

    #[test]
    fn guest_memory_is_told_from_the_rest() {
        // The heap, the guest, code, video memory of the guest's size, firmware, a second backend in two parts.
        let all = [
            (1, 10, "ac"),
            (100, 64, "dc hg mg"),
            (200, 1023, "ac"),
            (2000, 64, "dc"),
            (3000, 2, "dc"),
            (4000, 30, "dc"),
            (4030, 2, "dc"),
            (5000, 512, "dc io"),
        ];
        assert_eq!(taken(&all[..3], "-m 64"), [100]);
        assert_eq!(taken(&all, "-m 64"), [2000], "the higher of two");
        assert_eq!(taken(&all, "-m 64 -object memory-backend-ram,size=32M,id=x"), [2000, 4000, 4030]);
        assert_eq!(taken(&all[4..], "-m 77"), [4000, 4030], "the largest if none fits");
        assert_eq!(taken(&all, "-object memory-backend-ram,size=2M,id=x"), [2000, 3000]);
        let numa = "-object memory-backend-ram,size=64M,id=x -numa node,memdev=x";
        assert_eq!(taken(&all, numa), [2000]);
        assert_eq!(taken(&all[..1], "-m 10"), [] as [u64; 0]);
    }

    proptest! {
        #[test]
        fn any_command_line_is_read(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            Asked::read(&bytes);
        }

        #[test]
        fn any_options_are_read(
            options in proptest::collection::vec("-(-)?(m|object|M|numa)\0([{,=\"0-9.KMG]|size|memory-backend-){0,8}", 0..4),
        ) {
            Asked::read(options.join("\0").as_bytes());
        }
    }
}
