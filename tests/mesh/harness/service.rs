//! One service as a process: started, asked for its health, killed, started again in the same place.

use std::fs::OpenOptions;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tonic::transport::Endpoint;
use tonic_health::ServingStatus;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use super::{PATIENCE, promised, run, until};

/// A port that nobody listens on. It is none of those that the system gives to whoever asks for any, so it stays free while
/// its service is killed and started again.
pub fn free_port() -> u16 {
    const FIRST: u16 = 12_000;
    const MANY: u16 = 18_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = std::process::id() * 61;
    loop {
        let next = u32::from(NEXT.fetch_add(1, Ordering::SeqCst));
        let port = FIRST + u16::try_from((start + next) % u32::from(MANY)).unwrap();
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// A service that may be running.
pub struct Service {
    /// What it is called here.
    pub label: String,
    /// Where it listens on loopback.
    pub port: u16,
    command: Mutex<Command>,
    child: Mutex<Option<Child>>,
    log: PathBuf,
}

impl Service {
    /// Not started yet.
    pub fn new(label: &str, port: u16, mut command: Command, log: PathBuf) -> Self {
        command.stdin(Stdio::null());
        Self { label: label.to_owned(), port, command: Mutex::new(command), child: Mutex::default(), log }
    }

    /// Starts it and waits for nothing.
    pub fn start(&self) {
        let log = || OpenOptions::new().create(true).append(true).open(&self.log).unwrap();
        let mut child = self.child.lock().unwrap();
        assert!(child.is_none(), "{} runs already", self.label);
        let mut command = self.command.lock().unwrap();
        *child = Some(command.stdout(log()).stderr(log()).spawn().unwrap());
    }

    /// Waits until it says that it serves, at most as long as promised; returns how long that took.
    pub fn ready(&self, limit: Duration) -> Duration {
        let start = Instant::now();
        let limit = promised(limit);
        until(&format!("{} is ready", self.label), limit, || {
            if let Some(child) = self.child.lock().unwrap().as_mut()
                && let Some(status) = child.try_wait().unwrap()
            {
                panic!("{} ended: {status}\n{}", self.label, self.log());
            }
            self.serves("").then_some(())
        });
        start.elapsed()
    }

    /// What its health says of one of its gRPC services, or of all of it.
    pub fn serves(&self, service: &str) -> bool {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let request = HealthCheckRequest { service: service.to_owned() };
        runtime.block_on(async {
            let endpoint = Endpoint::from_shared(format!("http://127.0.0.1:{}", self.port)).unwrap();
            let Ok(channel) = endpoint.timeout(Duration::from_secs(2)).connect().await else { return false };
            let answer = HealthClient::new(channel).check(request).await;
            answer.is_ok_and(|a| a.into_inner().status == ServingStatus::Serving as i32)
        })
    }

    /// Sets a variable for the next start.
    pub fn set(&self, variable: &str, value: &str) {
        self.command.lock().unwrap().env(variable, value);
    }

    /// Waits until its page of what it lacks has these words.
    pub fn says(&self, limit: Duration, words: &str) {
        let url = format!("http://127.0.0.1:{}/readyz", self.port);
        until(&format!("{} says {words:?}", self.label), limit, || {
            let page =
                run(Command::new("curl").args(["--silent", "--max-time", "2", &url]), "", PATIENCE).out;
            page.contains(words).then_some(())
        });
    }

    /// SIGKILL: it does not run another instruction.
    pub fn kill(&self) {
        if let Some(mut child) = self.child.lock().unwrap().take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        let child = self.child.lock().unwrap();
        let pid = child.as_ref().unwrap().id();
        kill(Pid::from_raw(i32::try_from(pid).unwrap()), signal).unwrap();
    }

    /// SIGTERM; how it ended.
    pub fn terminate(&self) -> ExitStatus {
        self.signal(Signal::SIGTERM);
        let mut child = self.child.lock().unwrap().take().unwrap();
        until(&format!("the end of {} after SIGTERM", self.label), PATIENCE, || child.try_wait().unwrap())
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let tail = &lines[lines.len().saturating_sub(15)..];
            eprintln!("---- the end of {}'s log\n{}", self.label, tail.join("\n"));
        }
    }
}
