//! Names and handles of a client while a load file is read.
//!
//! A load file names files; guests number them. A file keeps its number when it is renamed, as the blocks cached of it
//! do, and the number is free again when it is deleted and no longer open: so a client needs few of them. Letters of either
//! case are the same, and `/` and `\` too. Number 0 stands for all that is no file: directories and the file system.

use std::collections::BTreeMap;

use hashbrown::HashMap;

/// What is no file.
pub const NO_FILE: u32 = 0;

/// A name as it is compared.
fn folded(name: &[u8]) -> Vec<u8> {
    let fold = |byte: &u8| if *byte == b'/' { b'\\' } else { byte.to_ascii_lowercase() };
    name.iter().map(fold).collect()
}

/// What is known of a file number in use.
#[derive(Clone, Copy, Debug, Default)]
struct Inode {
    handles: u32,
    /// It has a name.
    is_linked: bool,
}

/// The files of one client.
#[derive(Debug, Default)]
pub struct Files {
    names: BTreeMap<Vec<u8>, u32>,
    handles: HashMap<u64, u32>,
    inodes: Vec<Inode>,
    free: Vec<u32>,
}

impl Files {
    /// None yet.
    pub fn new() -> Self {
        Self { inodes: vec![Inode { handles: 0, is_linked: true }], ..Self::default() }
    }

    /// File numbers used so far.
    pub fn numbers(&self) -> u32 {
        self.inodes.len() as u32
    }

    /// The number of a name; [`NO_FILE`] if it names no file.
    pub fn named(&self, name: &[u8]) -> u32 {
        self.names.get(&folded(name)).copied().unwrap_or(NO_FILE)
    }

    /// The file that a handle stands for, if it is open.
    pub fn handle(&self, handle: u64) -> Option<u32> {
        self.handles.get(&handle).copied()
    }

    /// Opens a file, making it if there is none of that name. A handle that is open already stands for this one from now on.
    pub fn open(&mut self, name: &[u8], handle: u64) -> u32 {
        let number = match self.named(name) {
            NO_FILE => self.create(name),
            number => number,
        };
        self.inodes[number as usize].handles += 1;
        if let Some(before) = self.handles.insert(handle, number) {
            self.drop_handle(before);
        }
        number
    }

    /// Opens what is no file.
    pub fn open_directory(&mut self, handle: u64) {
        self.inodes[NO_FILE as usize].handles += 1;
        if let Some(before) = self.handles.insert(handle, NO_FILE) {
            self.drop_handle(before);
        }
    }

    /// Takes away the names of all files; their numbers in the order of names.
    pub fn remove_all(&mut self) -> Vec<u32> {
        self.remove(b"", |_| true)
    }

    /// Closes a handle; the file it stood for, if it was open.
    pub fn close(&mut self, handle: u64) -> Option<u32> {
        let number = self.handles.remove(&handle)?;
        self.drop_handle(number);
        Some(number)
    }

    /// Takes a file's name away; its number, if there was one.
    pub fn unlink(&mut self, name: &[u8]) -> Option<u32> {
        let number = self.names.remove(&folded(name))?;
        self.drop_name(number);
        Some(number)
    }

    /// Gives a file another name, or a directory, and with it the files in it; the number of what had a file's new name
    /// before, if it was another file, which is gone.
    pub fn rename(&mut self, from: &[u8], to: &[u8]) -> Option<u32> {
        let Some(number) = self.names.remove(&folded(from)) else {
            self.rename_tree(&folded(from), &folded(to));
            return None;
        };
        let replaced = self.names.insert(folded(to), number)?;
        self.drop_name(replaced);
        Some(replaced)
    }

    /// Takes away the names of all files in a directory, and of one called so; their numbers in the order of names.
    pub fn remove_tree(&mut self, directory: &[u8]) -> Vec<u32> {
        let directory = folded(directory);
        let stem = directory.strip_suffix(b"\\").unwrap_or(&directory);
        let inside = |name: &[u8]| {
            let rest = name.strip_prefix(stem);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"\\"))
        };
        self.remove(stem, inside)
    }

    /// Takes away the names of all files that a pattern of `*` and `?` matches; their numbers in the order of names.
    pub fn remove_matching(&mut self, pattern: &[u8]) -> Vec<u32> {
        let pattern = folded(pattern);
        let wild = |byte: &u8| matches!(byte, b'*' | b'?');
        let stem = &pattern[..pattern.iter().position(wild).unwrap_or(pattern.len())];
        self.remove(stem, |name| matches(&pattern, name))
    }

    fn remove(&mut self, stem: &[u8], which: impl Fn(&[u8]) -> bool) -> Vec<u32> {
        let range = self.names.range(stem.to_vec()..).take_while(|(name, _)| name.starts_with(stem));
        let gone: Vec<Vec<u8>> = range.map(|(name, _)| name.clone()).filter(|name| which(name)).collect();
        gone.iter().filter_map(|name| self.unlink(name)).collect()
    }

    /// What has the new names already goes on without a name, as it does in a file system that merges directories.
    fn rename_tree(&mut self, from: &[u8], to: &[u8]) {
        let stem = [from, b"\\"].concat();
        let inside = self.names.range(stem.clone()..).take_while(|(name, _)| name.starts_with(&stem));
        let moved: Vec<(Vec<u8>, u32)> = inside.map(|(name, number)| (name.clone(), *number)).collect();
        for (name, _) in &moved {
            self.names.remove(name);
        }
        for (name, number) in moved {
            let name = [to, &name[from.len()..]].concat();
            if let Some(replaced) = self.names.insert(name, number) {
                self.drop_name(replaced);
            }
        }
    }

    fn create(&mut self, name: &[u8]) -> u32 {
        let number = self.free.pop().unwrap_or_else(|| {
            self.inodes.push(Inode::default());
            self.numbers() - 1
        });
        self.inodes[number as usize].is_linked = true;
        self.names.insert(folded(name), number);
        number
    }

    fn drop_handle(&mut self, number: u32) {
        self.inodes[number as usize].handles -= 1;
        self.free_if_gone(number);
    }

    fn drop_name(&mut self, number: u32) {
        self.inodes[number as usize].is_linked = false;
        self.free_if_gone(number);
    }

    fn free_if_gone(&mut self, number: u32) {
        let inode = self.inodes[number as usize];
        if inode.handles == 0 && !inode.is_linked {
            self.free.push(number);
        }
    }
}

/// Whether a pattern matches a name: `*` any part of it that stays in its directory, `?` one byte.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let (mut at, mut of) = (0, 0);
    // Where the last `*` was, and how much of the name it has taken so far.
    let mut star = None;
    while of < name.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, of));
                at += 1;
            }
            Some(byte) if *byte == name[of] || (*byte == b'?' && name[of] != b'\\') => {
                (at, of) = (at + 1, of + 1)
            }
            _ => match star {
                Some((place, taken)) if name[taken] != b'\\' => {
                    star = Some((place, taken + 1));
                    (at, of) = (place + 1, taken + 1);
                }
                _ => return false,
            },
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Does one of a few things to files of a few names.
    fn act(files: &mut Files, (what, name, handle): (u8, &str, u64)) {
        match what {
            0..3 => drop(files.open(name.as_bytes(), handle)),
            3 => drop(files.close(handle)),
            4 => drop(files.unlink(name.as_bytes())),
            5 => drop(files.rename(name.as_bytes(), b"a\\a")),
            6 => drop(files.rename(b"a", name.as_bytes())),
            7 => drop(files.remove_tree(name.as_bytes())),
            8 => drop(files.remove_matching(b"a\\?")),
            _ => files.open_directory(handle),
        }
    }

    proptest! {
        #[test]
        fn a_number_stands_for_one_file(
            acts in prop::collection::vec(
                (0_u8..10, prop::sample::select(vec!["a", "b", "a\\a", "a\\b", "b\\a\\a"]), 0_u64..4), 0..60),
        ) {
            let mut files = Files::new();
            for step in acts {
                act(&mut files, step);
                let mut named: Vec<u32> = files.names.values().copied().collect();
                named.sort_unstable();
                prop_assert!(named.windows(2).all(|pair| pair[0] < pair[1]), "two names, one number");
                let mut in_use: Vec<u32> = named.into_iter().chain(files.handles.values().copied()).collect();
                in_use.push(NO_FILE);
                in_use.sort_unstable();
                in_use.dedup();
                let mut all = [in_use, files.free.clone()].concat();
                all.sort_unstable();
                prop_assert!(all.into_iter().eq(0..files.numbers()), "each is in use or free, once");
            }
        }
    }

    #[test]
    fn a_number_is_free_when_its_file_is_gone_and_closed() {
        let mut files = Files::new();
        assert_eq!(files.open(b"\\A\\one", 7), 1);
        assert_eq!(files.open(b"/a/ONE", 8), 1);
        assert_eq!(files.unlink(b"\\a\\one"), Some(1));
        assert_eq!(files.open(b"\\a\\one", 9), 2);
        assert_eq!((files.close(7), files.close(8), files.close(8)), (Some(1), Some(1), None));
        assert_eq!(files.open(b"\\a\\two", 7), 1);
        assert_eq!((files.handle(9), files.numbers()), (Some(2), 3));
        assert_eq!(files.open(b"\\a\\two", 9), 1);
        assert_eq!((files.close(9), files.close(7), files.unlink(b"none")), (Some(1), Some(1), None));
    }

    #[test]
    fn a_renamed_file_keeps_its_number() {
        let mut files = Files::new();
        let (old, other) = (files.open(b"old", 1), files.open(b"other", 2));
        assert_eq!(files.rename(b"old", b"new"), None);
        assert_eq!((files.named(b"old"), files.named(b"new")), (NO_FILE, old));
        assert_eq!(files.rename(b"new", b"other"), Some(other));
        assert_eq!(files.named(b"other"), old);
        assert_eq!(files.rename(b"none", b"other"), None);
        assert_eq!(files.rename(b"other", b"Other"), None);
        assert_eq!(files.named(b"other"), old);
    }

    #[test]
    fn a_renamed_directory_takes_its_files_along() {
        let mut files = Files::new();
        let numbers = [(1, "d\\a"), (2, "d\\e\\b"), (3, "dd\\c")]
            .map(|(handle, name)| files.open(name.as_bytes(), handle));
        assert_eq!(files.rename(b"D", b"f\\g"), None);
        let names: [&[u8]; 3] = [b"f\\g\\a", b"f\\g\\e\\b", b"dd\\c"];
        assert_eq!(names.map(|name| files.named(name)), numbers);
        files.open_directory(9);
        assert_eq!((files.handle(9), files.close(9)), (Some(NO_FILE), Some(NO_FILE)));
        assert_eq!(files.remove_all(), [3, 1, 2]);
    }

    #[test]
    fn trees_and_patterns_take_what_is_in_them() {
        let mut files = Files::new();
        for (handle, name) in ["d\\a.txt", "d\\b.txt", "d\\e\\a.txt", "d", "dd\\a.txt"].iter().enumerate() {
            files.open(name.as_bytes(), handle as u64);
        }
        assert_eq!(files.remove_matching(b"d\\?.T*"), [1, 2]);
        assert_eq!(files.remove_tree(b"D\\"), [4, 3]);
        assert_eq!(files.remove_tree(b"d"), []);
        assert_eq!(files.remove_tree(b""), []);
        assert_eq!(files.named(b"dd\\a.txt"), 5);
    }

    #[test]
    fn patterns_match_in_one_directory() {
        for (pattern, name, expected) in [
            ("*", "abc", true),
            ("*", "a\\b", false),
            ("*.*", "a.b.c", true),
            ("a*c*e", "abcde", true),
            ("a*c*e", "abcd", false),
            ("a?", "a", false),
            ("a?", "a\\", false),
            ("a*", "a", true),
            ("", "", true),
            ("", "a", false),
            ("d\\*b", "d\\ab", true),
        ] {
            assert_eq!(matches(pattern.as_bytes(), name.as_bytes()), expected, "{pattern} {name}");
        }
    }
}
