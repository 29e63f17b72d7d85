//! The reading of a file line by line, with a limit for the length of a line and a limit for the number of bytes.
//!
//! The limits bound the memory and the time of a reading, because another program may have written the file. Only the
//! beginning of a line that is too long is kept. Only the end of a file that is too long is read.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};

/// The result of a reading to the end of a file.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct End {
    /// The offset behind the last byte that was read.
    pub(super) length: u64,
    /// The offset behind the last complete line.
    pub(super) whole: u64,
    /// True if the last line has no line break, for example because the writer was killed.
    pub(super) is_torn: bool,
}

/// Reads the lines from an offset on. If more than `most` bytes follow the offset, reads only the last `most` bytes of
/// the file, and skips the first line of these bytes, because the beginning of that line may be missing. Calls `read`
/// with each line, and with a flag that is true if the line is complete. Returns the end of the part that was read.
pub(super) fn each_line(file: &mut File, offset: u64, most: u64, read: impl FnMut(&[u8], bool)) -> io::Result<End> {
    // The file may grow during the reading. The bytes behind this length are read by the next reading.
    let length = file.metadata()?.len();
    let begin = offset.max(length.saturating_sub(most));
    file.seek(SeekFrom::Start(begin))?;
    let reader = BufReader::new(file.take(length.saturating_sub(begin)));
    lines(reader, begin, begin > offset, read)
}

/// Reads the lines of a reader. If `is_within` is true, the reader begins within a line, and the rest of this line is
/// skipped.
fn lines(
    mut reader: impl BufRead,
    begin: u64,
    mut is_within: bool,
    mut read: impl FnMut(&[u8], bool),
) -> io::Result<End> {
    let mut end = End { length: begin, whole: begin, is_torn: false };
    let mut line = Vec::new();
    loop {
        let bytes = match reader.fill_buf() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            filled => filled?,
        };
        if bytes.is_empty() {
            break;
        }
        let length = bytes.iter().position(|byte| *byte == b'\n');
        let part = &bytes[..length.unwrap_or(bytes.len())];
        line.extend_from_slice(&part[..part.len().min(LONGEST - line.len())]);
        let consumed = part.len() + usize::from(length.is_some());
        end.length += consumed as u64;
        end.is_torn = length.is_none();
        if !end.is_torn {
            end.whole = end.length;
            if !std::mem::take(&mut is_within) {
                read(&line, true);
            }
            line.clear();
        }
        reader.consume(consumed);
    }
    if end.is_torn && !is_within {
        read(&line, false);
    }
    Ok(end)
}

/// The longest line that is kept, in bytes. The longest row of the audit that this crate writes has a tenth of this
/// length.
const LONGEST: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &[u8], is_within: bool) -> (Vec<(String, bool)>, End) {
        let mut found = Vec::new();
        let keep = |line: &[u8], is_whole| found.push((String::from_utf8(line.to_vec()).unwrap(), is_whole));
        // The buffer is small, so that lines span several readings.
        let end = lines(BufReader::with_capacity(3, text), 10, is_within, keep).unwrap();
        (found, end)
    }

    #[test]
    fn lines_are_split_and_the_torn_end_is_marked() {
        let line = |text: &str, is_whole| (text.to_owned(), is_whole);
        assert_eq!(all(b"", false), (vec![], End { length: 10, whole: 10, is_torn: false }));
        let expected = vec![line("one", true), line("", true), line("three", true), line("fo", false)];
        assert_eq!(all(b"one\n\nthree\nfo", false), (expected, End { length: 23, whole: 21, is_torn: true }));
        let expected = vec![line("three", true)];
        assert_eq!(all(b"wo\nthree\n", true), (expected, End { length: 19, whole: 19, is_torn: false }));
        assert_eq!(all(b"middle", true), (vec![], End { length: 16, whole: 10, is_torn: true }));
    }

    #[test]
    fn a_line_of_200_megabytes_needs_no_more_memory_than_its_bound() {
        let endless = BufReader::new(io::repeat(b'x').take(200_000_000)).chain(&b"\nnext\n"[..]);
        let mut lengths = Vec::new();
        let end = lines(endless, 0, false, |line, _| lengths.push(line.len())).unwrap();
        assert_eq!((lengths, end.whole), (vec![LONGEST, 4], 200_000_006));
    }
}
