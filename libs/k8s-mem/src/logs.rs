//! Container logs: CRI lines (`<RFC 3339 time> <stdout|stderr> <F|P> <text>`) in memory or in a file, and who reads them.
//!
//! `F` ends a line, `P` is a piece of one. Readers are woken by a bell; nobody polls.

use std::collections::{HashMap, VecDeque};
use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use tokio::sync::watch;

enum Place {
    Memory(Mutex<Vec<u8>>),
    File(PathBuf),
}

/// The log of one container.
pub(crate) struct Log {
    place: Place,
    /// Rings on every write; `true`: nothing more will come.
    ended: watch::Sender<bool>,
}

impl Log {
    pub fn in_memory() -> Arc<Self> {
        Arc::new(Self { place: Place::Memory(Mutex::default()), ended: watch::Sender::new(false) })
    }

    pub fn in_file(path: PathBuf) -> Arc<Self> {
        Arc::new(Self { place: Place::File(path), ended: watch::Sender::new(false) })
    }

    /// Adds a line to a log in memory.
    pub fn write_line(&self, at: Timestamp, text: &str) {
        if let Place::Memory(bytes) = &self.place {
            let line = format!("{} stdout F {text}\n", nanos(at));
            bytes.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(line.as_bytes());
        }
        self.ring();
    }

    /// Tells readers that something was written.
    pub fn ring(&self) {
        self.ended.send_modify(|_| {});
    }

    /// Tells readers that nothing more will come.
    pub fn end(&self) {
        self.ended.send_replace(true);
    }

    pub fn subscribe(&self) -> watch::Receiver<bool> {
        self.ended.subscribe()
    }

    /// Opens the log for reading from its start. A reader outlives the removal of the log.
    pub fn open(self: &Arc<Self>) -> std::io::Result<Reader> {
        let file = match &self.place {
            Place::Memory(_) => None,
            Place::File(path) => match std::fs::File::open(path) {
                Ok(file) => Some(file),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
                Err(error) => return Err(error),
            },
        };
        Ok(Reader { log: self.clone(), file, offset: 0, partial: Vec::new() })
    }
}

/// The instant as CRI logs write it: RFC 3339 with nine digits.
pub(crate) fn nanos(at: Timestamp) -> String {
    format!("{at:.9}")
}

/// One CRI line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    pub at: String,
    pub whole: bool,
    pub text: Vec<u8>,
}

fn parse(line: &[u8]) -> Option<Record> {
    let mut parts = line.splitn(4, |b| *b == b' ');
    let at = String::from_utf8(parts.next()?.to_vec()).ok()?;
    let _stream = parts.next()?;
    let whole = parts.next()? == b"F";
    Some(Record { at, whole, text: parts.next().unwrap_or_default().to_vec() })
}

/// Reads a log piece by piece.
pub(crate) struct Reader {
    log: Arc<Log>,
    file: Option<std::fs::File>,
    offset: u64,
    partial: Vec<u8>,
}

impl Reader {
    /// What has been written since the last call, up to a limit; empty when there is nothing new.
    pub fn read(&mut self) -> std::io::Result<Vec<Record>> {
        loop {
            let piece = self.piece()?;
            if piece.is_empty() {
                return Ok(Vec::new());
            }
            self.offset += piece.len() as u64;
            self.partial.extend_from_slice(&piece);
            let Some(end) = self.partial.iter().rposition(|b| *b == b'\n') else { continue };
            let rest = self.partial.split_off(end + 1);
            let whole = std::mem::replace(&mut self.partial, rest);
            return Ok(whole.split(|b| *b == b'\n').filter_map(parse).collect());
        }
    }

    fn piece(&mut self) -> std::io::Result<Vec<u8>> {
        const LIMIT: usize = 64 * 1024;
        match &self.log.place {
            Place::Memory(bytes) => {
                let bytes = bytes.lock().unwrap_or_else(PoisonError::into_inner);
                let from = usize::try_from(self.offset).unwrap_or(usize::MAX).min(bytes.len());
                Ok(bytes[from..bytes.len().min(from + LIMIT)].to_vec())
            }
            Place::File(path) => {
                if self.file.is_none() {
                    // the shim makes the file when the command starts
                    self.file = std::fs::File::open(path).ok();
                }
                let Some(file) = &mut self.file else { return Ok(Vec::new()) };
                file.seek(SeekFrom::Start(self.offset))?;
                let mut piece = Vec::new();
                file.take(LIMIT as u64).read_to_end(&mut piece)?;
                Ok(piece)
            }
        }
    }
}

/// The last `lines` lines of what a reader still has to give; pieces of a line stay together.
pub(crate) fn tail(reader: &mut Reader, lines: usize) -> std::io::Result<Vec<Record>> {
    let mut kept: VecDeque<Vec<Record>> = VecDeque::new();
    let mut open = false;
    loop {
        let records = reader.read()?;
        if records.is_empty() {
            return Ok(kept.into_iter().flatten().collect());
        }
        for record in records {
            let whole = record.whole;
            match kept.back_mut().filter(|_| open) {
                Some(line) => line.push(record),
                None => kept.push_back(vec![record]),
            }
            open = !whole;
            if kept.len() > lines {
                kept.pop_front();
            }
        }
    }
}

/// The logs of all Pods that have any, by the Pod's uid and the container's name.
#[derive(Default)]
pub(crate) struct Logs(Mutex<HashMap<String, HashMap<String, Arc<Log>>>>);

impl Logs {
    pub fn add(&self, pod: &str, container: &str, log: Arc<Log>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.entry(pod.to_owned()).or_default().insert(container.to_owned(), log);
    }

    pub fn get(&self, pod: &str, container: &str) -> Option<Arc<Log>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(pod)?.get(container).cloned()
    }

    /// Ends and forgets a Pod's logs.
    pub fn remove(&self, pod: &str) {
        let gone = self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(pod);
        gone.into_iter().flatten().for_each(|(_, log)| log.end());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_keeps_pieces_of_a_line_together() {
        let log = Log::in_memory();
        let Place::Memory(bytes) = &log.place else { unreachable!() };
        bytes.lock().unwrap().extend_from_slice(
            b"t1 stdout F one\nt2 stdout P tw\nt3 stdout F o\nt4 stderr F three\nt5 stdout P la",
        );
        let texts = |records: Vec<Record>| {
            records.into_iter().map(|r| String::from_utf8(r.text).unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(texts(tail(&mut log.open().unwrap(), 2).unwrap()), ["tw", "o", "three"]);
        assert_eq!(texts(tail(&mut log.open().unwrap(), 0).unwrap()), Vec::<String>::new());
        let mut reader = log.open().unwrap();
        assert_eq!(reader.read().unwrap().len(), 4, "an unfinished record is not shown yet");
        bytes.lock().unwrap().extend_from_slice(b"st\n");
        assert_eq!(texts(reader.read().unwrap()), ["last"]);
    }
}
