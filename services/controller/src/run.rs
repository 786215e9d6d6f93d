//! The loops: watches feed the indexes and the line; workers take a job from the line, plan, and act.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crater_k8s::{AIJob, Allocation, names};
use crater_service::{Condition, Readiness, Shutdown, supervise};
use futures::{FutureExt, TryStreamExt};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, ResourceExt};
use tokio::sync::Notify;

use crate::act::{Actor, Known, lock};
use crate::checkpoint;
use crate::fence::Fence;
use crate::index::{Index, Key};
use crate::logged;
use crate::plan::{self, Heard, View};
use crate::pods::Replica;
use crate::queue::Queue;

/// What comes before any work: the lists of AIJobs, Allocations, Pods and Nodes, and what Pods need of the cluster.
const PARTS: usize = 5;
/// The first pause after the API refused a write; it doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Errors of a watch in a row that are an outage.
const MOST_ERRORS: u32 = 3;

/// All that the loops share.
pub struct Controller {
    client: Client,
    known: Arc<Known>,
    /// The nodes that are not silent.
    heard: Mutex<Arc<BTreeMap<String, Heard>>>,
    queue: Queue,
    synced: AtomicUsize,
    all_synced: Notify,
    pauses: Mutex<BTreeMap<Key, Duration>>,
    /// When a write last told of a job's checkpoint, in milliseconds since 1970. Forgetting it costs a write.
    checkpoints_told: Mutex<BTreeMap<Key, i64>>,
    /// How long a Pod waits for its output to be kept, and since when which ones do.
    patience: Duration,
    logged: Mutex<BTreeMap<Key, logged::Since>>,
}

impl Controller {
    /// Knows nothing yet.
    pub fn new(client: Client, patience: Duration) -> Arc<Self> {
        Arc::new(Self {
            client,
            known: Arc::new(Known {
                jobs: Mutex::new(Index::new(|j: &AIJob| {
                    Some(Key { namespace: j.namespace()?, job: j.name_any() })
                })),
                allocations: Mutex::new(Index::new(|a: &Allocation| {
                    Some(Key { namespace: a.namespace()?, job: a.spec.job.clone() })
                })),
                pods: Mutex::new(Index::new(|p: &Pod| {
                    Some(Key { namespace: p.namespace()?, job: p.labels().get(names::JOB)?.clone() })
                })),
            }),
            heard: Mutex::default(),
            queue: Queue::default(),
            synced: AtomicUsize::new(0),
            all_synced: Notify::new(),
            pauses: Mutex::default(),
            checkpoints_told: Mutex::default(),
            patience,
            logged: Mutex::default(),
        })
    }

    /// Starts the watches and the workers.
    pub fn spawn(self: &Arc<Self>, workers: usize, readiness: &Readiness, shutdown: &Shutdown) {
        let plain = watcher::Config::default;
        self.watch(readiness, shutdown, "AIJobs", plain(), |c, event| lock(&c.known.jobs).apply(event));
        self.watch(readiness, shutdown, "Allocations", plain(), |c, event| {
            lock(&c.known.allocations).apply(event)
        });
        self.watch(readiness, shutdown, "Pods", plain().labels(names::JOB_UID), |c, event| {
            lock(&c.known.pods).apply(event)
        });
        let nodes = Arc::new(Mutex::new(Nodes::default()));
        self.watch(readiness, shutdown, "Nodes", plain(), move |c, event| c.nodes(&nodes, event));
        let controller = self.clone();
        supervise("preparing the cluster", readiness, shutdown, move |condition| {
            let controller = controller.clone();
            async move {
                crater_k8s::build::prepare(&controller.client).await?;
                condition.ready();
                controller.one_part_more();
                Ok::<_, kube::Error>(())
            }
        });
        for _ in 0..workers.max(1) {
            let (controller, shutdown) = (self.clone(), shutdown.clone());
            tokio::spawn(async move { shutdown.run_until_cancelled_owned(controller.work()).await });
        }
    }

    fn watch<K, F>(
        self: &Arc<Self>,
        readiness: &Readiness,
        shutdown: &Shutdown,
        name: &str,
        config: watcher::Config,
        take: F,
    ) where
        K: kube::Resource + Clone + std::fmt::Debug + serde::de::DeserializeOwned + Send + Sync + 'static,
        K::DynamicType: Default,
        F: Fn(&Self, watcher::Event<K>) -> Vec<Key> + Send + Sync + 'static,
    {
        let (controller, take, first) = (self.clone(), Arc::new(take), Arc::new(AtomicUsize::new(0)));
        supervise(&format!("watching {name}"), readiness, shutdown, move |condition| {
            let (controller, take, config, first) =
                (controller.clone(), take.clone(), config.clone(), first.clone());
            async move { controller.follow(config, &*take, &first, &condition).await }
        });
    }

    async fn follow<K, F>(
        &self,
        config: watcher::Config,
        take: &F,
        first: &AtomicUsize,
        ready: &Condition,
    ) -> Result<(), watcher::Error>
    where
        K: kube::Resource + Clone + std::fmt::Debug + serde::de::DeserializeOwned + Send + 'static,
        K::DynamicType: Default,
        F: Fn(&Self, watcher::Event<K>) -> Vec<Key>,
    {
        let api: Api<K> = Api::all(self.client.clone());
        let mut events = std::pin::pin!(watcher(api, config).default_backoff());
        let mut errors = 0;
        loop {
            match events.try_next().await {
                Ok(Some(event)) => {
                    errors = 0;
                    let listed = matches!(event, watcher::Event::InitDone);
                    for key in take(self, event) {
                        self.queue.add(key);
                    }
                    if listed {
                        ready.ready();
                        if first.swap(1, Ordering::SeqCst) == 0 {
                            self.one_part_more();
                        }
                    }
                }
                Ok(None) => return Ok(()),
                // the watcher goes on by itself after its pause, and does not say when it is well again; an outage ends
                // the watch, so that the next begins with a list
                Err(error) => {
                    errors += 1;
                    tracing::debug!(%error, errors, "a watch broke");
                    if errors >= MOST_ERRORS {
                        return Err(error);
                    }
                }
            }
        }
    }

    fn one_part_more(&self) {
        if self.synced.fetch_add(1, Ordering::SeqCst) + 1 == PARTS {
            self.all_synced.notify_waiters();
        }
    }

    /// A node that falls silent or speaks again changes what is known of every job on it.
    fn nodes(&self, nodes: &Mutex<Nodes>, event: watcher::Event<Node>) -> Vec<Key> {
        let mut nodes = lock(nodes);
        if !nodes.apply(event) {
            return Vec::new();
        }
        *lock(&self.heard) = Arc::new(nodes.heard.clone());
        lock(&self.known.allocations).keys()
    }

    async fn work(self: Arc<Self>) {
        while self.synced.load(Ordering::SeqCst) < PARTS {
            let synced = self.all_synced.notified();
            if self.synced.load(Ordering::SeqCst) < PARTS {
                synced.await;
            }
        }
        loop {
            let key = self.queue.next().await;
            // a job that makes the plan panic must not take the others with it
            let worked = AssertUnwindSafe(self.reconcile(&key)).catch_unwind().await;
            match worked {
                Ok(Ok(Pass::Done { look_again })) => {
                    lock(&self.pauses).remove(&key);
                    if let Some(after) = look_again {
                        self.queue.add_later(key.clone(), after);
                    }
                }
                Ok(Ok(Pass::Stale)) => self.queue.add_later(key.clone(), self.pause(&key)),
                Ok(Err(error)) => {
                    let pause = self.pause(&key);
                    tracing::warn!(job = key.job, namespace = key.namespace, %error, ?pause, "writing what is to be");
                    self.queue.add_later(key.clone(), pause);
                }
                Err(_) => {
                    tracing::error!(job = key.job, namespace = key.namespace, "planning for a job panicked");
                    self.queue.add_later(key.clone(), LONGEST_PAUSE);
                }
            }
            self.queue.done(&key);
        }
    }

    /// The next pause of a job that gets nowhere.
    fn pause(&self, key: &Key) -> Duration {
        let mut pauses = lock(&self.pauses);
        let pause = pauses.get(key).map_or(FIRST_PAUSE, |p| (*p * 2).min(LONGEST_PAUSE));
        pauses.insert(key.clone(), pause);
        pause
    }

    /// Brings one job nearer to what is wanted.
    async fn reconcile(&self, key: &Key) -> Result<Pass, kube::Error> {
        // before the Lease is read: what it says holds for what was seen before
        let mut allocations = lock(&self.known.allocations).of(key);
        let Some(job) = lock(&self.known.jobs).of(key).into_iter().next() else {
            lock(&self.checkpoints_told).remove(key);
            return Ok(Pass::Done { look_again: None });
        };
        let uid = job.spec.job_uid.as_str();
        allocations.retain(|a| a.spec.job_uid == uid);
        let fence = if allocations.iter().any(|a| plan::undecided(a)) { self.fence().await? } else { None };
        let pods: Vec<Replica> = lock(&self.known.pods)
            .of(key)
            .iter()
            .filter(|p| p.labels().get(names::JOB_UID).is_some_and(|u| u == uid))
            .filter_map(|p| Replica::of(p))
            .collect();
        let heard = lock(&self.heard).clone();
        let view = View {
            job: &job,
            allocations: &allocations,
            pods: &pods,
            fence,
            heard: &heard,
            checkpoint_told: lock(&self.checkpoints_told).get(key).copied(),
            now_millis: now_millis(),
        };
        let plan = plan::plan(&view);
        let actor = Actor {
            client: &self.client,
            known: &self.known,
            key,
            job: &job,
            allocations: &allocations,
            keeps_output: !self.patience.is_zero(),
        };
        let overdue = self.let_go(key, &actor).await?;
        if !actor.act(&plan.actions).await? {
            return Ok(Pass::Stale);
        }
        if plan.actions.iter().any(|action| checkpoint::is_news(&job, action)) {
            lock(&self.checkpoints_told).insert(key.clone(), view.now_millis);
        }
        // what was written may ask for more, and its own echo may be too early to tell
        if !plan.actions.is_empty() {
            self.queue.add(key.clone());
        }
        let look_again = plan.look_again.into_iter().chain(overdue).min();
        Ok(Pass::Done { look_again })
    }

    /// Lets the Pods go that have waited long enough for their output to be kept. When the next will have.
    async fn let_go(&self, key: &Key, actor: &Actor<'_>) -> Result<Option<Duration>, kube::Error> {
        let pods = lock(&self.known.pods).of(key);
        let (overdue, next) = {
            let mut logged = lock(&self.logged);
            let since = logged.entry(key.clone()).or_default();
            let found = since.overdue(pods.iter().map(|p| &**p), self.patience, tokio::time::Instant::now());
            if since.is_empty() {
                logged.remove(key);
            }
            found
        };
        for pod in overdue {
            tracing::warn!(job = key.job, pod = pod.name_any(), "its output was not kept in time");
            actor.let_pod_go(pod).await?;
        }
        Ok(next)
    }

    async fn fence(&self) -> Result<Option<Fence>, kube::Error> {
        let leases: Api<Lease> = Api::namespaced(self.client.clone(), names::SYSTEM_NAMESPACE);
        Ok(leases.get_opt(names::SCHEDULER_LEASE).await?.as_ref().and_then(Fence::of))
    }
}

fn now_millis() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_millis()).unwrap_or(i64::MAX)
}

/// What came of looking at a job.
enum Pass {
    /// All that was to be done.
    Done {
        /// When to look again though nothing changes.
        look_again: Option<Duration>,
    },
    /// What was known was not the newest.
    Stale,
}

/// Which nodes are heard of.
#[derive(Default)]
struct Nodes {
    heard: BTreeMap<String, Heard>,
    listing: BTreeMap<String, Heard>,
}

impl Nodes {
    /// Takes an event in; whether it changed who is heard of.
    fn apply(&mut self, event: watcher::Event<Node>) -> bool {
        match event {
            watcher::Event::Init => {
                self.listing.clear();
                false
            }
            watcher::Event::InitApply(node) => {
                self.listing.extend(heard(&node).map(|heard| (node.name_any(), heard)));
                false
            }
            watcher::Event::InitDone => {
                let changed = self.listing != self.heard;
                self.heard = std::mem::take(&mut self.listing);
                changed
            }
            watcher::Event::Apply(node) => match heard(&node) {
                Some(heard) => self.heard.insert(node.name_any(), heard) != Some(heard),
                None => self.heard.remove(&node.name_any()).is_some(),
            },
            watcher::Event::Delete(node) => self.heard.remove(&node.name_any()).is_some(),
        }
    }
}

fn heard(node: &Node) -> Option<Heard> {
    const OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service";
    let mut taints = node.spec.iter().flat_map(|s| s.taints.iter().flatten());
    if taints.any(|t| t.key == OUT_OF_SERVICE) {
        return Some(Heard::Off);
    }
    let mut conditions = node.status.iter().flat_map(|s| s.conditions.iter().flatten());
    conditions.any(|c| c.type_ == "Ready" && c.status == "True").then_some(Heard::Ready)
}
