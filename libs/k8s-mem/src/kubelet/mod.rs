//! The kubelets of all nodes, as one task: it is woken by what happens to Pods, by the clock and by processes that end,
//! and sleeps otherwise.
//!
//! Level-triggered: after a gap in the events, or when a node comes back, everything is looked at again.

mod env;
mod ledger;
mod local;
mod play;
mod record;
mod report;

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};

use self::ledger::{Ledger, Share};
use self::record::{Pod, asked_to_stop, deadline, deletion_time, ended, failed_to_start, grace};
use self::report::{Life, Outcome};
use crate::api::Api;
use crate::api::object;
use crate::api::store::{Event, Key};
use crate::api::write::DeleteOptions;
use crate::clock::{later, stamp};
use crate::node::{self, NodeSpec};

/// What the kubelets do with the Pods of their nodes.
#[derive(Debug, Clone)]
pub enum KubeletMode {
    /// Play each Pod for the time that its annotation `play.crater.dev/duration` declares.
    Play {
        /// From admission to Running.
        start_latency: Duration,
    },
    /// Run each container's command as a local process.
    RunLocal {
        /// Where logs and working directories of Pods go, and the lock of the shims.
        data_dir: PathBuf,
        /// The program that calls [`crate::shim_main`] when its first argument is [`crate::SHIM_COMMAND`].
        shim: PathBuf,
    },
}

impl Default for KubeletMode {
    fn default() -> Self {
        Self::Play { start_latency: Duration::ZERO }
    }
}

/// What the cluster's owner tells the kubelets. Each is answered when it is done.
pub(crate) enum Command {
    Add(NodeSpec, oneshot::Sender<bool>),
    Power { node: String, up: bool, done: oneshot::Sender<bool> },
    Shutdown(oneshot::Sender<()>),
}

/// News of a local Pod.
pub(crate) struct News {
    uid: String,
    life: Life,
}

struct Node {
    ledger: Ledger,
    up: bool,
    address: String,
}

pub(crate) struct Kubelets {
    api: Arc<Api>,
    mode: KubeletMode,
    nodes: HashMap<String, Node>,
    pods: HashMap<String, Pod>,
    timers: BTreeSet<(Timestamp, String)>,
    cursor: u64,
    addresses: u32,
    news: mpsc::UnboundedSender<News>,
}

const BATCH: usize = 1024;

/// Runs the kubelets until they are told to shut down or nobody is left who could.
pub(crate) async fn run(api: Arc<Api>, mode: KubeletMode, mut commands: mpsc::UnboundedReceiver<Command>) {
    let (news, mut heard) = mpsc::unbounded_channel();
    let Some(mut changed) = api.store().subscribe("pods") else { return };
    let cursor = api.store().revision();
    let mut kubelets = Kubelets {
        cursor,
        api,
        mode,
        nodes: HashMap::new(),
        pods: HashMap::new(),
        timers: BTreeSet::new(),
        addresses: 0,
        news,
    };
    kubelets.look_at_all();
    let clock = kubelets.api.clock.clone();
    loop {
        let next = kubelets.timers.first().map(|(at, _)| *at);
        tokio::select! {
            biased;
            command = commands.recv() => match command {
                Some(Command::Shutdown(done)) => {
                    kubelets.drain(&mut heard).await;
                    let _ = done.send(());
                    return;
                }
                Some(Command::Add(spec, done)) => {
                    let _ = done.send(kubelets.add(&spec));
                }
                Some(Command::Power { node, up, done }) => {
                    let _ = done.send(kubelets.power(&node, up));
                }
                None => return,
            },
            Some(News { uid, life }) = heard.recv() => kubelets.set_life(&uid, life),
            rung = changed.changed() => match rung {
                Ok(()) => kubelets.catch_up(),
                Err(_) => return,
            },
            () = clock.sleep_until(next.unwrap_or(Timestamp::MAX)), if next.is_some() => kubelets.fire(),
        }
    }
}

impl Kubelets {
    fn add(&mut self, spec: &NodeSpec) -> bool {
        if self.nodes.contains_key(&spec.name) {
            return false;
        }
        let number = self.nodes.len() as u32;
        let address = match self.mode {
            KubeletMode::Play { .. } => {
                format!("10.{}.{}.{}", number >> 16 & 255, number >> 8 & 255, number & 255)
            }
            KubeletMode::RunLocal { .. } => "127.0.0.1".into(),
        };
        let now = stamp(self.api.clock.now());
        if let Err(error) = self.api.create_internal("nodes", "", spec.object(&address, &now)) {
            tracing::debug!(node = spec.name, error = error.message, "the Node object was there already");
        }
        self.nodes.insert(spec.name.clone(), Node { ledger: Ledger::new(spec), up: true, address });
        self.look_at_node(&spec.name);
        true
    }

    fn power(&mut self, name: &str, up: bool) -> bool {
        let Some(node) = self.nodes.get_mut(name) else { return false };
        node.up = up;
        let now = stamp(self.api.clock.now());
        self.api.modify("nodes", "", name, "", |object| {
            node::report_power(object, up, &now);
            true
        });
        if up {
            self.look_at_node(name);
        }
        true
    }

    fn is_up(&self, node: &str) -> bool {
        self.nodes.get(node).is_some_and(|n| n.up)
    }

    fn look_at_all(&mut self) {
        let names: Vec<String> = self.nodes.keys().cloned().collect();
        names.iter().for_each(|name| self.look_at_node(name));
    }

    /// Brings what is known of a node's Pods and what is stored of them together.
    fn look_at_node(&mut self, name: &str) {
        if !self.is_up(name) {
            return;
        }
        let there = self.api.store().pods_on(name);
        let uids: BTreeSet<String> = there.iter().map(|p| object::uid(p).to_owned()).collect();
        let known = self.pods.iter().filter(|(uid, pod)| pod.node == name && !uids.contains(*uid));
        let gone: Vec<String> = known.map(|(uid, _)| uid.clone()).collect();
        gone.iter().for_each(|uid| self.object_gone(uid));
        for pod in there {
            let uid = object::uid(&pod).to_owned();
            self.observe(pod);
            self.report(&uid);
        }
    }

    fn catch_up(&mut self) {
        loop {
            let (events, revision) = {
                let store = self.api.store();
                (store.events_after("pods", self.cursor, BATCH), store.revision())
            };
            let Ok(events) = events else {
                self.cursor = revision;
                self.look_at_all();
                continue;
            };
            if events.is_empty() {
                return;
            }
            for event in &events {
                self.cursor = event.revision;
                self.heed(event);
            }
        }
    }

    fn heed(&mut self, event: &Event) {
        let node = object::node_name(&event.object);
        if node.is_empty() || !self.is_up(node) {
            return;
        }
        let uid = object::uid(&event.object);
        // what is now counts, not what was: the pod may be gone already, or another of that name be there
        let (namespace, name) = (object::namespace(&event.object), object::name(&event.object));
        let current = self.api.store().lookup("pods", namespace, name).cloned();
        match current.filter(|pod| object::uid(pod) == uid) {
            Some(pod) => self.observe(pod),
            None => self.object_gone(uid),
        }
    }

    /// Takes in a Pod's object: a new Pod is admitted, a deletion is begun.
    fn observe(&mut self, object: Arc<Value>) {
        let uid = object::uid(&object).to_owned();
        if let Some(pod) = self.pods.get_mut(&uid) {
            let was_deleting = object::is_deleting(&pod.object);
            let ended = matches!(pod.life, Life::Ended { .. });
            let changed_grace = deletion_time(&pod.object) != deletion_time(&object);
            pod.object = object;
            if object::is_terminal(&pod.object) && !ended {
                // somebody else declared the Pod ended: nothing of it may go on
                self.stop_now(&uid);
            } else if object::is_deleting(&pod.object) && (!was_deleting || changed_grace) {
                self.begin_deletion(&uid);
            }
            return;
        }
        if object::is_terminal(&object) {
            return;
        }
        let name = object::node_name(&object).to_owned();
        let now = self.api.clock.now();
        if object::is_deleting(&object) {
            // never started here, so there is nothing to stop
            self.delete_object(&object);
            return;
        }
        let Some(node) = self.nodes.get_mut(&name) else { return };
        match node.ledger.admit(&uid, &object) {
            Ok(shares) => self.start(&uid, &name, object, shares, now),
            Err(refusal) => {
                let (ns, pod) = (object::namespace(&object), object::name(&object));
                self.api.modify("pods", ns, pod, &uid, |object| {
                    report::refuse(object, &refusal.reason, &refusal.message, now);
                    true
                });
            }
        }
    }

    fn start(&mut self, uid: &str, node: &str, object: Arc<Value>, shares: Vec<Share>, now: Timestamp) {
        self.addresses = self.addresses.wrapping_add(1);
        let n = self.addresses;
        let ip = match self.mode {
            KubeletMode::Play { .. } => format!("10.{}.{}.{}", 128 | (n >> 16 & 127), n >> 8 & 255, n & 255),
            KubeletMode::RunLocal { .. } => "127.0.0.1".into(),
        };
        let key = Key::new(&"pods".into(), object::namespace(&object), object::name(&object));
        let mut pod = Pod {
            key,
            node: node.to_owned(),
            object,
            admitted: now,
            ip,
            life: Life::Starting,
            due: None,
            gone: false,
            deadline_passed: false,
            play: None,
            local: None,
        };
        match &self.mode {
            KubeletMode::Play { start_latency } => match play::Plan::of(&pod.object) {
                Ok(plan) => {
                    pod.play = Some(plan);
                    let at = later(now, *start_latency);
                    self.pods.insert(uid.to_owned(), pod);
                    self.set_timer(uid, Some(at));
                    self.fire();
                }
                Err(why) => {
                    self.pods.insert(uid.to_owned(), pod);
                    self.set_life(uid, failed_to_start(now, "InvalidAnnotation", why));
                }
            },
            KubeletMode::RunLocal { data_dir, shim } => {
                let started =
                    local::start(&self.api, data_dir, shim, &pod.object, &shares, self.news.clone());
                match started {
                    Ok(handle) => {
                        pod.local = Some(handle);
                        pod.due = deadline(&pod.object, now);
                        let due = pod.due;
                        self.pods.insert(uid.to_owned(), pod);
                        self.set_timer(uid, due);
                    }
                    Err(local::Refused { reason, message }) => {
                        self.pods.insert(uid.to_owned(), pod);
                        self.set_life(uid, failed_to_start(now, reason, message));
                    }
                }
            }
        }
    }

    fn set_timer(&mut self, uid: &str, due: Option<Timestamp>) {
        let Some(pod) = self.pods.get_mut(uid) else { return };
        if let Some(old) = pod.due.take() {
            self.timers.remove(&(old, uid.to_owned()));
        }
        pod.due = due;
        if let Some(due) = due {
            self.timers.insert((due, uid.to_owned()));
        }
    }

    /// Does what has come due.
    fn fire(&mut self) {
        let now = self.api.clock.now();
        while let Some((at, uid)) = self.timers.first().cloned().filter(|(at, _)| *at <= now) {
            self.set_timer(&uid, None);
            let Some(pod) = self.pods.get_mut(&uid) else { continue };
            if pod.local.is_some() {
                let deleting = object::is_deleting(&pod.object) || pod.gone;
                pod.deadline_passed |= !deleting;
                self.stop_now(&uid);
            } else {
                self.play_on(&uid, at);
            }
        }
    }

    fn play_on(&mut self, uid: &str, at: Timestamp) {
        let Some(pod) = self.pods.get(uid) else { return };
        let Some(plan) = pod.play.clone() else { return };
        match pod.life {
            _ if object::is_deleting(&pod.object) => self.stop_now(uid),
            Life::Starting => {
                let end = plan.duration.map(|d| later(at, d));
                let limit = deadline(&pod.object, pod.admitted);
                let due = end.into_iter().chain(limit).min();
                play::begin_logs(&self.api, &pod.object, &plan, at);
                self.set_life(uid, Life::Running { since: at });
                self.set_timer(uid, due);
                // what was due to end meanwhile ends in the same turn of `fire`
            }
            Life::Running { since } => {
                let in_time = plan.duration.is_some_and(|d| later(since, d) <= at);
                let (outcome, reason) = if in_time {
                    (Outcome::exited(plan.exit_code), "")
                } else {
                    (Outcome::killed(9), "DeadlineExceeded")
                };
                let life = ended(&pod.object, Some(since), at, outcome, reason);
                self.set_life(uid, life);
            }
            Life::Ended { .. } => {}
        }
    }

    fn begin_deletion(&mut self, uid: &str) {
        let Some(pod) = self.pods.get(uid) else { return };
        let until = deletion_time(&pod.object).unwrap_or_else(|| self.api.clock.now());
        let ended = matches!(pod.life, Life::Ended { .. });
        match (&pod.local, &pod.play) {
            _ if ended => self.report(uid),
            (Some(handle), _) => {
                handle.terminate();
                // from now, as a real kubelet counts: the timestamp is cut to whole seconds
                let at = later(self.api.clock.now(), grace(&pod.object));
                self.set_timer(uid, Some(at));
            }
            (None, Some(plan)) => {
                // counted from when it was asked to, which may be earlier than when this kubelet hears of it
                let at = plan.stops_at(asked_to_stop(&pod.object, until), until);
                self.set_timer(uid, Some(at));
                self.fire();
            }
            (None, None) => self.stop_now(uid),
        }
    }

    /// Ends a Pod without further grace.
    fn stop_now(&mut self, uid: &str) {
        let Some(pod) = self.pods.get(uid) else { return };
        if let Some(handle) = &pod.local {
            handle.kill();
            return;
        }
        let since = match pod.life {
            Life::Running { since } => Some(since),
            _ => None,
        };
        let life = ended(&pod.object, since, self.api.clock.now(), Outcome::killed(15), "");
        self.set_life(uid, life);
    }

    fn set_life(&mut self, uid: &str, mut life: Life) {
        let Some(pod) = self.pods.get_mut(uid) else { return };
        if matches!(pod.life, Life::Ended { .. }) {
            return;
        }
        if let (Life::Ended { reason, message, .. }, true) = (&mut life, pod.deadline_passed) {
            *reason = "DeadlineExceeded".into();
            *message = "Pod was active on the node longer than the specified deadline".into();
        }
        pod.life = life;
        if matches!(pod.life, Life::Ended { .. }) {
            pod.local = None;
            let (node, gone) = (pod.node.clone(), pod.gone);
            if pod.play.is_some() {
                play::end_logs(&self.api, &pod.object, &pod.life);
            }
            self.set_timer(uid, None);
            if let Some(node) = self.nodes.get_mut(&node) {
                node.ledger.release(uid);
            }
            if gone {
                self.forget(uid);
                return;
            }
        }
        self.report(uid);
    }

    /// Writes a Pod's life into its status, and finishes a deletion. A node that is down says nothing.
    fn report(&mut self, uid: &str) {
        let Some(pod) = self.pods.get(uid) else { return };
        let Some(node) = self.nodes.get(&pod.node).filter(|n| n.up) else { return };
        if pod.gone {
            return;
        }
        let ended = matches!(pod.life, Life::Ended { .. });
        if pod.life != Life::Starting {
            let (life, admitted, ip, host) = (&pod.life, pod.admitted, &pod.ip, &node.address);
            self.api.modify("pods", &pod.key.namespace, &pod.key.name, uid, |object| {
                // an end that was recorded stays as it is
                let write = !object::is_terminal(object);
                if write {
                    report::write(object, life, admitted, ip, host);
                }
                write
            });
        }
        if ended && object::is_deleting(&pod.object) {
            let object = pod.object.clone();
            self.delete_object(&object);
        }
    }

    fn delete_object(&self, pod: &Value) {
        let Some(ty) = self.api.store().find_type("pods") else { return };
        let key = Key::new(&ty.qualified, object::namespace(pod), object::name(pod));
        if let Err(error) = self.api.delete(&ty, &key, &DeleteOptions::now(object::uid(pod))) {
            tracing::debug!(pod = key.name, error = error.message, "the pod was gone already");
        }
    }

    fn object_gone(&mut self, uid: &str) {
        let Some(pod) = self.pods.get_mut(uid) else {
            self.api.logs.remove(uid);
            return;
        };
        pod.gone = true;
        if matches!(pod.life, Life::Ended { .. }) {
            self.forget(uid);
        } else {
            self.stop_now(uid);
        }
    }

    fn forget(&mut self, uid: &str) {
        self.set_timer(uid, None);
        self.pods.remove(uid);
        self.api.logs.remove(uid);
        if let KubeletMode::RunLocal { data_dir, .. } = &self.mode {
            local::clean(data_dir, uid);
        }
    }

    /// Kills what still runs and waits until it is gone.
    async fn drain(&mut self, heard: &mut mpsc::UnboundedReceiver<News>) {
        for pod in self.pods.values() {
            if let Some(handle) = &pod.local {
                handle.kill();
            }
        }
        while self.pods.values().any(|pod| pod.local.is_some()) {
            match heard.recv().await {
                Some(News { uid, life }) => self.set_life(&uid, life),
                None => return,
            }
        }
    }
}
