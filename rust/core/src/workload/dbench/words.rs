//! Lines of a load file, taken apart: an operation, its arguments, and how it ended.
//!
//! A line is words between blanks; a word in double quotes may hold blanks. Empty lines and those that begin with `#` say
//! nothing; a carriage return at the end is ignored, and so is a number in front, the time of the operation in newer
//! recordings: clients go as fast as they can. The last word is the status, `NT_STATUS_...` or a number in hexadecimal.

/// Longest line of a load file in bytes.
pub const MAX_LINE: usize = 2048;

/// An operation that the file format knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Opens a file, or makes it.
    NtCreateX,
    /// Closes a handle.
    Close,
    /// Gives a file another name.
    Rename,
    /// Deletes a file, or all that a pattern matches.
    Unlink,
    /// Deletes a directory with all that is in it.
    Deltree,
    /// Deletes an empty directory.
    Rmdir,
    /// Makes a directory.
    Mkdir,
    /// Asks about a name.
    QueryPath,
    /// Asks about an open file.
    QueryFile,
    /// Asks about the file system.
    QueryFs,
    /// Sets attributes of an open file.
    SetFile,
    /// Looks for files that a pattern matches.
    FindFirst,
    /// Writes.
    WriteX,
    /// Reads.
    ReadX,
    /// Locks a range of an open file.
    LockX,
    /// Unlocks it.
    UnlockX,
    /// Waits until what was written of an open file is on the disk.
    Flush,
    /// Waits so many microseconds.
    Sleep,
}

impl Operation {
    /// All, by their names in the file. The last five are what dbench calls them in its reports.
    pub const NAMES: [(&'static str, Self); 23] = [
        ("NTCreateX", Self::NtCreateX),
        ("Close", Self::Close),
        ("Rename", Self::Rename),
        ("Unlink", Self::Unlink),
        ("Deltree", Self::Deltree),
        ("Rmdir", Self::Rmdir),
        ("Mkdir", Self::Mkdir),
        ("QUERY_PATH_INFORMATION", Self::QueryPath),
        ("QUERY_FILE_INFORMATION", Self::QueryFile),
        ("QUERY_FS_INFORMATION", Self::QueryFs),
        ("SET_FILE_INFORMATION", Self::SetFile),
        ("FIND_FIRST", Self::FindFirst),
        ("WriteX", Self::WriteX),
        ("ReadX", Self::ReadX),
        ("LockX", Self::LockX),
        ("UnlockX", Self::UnlockX),
        ("Flush", Self::Flush),
        ("Sleep", Self::Sleep),
        ("Qpathinfo", Self::QueryPath),
        ("Qfileinfo", Self::QueryFile),
        ("Qfsinfo", Self::QueryFs),
        ("Sfileinfo", Self::SetFile),
        ("Find", Self::FindFirst),
    ];

    fn named(word: &[u8]) -> Result<Self, String> {
        let found = Self::NAMES.iter().find(|(name, _)| name.as_bytes() == word);
        found.map(|(_, operation)| *operation).ok_or_else(|| {
            let names: Vec<&str> = Self::NAMES.iter().map(|(name, _)| *name).collect();
            format!("unknown operation '{}'; expected one of {}", shown(word), names.join(", "))
        })
    }
}

/// How an operation ended when it was recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It did what it should.
    Done,
    /// It was refused.
    Failed,
}

/// A line that says something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// What was done.
    pub operation: Operation,
    /// To what.
    arguments: Vec<&'a [u8]>,
    /// How it ended.
    pub outcome: Outcome,
}

impl<'a> Line<'a> {
    /// Takes a line apart; none if it says nothing.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn parse(line: &'a [u8]) -> Result<Option<Self>, String> {
        let mut words = split(line)?;
        if words.first().is_some_and(|word| is_time(word)) {
            words.remove(0);
        }
        let Some(first) = words.first().filter(|word| !word.starts_with(b"#")) else { return Ok(None) };
        let operation = Operation::named(first)?;
        let status = if words.len() > 1 { words.pop() } else { None };
        let status = status.ok_or("it has no status; expected NT_STATUS_... at the end")?;
        words.remove(0);
        Ok(Some(Self { operation, arguments: words, outcome: outcome(status)? }))
    }

    /// An argument that is a name, counted from 0.
    ///
    /// # Errors
    ///
    /// If there is none.
    pub fn name(&self, place: usize) -> Result<&'a [u8], String> {
        let word = self.arguments.get(place).copied();
        word.ok_or_else(|| format!("argument {} is missing; expected a name", place + 1))
    }

    /// An argument that is a number, counted from 0.
    ///
    /// # Errors
    ///
    /// If there is none.
    pub fn number(&self, place: usize) -> Result<u64, String> {
        let word = self.arguments.get(place).copied();
        let word = word.ok_or_else(|| format!("argument {} is missing; expected a number", place + 1))?;
        number(word).ok_or_else(|| format!("argument {} is '{}'; expected a number", place + 1, shown(word)))
    }
}

fn split(line: &[u8]) -> Result<Vec<&[u8]>, String> {
    let mut words = vec![];
    let mut rest = line.trim_ascii();
    while let Some(first) = rest.first() {
        let (word, after) = if *first == b'"' {
            let end = rest[1..].iter().position(|byte| *byte == b'"');
            let end = end.ok_or("a quotation mark is not closed")?;
            (&rest[1..=end], &rest[end + 2..])
        } else {
            let end = rest.iter().position(u8::is_ascii_whitespace).unwrap_or(rest.len());
            rest.split_at(end)
        };
        words.push(word);
        rest = after.trim_ascii_start();
    }
    Ok(words)
}

/// Whether a word is the time of an operation: a decimal number, perhaps with a fraction.
fn is_time(word: &[u8]) -> bool {
    word.first().is_some_and(u8::is_ascii_digit)
        && word.iter().all(|byte| byte.is_ascii_digit() || *byte == b'.')
}

fn outcome(status: &[u8]) -> Result<Outcome, String> {
    match (status, status.strip_prefix(b"0x").and_then(|_| number(status))) {
        (b"NT_STATUS_OK", _) | (_, Some(0)) => Ok(Outcome::Done),
        (_, Some(_)) => Ok(Outcome::Failed),
        _ if status.starts_with(b"NT_STATUS_") => Ok(Outcome::Failed),
        _ => Err(format!("it ends in '{}'; expected a status, such as NT_STATUS_OK", shown(status))),
    }
}

fn number(word: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(word).ok()?;
    match text.strip_prefix("0x") {
        Some(digits) if digits.starts_with(|first: char| first.is_ascii_hexdigit()) => {
            u64::from_str_radix(digits, 16).ok()
        }
        Some(_) => None,
        None if text.starts_with(|first: char| first.is_ascii_digit()) => text.parse().ok(),
        None => None,
    }
}

/// A word as it is shown in errors: at most 40 bytes of it, nothing that would disturb a terminal.
fn shown(word: &[u8]) -> String {
    let cut = &word[..word.len().min(40)];
    let more = if cut.len() < word.len() { "..." } else { "" };
    format!("{}{more}", cut.escape_ascii())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn wrong(line: &[u8]) -> String {
        Line::parse(line).expect_err("it is wrong")
    }

    #[test]
    fn lines_are_taken_apart() {
        let parse = |line: &'static [u8]| Line::parse(line).expect("it is right");
        let write = parse(b"WriteX 9938 65534 0x10 1 NT_STATUS_OK\r\n").expect("it says something");
        assert_eq!((write.operation, write.outcome), (Operation::WriteX, Outcome::Done));
        assert_eq!([0, 1, 2, 3].map(|place| write.number(place)), [Ok(9938), Ok(65534), Ok(16), Ok(1)]);
        let find =
            parse(b"12.25 FIND_FIRST \"\\a b\\*\" 260 NT_STATUS_NO_SUCH_FILE").expect("it says something");
        assert_eq!((find.name(0), find.outcome), (Ok(&b"\\a b\\*"[..]), Outcome::Failed));
        let hexadecimal = |line| parse(line).expect("it says something").outcome;
        assert_eq!(hexadecimal(b"Close 1 0x00000000"), Outcome::Done);
        assert_eq!(hexadecimal(b"Close 1 0xc0000034"), Outcome::Failed);
        assert_eq!(parse(b""), None);
        assert_eq!(parse(b" \t\r\n"), None);
        assert_eq!(parse(b"# a remark"), None);
        assert_eq!(parse(b"17.5"), None);
    }

    #[test]
    fn wrong_lines_say_what_is_wrong() {
        assert!(
            wrong(b"Foo 1 NT_STATUS_OK")
                .starts_with("unknown operation 'Foo'; expected one of NTCreateX, Close")
        );
        assert!(wrong(b"\x1b[2J").starts_with("unknown operation '\\x1b[2J'"));
        assert_eq!(wrong(b"Close"), "it has no status; expected NT_STATUS_... at the end");
        assert_eq!(wrong(b"Close 7"), "it ends in '7'; expected a status, such as NT_STATUS_OK");
        assert_eq!(wrong(b"Unlink \"\\a NT_STATUS_OK"), "a quotation mark is not closed");
        let close = Line::parse(b"Close x NT_STATUS_OK").expect("it is a line").expect("it says something");
        assert_eq!(close.number(0), Err("argument 1 is 'x'; expected a number".into()));
        assert_eq!(close.number(1), Err("argument 2 is missing; expected a number".into()));
        assert_eq!(close.name(1), Err("argument 2 is missing; expected a name".into()));
        for word in ["", "-1", "+1", "0x", "0x+1", "1x", "18446744073709551616"] {
            assert_eq!(number(word.as_bytes()), None, "{word}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_line_or_an_error(line in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = Line::parse(&line);
        }
    }
}
