//! Running a Pod's containers as local processes, each under a shim.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{ChildStdin, Command};
use tokio::sync::{mpsc, watch};

use super::News;
use super::env;
use super::ledger::Share;
use super::report::{Life, Outcome};
use crate::api::Api;
use crate::api::object::{self, at, list, text};
use crate::logs::Log;
use crate::shim::{self, Spec, Status};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stop {
    No,
    Terminate,
    Kill,
}

/// The way to a running Pod.
pub(crate) struct Handle {
    stop: watch::Sender<Stop>,
}

impl Handle {
    /// SIGTERM to each container's process group.
    pub fn terminate(&self) {
        self.stop.send_if_modified(|stop| std::mem::replace(stop, (*stop).max(Stop::Terminate)) == Stop::No);
    }

    /// SIGKILL to everything the Pod started.
    pub fn kill(&self) {
        self.stop.send_replace(Stop::Kill);
    }
}

/// The Pod cannot be run here.
pub(crate) struct Refused {
    pub reason: &'static str,
    pub message: String,
}

struct Container {
    shim: PathBuf,
    lock: PathBuf,
    name: String,
    spec: Spec,
    log: Arc<Log>,
}

fn pod_dir(data_dir: &Path, uid: &str) -> PathBuf {
    data_dir.join("pods").join(uid)
}

/// Removes what a Pod left behind.
pub(crate) fn clean(data_dir: &Path, uid: &str) {
    let dir = pod_dir(data_dir, uid);
    if let Err(error) = std::fs::remove_dir_all(&dir)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(dir = %dir.display(), %error, "removing a pod's files");
    }
}

/// Starts a Pod's containers. How it goes is told by `news`.
pub(crate) fn start(
    api: &Arc<Api>,
    data_dir: &Path,
    shim: &Path,
    pod: &Value,
    shares: &[Share],
    news: mpsc::UnboundedSender<News>,
) -> Result<Handle, Refused> {
    let uid = object::uid(pod);
    let dir = pod_dir(data_dir, uid);
    let work = dir.join("work");
    std::fs::create_dir_all(&work).map_err(|e| Refused {
        reason: "CreateContainerError",
        message: format!("making the working directory {}: {e}", work.display()),
    })?;
    let mut containers = Vec::new();
    for container in list(pod, &["spec", "containers"]) {
        let spec = container_spec(api, pod, container, shares, &dir)?;
        let log = Log::in_file(spec.log.clone());
        let name = text(container, &["name"]).to_owned();
        containers.push(Container {
            shim: shim.to_owned(),
            lock: shim::lock_path(data_dir),
            name,
            spec,
            log,
        });
    }
    for container in &containers {
        api.logs.add(uid, &container.name, container.log.clone());
    }
    let stop = watch::Sender::new(Stop::No);
    tokio::spawn(run_pod(api.clone(), uid.to_owned(), containers, stop.subscribe(), news));
    Ok(Handle { stop })
}

fn container_spec(
    api: &Api,
    pod: &Value,
    container: &Value,
    shares: &[Share],
    dir: &Path,
) -> Result<Spec, Refused> {
    let name = text(container, &["name"]);
    let config = |message: String| Refused { reason: "CreateContainerConfigError", message };
    let env = env::environment(&api.store(), pod, container, shares)
        .map_err(|why| config(format!("container {name:?}: {why}")))?;
    let argv = env::command_line(container, &env);
    if list(container, &["command"]).is_empty() {
        let image = text(container, &["image"]);
        let message = format!(
            "image cannot be run here: container {name:?} names image {image:?} and no command to run locally"
        );
        return Err(Refused { reason: "CreateContainerError", message });
    }
    for mount in list(container, &["volumeMounts"]) {
        check_mount(pod, mount).map_err(config)?;
    }
    let cwd = text(container, &["workingDir"]);
    Ok(Spec {
        argv,
        env,
        cwd: if cwd.is_empty() { dir.join("work") } else { PathBuf::from(cwd) },
        log: dir.join(format!("{name}.log")),
        status: dir.join(format!("{name}.status.json")),
    })
}

/// A process sees the machine's files as they are, so a mount works only where it changes nothing.
fn check_mount(pod: &Value, mount: &Value) -> Result<(), String> {
    let (name, path) = (text(mount, &["name"]), text(mount, &["mountPath"]));
    let volume = list(pod, &["spec", "volumes"]).iter().find(|v| text(v, &["name"]) == name);
    let host = volume.map(|v| text(v, &["hostPath", "path"])).unwrap_or_default();
    let same = !host.is_empty() && host == path && text(mount, &["subPath"]).is_empty();
    if same || at(mount, &["mountPath"]).is_none() {
        return Ok(());
    }
    Err(format!(
        "volume {name:?} cannot be mounted at {path:?}: a local process sees only hostPath volumes at their own path"
    ))
}

async fn run_pod(
    api: Arc<Api>,
    uid: String,
    containers: Vec<Container>,
    stop: watch::Receiver<Stop>,
    news: mpsc::UnboundedSender<News>,
) {
    let (started, mut starts) = mpsc::unbounded_channel::<Timestamp>();
    let clock = api.clock.clone();
    let count = containers.len();
    let runs = containers.into_iter().map(|c| run_container(&api, c, stop.clone(), started.clone()));
    let all = futures::future::join_all(runs);
    drop(started);
    let watch_starts = async {
        let (mut seen, mut first) = (0, None);
        while let Some(at) = starts.recv().await {
            seen += 1;
            first = first.or(Some(at));
            if seen == count {
                let _ = news.send(News { uid: uid.clone(), life: Life::Running { since: at } });
            }
        }
        first
    };
    let (outcomes, since) = futures::join!(all, watch_starts);
    let (reason, message) = match outcomes.iter().find(|o| o.reason == "CreateContainerError") {
        Some(o) => (o.reason.clone(), o.message.clone()),
        None => (String::new(), String::new()),
    };
    let life = Life::Ended { since, at: clock.now(), outcomes, reason, message };
    let _ = news.send(News { uid, life });
}

async fn run_container(
    api: &Api,
    container: Container,
    stop: watch::Receiver<Stop>,
    started: mpsc::UnboundedSender<Timestamp>,
) -> Outcome {
    let log = container.log.clone();
    let status = container.spec.status.clone();
    let pid = match drive_shim(api, container, stop, started).await {
        Ok(pid) => pid,
        Err(error) => {
            log.end();
            return Outcome::not_started("CreateContainerError", format!("running the shim: {error}"));
        }
    };
    let read = std::fs::read(&status).ok().and_then(|bytes| serde_json::from_slice::<Status>(&bytes).ok());
    let outcome = match read {
        Some(Status { start_error: Some(why), .. }) => Outcome::not_started("StartError", why),
        Some(Status { exit_code, signal, .. }) => match signal {
            Some(signal) => Outcome::killed(signal),
            None => Outcome::exited(exit_code),
        },
        None => {
            // the shim was killed; what it started must not outlive it
            if let Some(pid) = pid {
                shim::kill_group(pid);
            }
            Outcome { message: "the shim was killed".into(), ..Outcome::killed(9) }
        }
    };
    // followers end only when the status is known, so that the last line and the end are one
    log.end();
    outcome
}

/// Starts a shim, tells it what to run and when to stop, and waits for its end. Answers the command's process id.
async fn drive_shim(
    api: &Api,
    container: Container,
    mut stop: watch::Receiver<Stop>,
    started: mpsc::UnboundedSender<Timestamp>,
) -> std::io::Result<Option<i32>> {
    let mut child = Command::new(&container.shim)
        .arg(shim::SHIM_COMMAND)
        .arg("run")
        .arg(&container.lock)
        .env_clear()
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let (Some(mut stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
        return Err(std::io::Error::other("the shim has no pipes"));
    };
    let mut lines = BufReader::new(stdout).lines();
    let (mut pid, mut sent, mut told) = (None, false, Stop::No);
    loop {
        tokio::select! {
            line = lines.next_line() => match line? {
                None => break,
                Some(line) => match line.split_once(' ').unwrap_or((&line, "")) {
                    ("ready", _) => {
                        let mut spec = serde_json::to_vec(&container.spec)?;
                        spec.push(b'\n');
                        stdin.write_all(&spec).await?;
                        sent = true;
                    }
                    ("started", id) => {
                        pid = id.parse().ok();
                        let _ = started.send(api.clock.now());
                    }
                    _ => container.log.ring(),
                },
            },
            asked = wait_for_stop(&mut stop, told), if sent => {
                tell(&mut stdin, asked).await;
                told = asked;
            }
        }
    }
    // the last lines rang no bell of their own
    container.log.ring();
    child.wait().await?;
    Ok(pid)
}

async fn wait_for_stop(stop: &mut watch::Receiver<Stop>, told: Stop) -> Stop {
    match stop.changed().await {
        Ok(()) => *stop.borrow_and_update(),
        // the kubelets are gone: nobody is left who wants what runs
        Err(_) if told < Stop::Kill => Stop::Kill,
        Err(_) => std::future::pending().await,
    }
}

async fn tell(stdin: &mut ChildStdin, stop: Stop) {
    let word: &[u8] = match stop {
        Stop::No => return,
        Stop::Terminate => b"term\n",
        Stop::Kill => b"kill\n",
    };
    // a shim that has ended needs no telling
    let _ = stdin.write_all(word).await;
}
