//! Lines of output: out of what a kubelet sends, past what was read before, and into blocks and out of them again.

use std::io::{Read, Write};

use crater_store::job::{LogBlock, LogPlace};
use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use jiff::Timestamp;

/// A longer line is cut into pieces of this many bytes.
pub const LONGEST_LINE: usize = 64 << 10;
/// A time is not longer than this.
const LONGEST_TIME: usize = 40;
/// Before each line in a block: its time in nanoseconds, and how many bytes it has.
const HEADER: usize = 12;

/// Takes a kubelet's text apart, however it comes in pieces. The same text gives the same lines.
#[derive(Debug, Default)]
pub struct Splitter {
    /// The time of the line that is open.
    at: Option<i64>,
    last: i64,
    text: Vec<u8>,
}

impl Splitter {
    /// Gives each line that is complete, with its time in nanoseconds since 1970.
    pub fn feed(&mut self, piece: &[u8], mut each: impl FnMut(i64, &[u8])) {
        for part in piece.split_inclusive(|b| *b == b'\n') {
            let (part, whole) = part.strip_suffix(b"\n").map_or((part, false), |part| (part, true));
            self.text.extend_from_slice(part);
            self.read_time(whole);
            let Some(at) = self.at else { continue };
            let mut given = 0;
            while self.text.len() - given > LONGEST_LINE {
                each(at, &self.text[given..given + LONGEST_LINE]);
                given += LONGEST_LINE;
            }
            self.text.drain(..given);
            if whole {
                each(at, &self.text);
                self.close();
            }
        }
    }

    /// The last line may lack its end.
    pub fn finish(&mut self, mut each: impl FnMut(i64, &[u8])) {
        self.read_time(true);
        if let Some(at) = self.at.filter(|_| !self.text.is_empty()) {
            each(at, &self.text);
        }
        self.close();
    }

    fn close(&mut self) {
        self.text.clear();
        self.at = None;
    }

    fn read_time(&mut self, whole: bool) {
        if self.at.is_some() || (self.text.is_empty() && !whole) {
            return;
        }
        let end = self.text.iter().take(LONGEST_TIME).position(|b| *b == b' ');
        if end.is_none() && !whole && self.text.len() < LONGEST_TIME {
            return;
        }
        let head = &self.text[..end.unwrap_or(self.text.len()).min(LONGEST_TIME)];
        let time = std::str::from_utf8(head).ok().and_then(|t| t.parse::<Timestamp>().ok());
        match time.and_then(|t| i64::try_from(t.as_nanosecond()).ok()) {
            Some(ns) => {
                let header = (head.len() + 1).min(self.text.len());
                self.text.drain(..header);
                self.last = ns;
                self.at = Some(ns);
            }
            // no kubelet leaves the time out; should one, the line is not lost
            None => self.at = Some(self.last),
        }
    }
}

/// How far a log was read, over streams that begin a little before.
///
/// Several lines may have the same time, so a place is a time and how many lines of it were read. Times never go back here: two
/// streams of a container may write theirs in the other order.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cursor {
    /// After the last line that was read.
    pub place: LogPlace,
    highest: i64,
    skip: i64,
}

impl Cursor {
    /// Goes on from a place.
    pub fn at(place: LogPlace) -> Self {
        Self { place, highest: 0, skip: place.lines }
    }

    /// The log is read anew, from [`Cursor::since`] on or from an earlier time.
    pub fn again(&mut self) {
        *self = Self::at(self.place);
    }

    /// From when on the log has to be asked for: whole seconds, which is all that the API takes.
    pub fn since(&self) -> Option<Timestamp> {
        let second = self.place.resume_ns.div_euclid(1_000_000_000);
        (self.place.ns != 0).then(|| Timestamp::from_second(second).ok()).flatten()
    }

    /// The time that counts of a line that was not read before; it counts as read from now on.
    pub fn pass(&mut self, ns: i64) -> Option<i64> {
        self.highest = self.highest.max(ns);
        let (ns, place) = (self.highest, &mut self.place);
        if ns < place.ns {
            return None;
        }
        if ns > place.ns {
            self.skip = 0;
            let resume_ns = if place.ns == 0 { ns } else { place.ns };
            *place = LogPlace { ns, lines: 1, resume_ns };
            return Some(ns);
        }
        if self.skip > 0 {
            self.skip -= 1;
            return None;
        }
        place.lines += 1;
        Some(ns)
    }
}

/// Collects lines into a block.
#[derive(Debug, Default)]
pub struct Packer {
    raw: Vec<u8>,
    first_ns: Option<i64>,
    last_ns: i64,
    lines: i64,
    text: usize,
}

impl Packer {
    /// Adds a line.
    pub fn push(&mut self, ns: i64, text: &[u8]) {
        self.raw.extend_from_slice(&ns.to_be_bytes());
        self.raw.extend_from_slice(&u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes());
        self.raw.extend_from_slice(text);
        self.first_ns.get_or_insert(ns);
        self.last_ns = ns;
        self.lines += 1;
        self.text += text.len() + 1;
    }

    /// Bytes of text so far.
    pub fn text(&self) -> usize {
        self.text
    }

    /// The block, if there is any line; begins the next.
    pub fn take(&mut self) -> std::io::Result<Option<LogBlock>> {
        let Self { raw, first_ns, last_ns, lines, text } = std::mem::take(self);
        let Some(first_ns) = first_ns else { return Ok(None) };
        let mut gzip = GzEncoder::new(Vec::with_capacity(raw.len() / 4), Compression::fast());
        gzip.write_all(&raw)?;
        let text_bytes = i64::try_from(text).unwrap_or(i64::MAX);
        Ok(Some(LogBlock { sequence: 0, first_ns, last_ns, lines, text_bytes, body: gzip.finish()? }))
    }
}

/// Gives each line of a block's body.
///
/// # Errors
/// The body is no block.
pub fn unpack(body: &[u8], mut each: impl FnMut(i64, &[u8])) -> std::io::Result<()> {
    let mut raw = Vec::new();
    MultiGzDecoder::new(body).read_to_end(&mut raw)?;
    let broken = || std::io::Error::from(std::io::ErrorKind::UnexpectedEof);
    let mut rest = raw.as_slice();
    while !rest.is_empty() {
        let (header, after) = rest.split_at_checked(HEADER).ok_or_else(broken)?;
        let (ns, len) = header.split_at(8);
        let ns = i64::from_be_bytes(ns.try_into().unwrap_or_default());
        let len = u32::from_be_bytes(len.try_into().unwrap_or_default());
        let (text, after) =
            after.split_at_checked(usize::try_from(len).unwrap_or(usize::MAX)).ok_or_else(broken)?;
        each(ns, text);
        rest = after;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000_000;

    fn at(ns: i64) -> String {
        format!("{:.9}", Timestamp::from_nanosecond(ns.into()).unwrap())
    }

    fn lines(splitter: &mut Splitter, pieces: &[&[u8]], end: bool) -> Vec<(i64, String)> {
        let mut all = Vec::new();
        let mut add = |ns, text: &[u8]| all.push((ns, String::from_utf8_lossy(text).into_owned()));
        pieces.iter().for_each(|p| splitter.feed(p, &mut add));
        if end {
            splitter.finish(&mut add);
        }
        all
    }

    #[test]
    fn lines_are_the_same_however_the_text_is_cut() {
        let long = "x".repeat(LONGEST_LINE + 10);
        let text =
            format!("{} one\n{} \n{} {long}\n{} \u{fffd} end", at(1), at(2), at(SECOND), at(2 * SECOND));
        let whole = lines(&mut Splitter::default(), &[text.as_bytes()], true);
        assert_eq!(whole[0], (1, "one".to_owned()));
        assert_eq!(whole[1], (2, String::new()));
        assert_eq!((whole[2].1.len(), whole[3].1.len(), whole[3].0), (LONGEST_LINE, 10, SECOND));
        assert_eq!(whole[4], (2 * SECOND, "\u{fffd} end".to_owned()));
        for size in [1, 7, 29, 4096, LONGEST_LINE] {
            let pieces: Vec<&[u8]> = text.as_bytes().chunks(size).collect();
            assert_eq!(lines(&mut Splitter::default(), &pieces, true), whole, "in pieces of {size}");
        }
    }

    #[test]
    fn a_log_that_is_read_again_gives_only_what_is_new() {
        let mut cursor = Cursor::default();
        // the third was written a little before the second by another stream
        let log = [5, 9, 8, 9, 12, 12];
        let read = |cursor: &mut Cursor, n: usize| log[..n].iter().filter_map(|ns| cursor.pass(*ns)).count();
        assert_eq!(read(&mut cursor, 3), 3);
        assert_eq!(cursor.place, LogPlace { ns: 9, lines: 2, resume_ns: 5 });
        for (n, new) in [(3, 0), (4, 1), (5, 1), (6, 1), (6, 0)] {
            cursor.again();
            assert_eq!(read(&mut cursor, n), new);
        }
        let mut other = Cursor::at(LogPlace { ns: 9, lines: 2, resume_ns: 5 });
        assert_eq!(read(&mut other, 6), 3);
    }

    #[test]
    fn blocks_give_back_what_was_put_in_even_behind_each_other() {
        let mut packer = Packer::default();
        assert!(packer.take().unwrap().is_none());
        packer.push(1, b"\xff\x00 bytes");
        packer.push(2, b"");
        let mut body = packer.take().unwrap().unwrap().body;
        packer.push(3, b"more");
        body.extend(packer.take().unwrap().unwrap().body);
        let mut all = Vec::new();
        unpack(&body, |ns, text| all.push((ns, text.to_vec()))).unwrap();
        assert_eq!(all, [(1, b"\xff\x00 bytes".to_vec()), (2, vec![]), (3, b"more".to_vec())]);
    }
}
