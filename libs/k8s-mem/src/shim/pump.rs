//! From a command's pipes into the log file, line by line with the time, as soon as it is written.

use std::fs::File;
use std::io::{Read, Write};
use std::process::Child;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use jiff::Timestamp;

use super::Bell;
use crate::logs::nanos;

/// The two pumps of a command.
pub(super) struct Pumps(mpsc::Receiver<()>);

impl Pumps {
    /// Waits until all that was written is in the log. Bounded: a process could have passed its pipe to a stranger.
    pub fn finish(self) {
        for _ in 0..2 {
            let _ = self.0.recv_timeout(Duration::from_secs(2));
        }
    }
}

pub(super) fn start(child: &mut Child, log: &File, bell: &Arc<Bell>) -> Result<Pumps, String> {
    let (done, waits) = mpsc::channel();
    let pump = |from: Option<Box<dyn Read + Send>>, name: &'static str| -> Result<(), String> {
        let from = from.ok_or("the command has no pipes")?;
        let log = log.try_clone().map_err(|e| format!("opening the log: {e}"))?;
        let (bell, done) = (bell.clone(), done.clone());
        std::thread::spawn(move || {
            copy(from, log, name, &bell);
            let _ = done.send(());
        });
        Ok(())
    };
    pump(child.stdout.take().map(|p| Box::new(p) as Box<dyn Read + Send>), "stdout")?;
    pump(child.stderr.take().map(|p| Box::new(p) as Box<dyn Read + Send>), "stderr")?;
    Ok(Pumps(waits))
}

fn copy(mut from: Box<dyn Read + Send>, mut log: File, name: &str, bell: &Bell) {
    let mut piece = vec![0; 16 * 1024];
    loop {
        let read = match from.read(&mut piece) {
            Ok(0) => return,
            Ok(read) => read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(_) => return,
        };
        let now = nanos(Timestamp::now());
        // one write a piece: the two streams share the file and must not cut into each other's lines
        let mut records = Vec::with_capacity(read + 64);
        for line in piece[..read].split_inclusive(|b| *b == b'\n') {
            let (text, tag) = match line.strip_suffix(b"\n") {
                Some(text) => (text, 'F'),
                None => (line, 'P'),
            };
            records.extend_from_slice(format!("{now} {name} {tag} ").as_bytes());
            records.extend_from_slice(text);
            records.push(b'\n');
        }
        // a full disk must not stop the command: its output is drained and lost
        let _ = log.write_all(&records);
        bell.say("log");
    }
}
