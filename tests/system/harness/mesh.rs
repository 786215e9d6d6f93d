//! A running `crater up`: a folder of its own, free ports, and an end with the test.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use super::program::{LOG, PASSWORD, Turn, command};
use super::{Api, Cli, PATIENCE, until};

/// The mesh. Dropped, it is killed; if the test failed, the end of its log is printed.
pub struct Mesh {
    args: Vec<String>,
    environment: Vec<(String, String)>,
    folder: TempDir,
    child: Option<Child>,
    /// Where the gateway listens: `http://127.0.0.1:PORT`.
    pub url: String,
    /// For kubectl.
    pub kubeconfig: PathBuf,
    _turn: Turn,
}

impl Mesh {
    /// Starts one that runs commands here, on an empty folder, with these further flags.
    pub fn up(args: &[&str]) -> Self {
        Self::up_with(&[args, &["--run-local"]].concat(), &[])
    }

    /// Starts one that only plays its jobs.
    pub fn played(args: &[&str]) -> Self {
        Self::up_with(args, &[])
    }

    /// Starts one with these flags and these further variables.
    pub fn up_with(args: &[&str], environment: &[(&str, &str)]) -> Self {
        let turn = Turn::take();
        let mut mesh = Self {
            args: args.iter().map(|&a| a.to_owned()).collect(),
            environment: environment.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect(),
            folder: tempfile::Builder::new().prefix("crater-test-").tempdir().unwrap(),
            child: None,
            url: String::new(),
            kubeconfig: PathBuf::new(),
            _turn: turn,
        };
        mesh.start();
        mesh
    }

    /// The command that starts it; `--listen` and `--kube-listen` may be given again by `args`.
    pub fn command(data: &Path, args: &[&str]) -> Command {
        let mut command = command();
        command.arg("up").arg("--data").arg(data);
        for flag in ["--listen", "--kube-listen"] {
            if !args.contains(&flag) {
                command.args([flag, "127.0.0.1:0"]);
            }
        }
        command.args(args).stdin(Stdio::null());
        command.env("CRATER_ADMIN_PASSWORD", PASSWORD).env("CRATER_LOG", LOG);
        command
    }

    /// Starts it on the same folder and waits until it says that it is up.
    pub fn start(&mut self) {
        let args: Vec<&str> = self.args.iter().map(String::as_str).collect();
        let log = |name: &str| {
            OpenOptions::new().create(true).append(true).open(self.folder.path().join(name)).unwrap()
        };
        let banner = self.folder.path().join("banner");
        let mut command = Self::command(&self.data(), &args);
        command.envs(self.environment.iter().cloned());
        command.stdout(File::create(&banner).unwrap()).stderr(log("log"));
        self.child = Some(command.spawn().unwrap());
        let (url, kubeconfig) = until("the mesh's banner", PATIENCE, || {
            if let Some(status) = self.child.as_mut().unwrap().try_wait().unwrap() {
                panic!("the mesh ended while starting: {status}");
            }
            let text = std::fs::read_to_string(&banner).unwrap();
            let word_after = |mark: &str| {
                let rest = text[text.find("Crater is up.")?..].split_once(mark)?.1;
                // the line must be whole
                rest.contains('\n').then(|| rest.split_whitespace().next().unwrap_or_default().to_owned())
            };
            Some((word_after("console ")?, word_after("--kubeconfig ")?))
        });
        self.url = url.trim_end_matches('/').to_owned();
        self.kubeconfig = kubeconfig.into();
    }

    /// The folder that it keeps its data in.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// A file for a test's programs, next to the mesh's folder.
    pub fn file(&self, name: &str) -> PathBuf {
        let folder = self.folder.path().join("files");
        std::fs::create_dir_all(&folder).unwrap();
        folder.join(name)
    }

    /// Writes such a file and returns its path as text.
    pub fn write(&self, name: &str, text: &str) -> String {
        let path = self.file(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// `127.0.0.1:PORT` of the gateway.
    pub fn address(&self) -> &str {
        self.url.split_once("://").unwrap().1
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// The command line, signed in as `admin`.
    pub fn cli(&self) -> Cli {
        Cli::sign_in(&self.url, "admin", PASSWORD)
    }

    /// The RPCs, signed in as `admin`.
    pub fn api(&self) -> Api {
        Api::sign_in(&self.url, "admin", PASSWORD)
    }

    /// SIGKILL: nothing of the mesh runs another instruction.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// SIGTERM; returns how it ended and how long that took.
    pub fn terminate(&mut self) -> (std::process::ExitStatus, Duration) {
        let mut child = self.child.take().unwrap();
        let start = Instant::now();
        kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), Signal::SIGTERM).unwrap();
        let status = until("the end of the mesh after SIGTERM", PATIENCE, || child.try_wait().unwrap());
        (status, start.elapsed())
    }
}

impl Drop for Mesh {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let tail = &lines[lines.len().saturating_sub(40)..];
            eprintln!("---- the end of the mesh's log\n{}\n----", tail.join("\n"));
        }
    }
}
