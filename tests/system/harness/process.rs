//! Programs that are run to their end, and programs whose lines are read while they run.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How a program ended and what it wrote.
#[derive(Debug)]
pub struct Ended {
    /// Its exit code; -1 when a signal ended it.
    pub code: i32,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Ended {
    /// Standard output of a program that did what it was asked.
    pub fn ok(self) -> String {
        assert_eq!(self.code, 0, "{self:#?}");
        self.out
    }

    /// The lines of standard output of a program that did what it was asked.
    pub fn lines(self) -> Vec<String> {
        self.ok().lines().map(str::to_owned).collect()
    }
}

/// Runs a program to its end; one that takes longer than `limit` is killed and the test fails.
pub fn run(command: &mut Command, input: &str, limit: Duration) -> Ended {
    let shown = format!("{command:?}");
    let mut child = spawn(command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()));
    // a program that does not read its input is no failure of the test
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let (out, err) = (collect(child.stdout.take().unwrap()), collect(child.stderr.take().unwrap()));
    let code = wait(&mut child, limit, &shown);
    Ended { code, out: out.join().unwrap(), err: err.join().unwrap() }
}

fn spawn(command: &mut Command) -> Child {
    command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

fn collect(mut pipe: impl Read + Send + 'static) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        pipe.read_to_end(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

fn wait(child: &mut Child, limit: Duration, shown: &str) -> i32 {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code().unwrap_or(-1);
        }
        if start.elapsed() > limit {
            child.kill().unwrap();
            panic!("not done after {limit:?}: {shown}");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A program whose lines are read while it runs. Dropped, it is killed.
pub struct Follower {
    child: Child,
    shown: String,
    lines: Receiver<String>,
    err: Option<JoinHandle<String>>,
    /// All lines read so far.
    pub seen: Vec<String>,
}

impl Follower {
    /// Starts it.
    pub fn start(command: &mut Command) -> Self {
        let shown = format!("{command:?}");
        let mut child = spawn(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()));
        let (send, lines) = channel();
        let out = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            // the test may have stopped listening
            let _ = out.lines().map_while(Result::ok).try_for_each(|line| send.send(line));
        });
        let err = Some(collect(child.stderr.take().unwrap()));
        Self { child, shown, lines, err, seen: Vec::new() }
    }

    /// Reads on until a line is as wanted, and returns it.
    pub fn until(&mut self, what: &str, limit: Duration, wanted: impl Fn(&str) -> bool) -> String {
        let start = Instant::now();
        loop {
            match self.lines.recv_timeout(limit.saturating_sub(start.elapsed())) {
                Ok(line) => {
                    self.seen.push(line.clone());
                    if wanted(&line) {
                        return line;
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    panic!("waited {limit:?} in vain for {what} of {}; it wrote {:#?}", self.shown, self.seen)
                }
                Err(RecvTimeoutError::Disconnected) => {
                    let _ = self.child.kill();
                    let err = self.err.take().map(|e| e.join().unwrap());
                    panic!("{} ended before {what}; it wrote {:#?} and {err:?}", self.shown, self.seen)
                }
            }
        }
    }

    /// Reads to its end. `out` has all lines, those read before included.
    pub fn end(mut self, limit: Duration) -> Ended {
        let code = wait(&mut self.child, limit, &self.shown);
        while let Ok(line) = self.lines.recv() {
            self.seen.push(line);
        }
        let err = self.err.take().map(|e| e.join().unwrap()).unwrap_or_default();
        let out = self.seen.iter().map(|line| format!("{line}\n")).collect();
        Ended { code, out, err }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        // it may have ended by itself
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
