//! What callers were answered, one JSON object a line, as they write it down: `{"name": …, "uid": …, "request_id": …}` (`job`
//! is read as `name`; more is not read).

use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::time::Duration;

use super::{Input, Sink};
use crate::observation::{Acknowledged, Observation};

/// How often it is looked for more.
const EVERY: Duration = Duration::from_millis(50);

/// Follows the file, which may come later, for ever.
pub async fn follow(path: PathBuf, sink: Sink) {
    let (mut at, mut rest) = (0, Vec::new());
    loop {
        if let Ok(more) = after(&path, at) {
            at += more.len() as u64;
            rest.extend(more);
            while let Some(end) = rest.iter().position(|b| *b == b'\n') {
                let line: Vec<u8> = rest.drain(..=end).collect();
                match serde_json::from_slice::<Acknowledged>(&line) {
                    Ok(ack) => sink.saw(Observation::Acknowledged(ack)).await,
                    Err(error) => {
                        let line = String::from_utf8_lossy(&line).into_owned();
                        sink.send(Input::Trouble(format!("{}: {error}: {line}", path.display()))).await;
                    }
                }
            }
        }
        tokio::time::sleep(EVERY).await;
    }
}

fn after(path: &PathBuf, at: u64) -> std::io::Result<Vec<u8>> {
    let mut file = std::fs::File::open(path)?;
    file.seek(SeekFrom::Start(at))?;
    let mut more = Vec::new();
    file.take(4 << 20).read_to_end(&mut more)?;
    Ok(more)
}
