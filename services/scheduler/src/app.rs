//! The use cases, on domain types, each taking the caller.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crater_auth::{Caller, Principal, Role};
use crater_domain::{AccountId, Devices, Error, JobName, Parent, ResourceKind, Resources, Result};
use crater_engine::forecast::Forecast;
use crater_k8s::allocation::Placement;
use crater_k8s::node::{Turn, Word};
use futures::Stream;
use kube::Client;
use tokio::time::Instant;

use crate::board::{Board, NodeView};
use crate::cache::{Cache, Key};
use crate::foresight;
use crate::jobs::JobEntry;
use crate::nodes;
use crate::reasons::Blocker;
use crate::remedies::Remedy;
use crate::shared::Shared;
use crate::stream::{self, Event};
use crate::told::{Told, Verdicts};
use crate::usage::{self, Held, Subject};
use crate::whatif::{self, Answer, Question};

/// How long a job that is not known is waited for: it may be news.
const NEWS: Duration = Duration::from_secs(2);

/// A job that waits.
pub struct Waiting {
    /// The job.
    pub name: String,
    /// Its place over all accounts, from 0.
    pub rank: usize,
    /// Its place in its account's queue, from 1.
    pub position: i32,
    /// Its priority.
    pub priority: i32,
    /// What all its replicas ask for.
    pub requested: Resources,
    /// The devices by name that they ask for.
    pub devices: Devices,
    /// Since when it waits, in milliseconds since 1970.
    pub queued_ms: i64,
    /// The first thing in its way.
    pub blocker: Option<Blocker>,
}

/// Why a job waits, or what it holds.
pub struct Explained {
    /// The job.
    pub name: String,
    /// Why it waits, if it does.
    pub told: Option<Told>,
    /// Whether it waits.
    pub waiting: bool,
    /// One sentence.
    pub message: String,
    /// What it holds.
    pub placements: Vec<Placement>,
    /// When it is likely to start, if it waits.
    pub forecast: Option<Forecast>,
}

/// The scheduler's answers. Clones share it.
#[derive(Clone)]
pub struct App {
    shared: Arc<Shared>,
    client: Client,
}

/// What is done to a node.
pub enum Turning {
    /// Nothing new starts there.
    Cordon {
        /// Why, for people.
        reason: String,
    },
    /// And what runs there leaves.
    Drain {
        /// Why, for people.
        reason: String,
    },
    /// It is open again.
    Open,
}

impl App {
    pub(crate) fn new(shared: Arc<Shared>, client: Client) -> Self {
        Self { shared, client }
    }

    /// All nodes as they are now. Who of them is told what, says [`crate::board::Sight`].
    pub fn cluster(&self) -> Arc<Board> {
        self.shared.board_now()
    }

    /// The nodes as a stream, see [`crate::stream`].
    pub async fn watch(&self, caller: Caller) -> Result<impl Stream<Item = Event> + Send + 'static> {
        stream::watch(self.shared.clone(), caller).await
    }

    /// Opens or closes a node. Answers how it is then, or with `check_only` would be, and who holds something there.
    pub async fn turn(
        &self,
        caller: &Caller,
        node: &str,
        how: Turning,
        check_only: bool,
    ) -> Result<NodeView> {
        let by = match caller.principal() {
            Principal::User { user, .. } => user.resource_name(),
            Principal::Service { name } => format!("services/{name}"),
        };
        let word = |reason| Word { by, reason, millis: self.shared.now_ms() };
        let turn = match how {
            Turning::Cordon { reason } => Turn::Cordon(word(reason)),
            Turning::Drain { reason } => Turn::Drain(word(reason)),
            Turning::Open => Turn::Open,
        };
        let machine = nodes::turn(&self.client, node, &turn, check_only).await?;
        let board = self.shared.board_now();
        let held = board.nodes.iter().find(|view| view.machine.name == machine.name);
        Ok(held.map_or_else(|| NodeView::empty(machine.clone()), |held| held.with(machine.clone())))
    }

    /// The waiting jobs of an account, or of all accounts of the caller, in the order in which they go.
    pub async fn queue(&self, caller: &Caller, parent: &Parent) -> Result<Vec<Waiting>> {
        if let Parent::Account(account) = parent {
            self.must_see(caller, account, "account", account.resource_name()).await?;
        }
        let verdicts = self.shared.verdicts();
        let cache = self.shared.cache();
        let mut visible: BTreeMap<AccountId, bool> = BTreeMap::new();
        let mut out = Vec::new();
        for (rank, then) in verdicts.order() {
            let Some(of) = then.account() else { continue };
            let mine = match parent {
                Parent::Account(account) => of == *account,
                Parent::All => *visible.entry(of).or_insert_with_key(|of| caller.may(of, Role::Member)),
            };
            // gone since the last cycle: it does not wait any more
            let uid = &then.object.spec.job_uid;
            let now = || cache.jobs.get(&Key::of(&*then.object));
            let Some(entry) = Some(mine).filter(|mine| *mine).and_then(|_| now()) else { continue };
            let Some(told) = verdicts.at(rank).filter(|_| !entry.over() && entry.object.spec.job_uid == *uid)
            else {
                continue;
            };
            out.push(waiting(&told, entry, rank));
        }
        Ok(out)
    }

    /// Why a job waits, or what it holds.
    pub async fn explain(&self, caller: &Caller, name: &JobName) -> Result<Explained> {
        self.must_see(caller, &name.account, "job", name.to_string()).await?;
        let key = Key { namespace: name.account.namespace(), name: name.job.to_string() };
        let mut changes = self.shared.changes();
        let deadline = Instant::now() + NEWS;
        let mut explained = loop {
            changes.mark_unchanged();
            let verdicts = self.shared.verdicts();
            {
                let cache = self.shared.cache();
                if let Some(entry) = cache.jobs.get(&key) {
                    break explained(&cache, &verdicts, &key, entry, name);
                }
            }
            // accepted a moment ago, it may still be on its way to us
            if tokio::time::timeout_at(deadline, changes.changed()).await.is_err() {
                return Err(Error::not_found("job", name));
            }
        };
        if explained.waiting && explained.told.as_ref().is_some_and(|told| told.position > 0) {
            explained.forecast = self.forecast(key).await?;
        }
        Ok(explained)
    }

    /// When a job that waited at the last cycle is likely to start.
    async fn forecast(&self, key: Key) -> Result<Option<Forecast>> {
        let decided = self.shared.decided().borrow().clone();
        let Some(decided) = decided else { return Ok(None) };
        let shared = self.shared.clone();
        let told = tokio::task::spawn_blocking(move || {
            let job = decided.frame.find((&key.namespace, &key.name))?;
            let order = foresight::order(&decided.plan);
            if !order.contains(&job) {
                return None;
            }
            shared.foresight().tell(&decided.frame, &order, job)
        });
        told.await.map_err(Error::internal)
    }

    /// What would start a job that waits.
    pub async fn remedies(&self, name: &JobName) -> Result<Vec<Remedy>> {
        whatif::remedies(&self.shared, name).await
    }

    /// What would come of something that is not so.
    pub async fn simulate(&self, caller: &Caller, question: Question) -> Result<Answer> {
        if let Some(job) = &question.job {
            self.must_see(caller, &job.account, "account", job.account.resource_name()).await?;
        }
        for (subject, _) in &question.quotas {
            let account = &subject.account;
            self.must_see(caller, account, "account", account.resource_name()).await?;
        }
        whatif::simulate(&self.shared, caller, question).await
    }

    /// What accounts (all below them included) or users in them hold, all at one moment.
    pub fn usages(&self, subjects: &[Subject]) -> Vec<BTreeMap<ResourceKind, Held>> {
        let tree = self.shared.directory.account_tree();
        usage::usages(&self.shared.cache(), &tree, subjects)
    }

    /// A stranger's account, and one that is not there, read alike; those who may see all accounts are told of absent ones too.
    async fn must_see(&self, caller: &Caller, account: &AccountId, kind: &str, name: String) -> Result<()> {
        caller.require_object(kind, &name, account, Role::Member)?;
        if caller.is_platform_admin() && !caller.account_exists(account).await {
            return Err(Error::not_found(kind, name));
        }
        Ok(())
    }
}

fn waiting(told: &Told, entry: &JobEntry, rank: usize) -> Waiting {
    let spec = &entry.object.spec;
    let queued = entry.object.status.as_ref().and_then(|s| s.queued_millis);
    let wanted = entry.wanted.as_ref().ok().map(|wanted| &wanted.spec);
    Waiting {
        name: format!("accounts/{}/jobs/{}", told.account, told.key.name),
        rank,
        position: told.position,
        priority: spec.priority,
        requested: wanted.and_then(|spec| spec.total_resources()).unwrap_or_default(),
        devices: wanted.map(|spec| spec.total_devices()).unwrap_or_default(),
        queued_ms: queued.unwrap_or(spec.submitted_millis),
        blocker: told.blockers.first().cloned(),
    }
}

fn explained(cache: &Cache, verdicts: &Verdicts, key: &Key, entry: &JobEntry, name: &JobName) -> Explained {
    let mut placements = Vec::new();
    for (_, given) in cache.given_of(key) {
        placements.extend(given.held.iter().map(|held| Placement {
            node: held.node.clone(),
            role: held.role.clone(),
            first_replica: held.replica,
            count: 1,
            gpus: if held.gpus.is_empty() { Vec::new() } else { vec![held.gpus.clone()] },
            gpu_millis: held.gpu_millis,
        }));
    }
    let placements = runs(placements);
    let state = entry.state();
    let told = verdicts.get(entry).filter(|_| !entry.over());
    let replicas: i32 = placements.iter().map(|p| p.count).sum();
    let nodes = placements.iter().map(|p| p.node.as_str()).collect::<std::collections::BTreeSet<_>>().len();
    let many = |n: usize, what: &str| if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") };
    let holds =
        || format!("{} on {}", many(usize::try_from(replicas).unwrap_or(0), "replica"), many(nodes, "node"));
    let message = match &told {
        Some(told) if entry.suspended().is_some() && !placements.is_empty() => {
            format!("{} It still holds {}.", told.message, holds())
        }
        Some(told) => told.message.clone(),
        None if state.is_final() && placements.is_empty() => format!("It has ended: {}.", state.as_str()),
        None if entry.over() && placements.is_empty() => "It is being ended.".to_owned(),
        None if entry.over() => format!("It is ending; it still holds {}.", holds()),
        None if entry.suspended().is_some() => "It has just been suspended.".to_owned(),
        None if placements.is_empty() => "It has just come and is looked at in a moment.".to_owned(),
        None => format!("It holds {}.", holds()),
    };
    let waiting = !entry.over() && placements.is_empty();
    let waiting = waiting || told.is_some();
    Explained { name: name.to_string(), waiting, told, message, placements, forecast: None }
}

/// Consecutive replicas of a role on one node become one run.
pub fn runs(mut single: Vec<Placement>) -> Vec<Placement> {
    single.sort_by(|a, b| (&a.role, a.first_replica).cmp(&(&b.role, b.first_replica)));
    let mut out: Vec<Placement> = Vec::new();
    for next in single {
        match out.last_mut() {
            Some(run)
                if run.role == next.role
                    && run.node == next.node
                    && run.gpu_millis == next.gpu_millis
                    && run.first_replica + run.count == next.first_replica =>
            {
                run.count += 1;
                run.gpus.extend(next.gpus);
            }
            _ => out.push(next),
        }
    }
    out
}
