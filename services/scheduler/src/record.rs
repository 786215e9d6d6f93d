//! A recording of what the engine was given and what it decided: `crater replay --recording` decides it again.
//!
//! JSON, one value a line: a header, then a frame for each cycle. Whole lines are written, so that what a crash cut off ends between two cycles.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crater_engine::recording::{Frame, Header};
use crater_engine::{Plan, Snapshot};
use serde::Serialize;

/// Files of one name that are there already are passed by, up to so many.
const FILES: usize = 10_000;

/// An open recording.
pub struct Recorder {
    file: File,
    before: Snapshot,
}

impl Recorder {
    /// Begins a recording in a new file: `path`, or if that is there `path.1`, `path.2` and so on. Answers which.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn create(path: &Path) -> io::Result<(Self, PathBuf)> {
        for number in 0..FILES {
            let mut name = path.as_os_str().to_owned();
            if number > 0 {
                name.push(format!(".{number}"));
            }
            match OpenOptions::new().write(true).create_new(true).open(&name) {
                Ok(file) => {
                    let mut recorder = Self { file, before: Snapshot::default() };
                    recorder.line(&Header::default())?;
                    return Ok((recorder, name.into()));
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::other("there are too many recordings of that name"))
    }

    /// Adds a cycle.
    ///
    /// # Errors
    /// When it cannot be written; the recording is of no use behind that.
    pub fn cycle(&mut self, snapshot: &Snapshot, plan: &Plan) -> io::Result<()> {
        self.line(&Frame::between(&self.before, snapshot, plan))?;
        self.before.clone_from(snapshot);
        Ok(())
    }

    fn line(&mut self, what: &impl Serialize) -> io::Result<()> {
        let mut line = serde_json::to_vec(what)?;
        line.push(b'\n');
        self.file.write_all(&line)
    }
}
