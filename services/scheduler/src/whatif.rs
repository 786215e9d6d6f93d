//! What would come of a job, of nodes, of limits: the engine decides on a copy of what the loop would see now.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crater_auth::Caller;
use crater_domain::{
    AccountId, Devices, Error, JobName, JobSpec, JobUid, Limits, QuotaSubject, Resources, Result, UserId,
};
use crater_engine::forecast::Forecast;
use crater_engine::whatif::{Fate, Scope, WhatIf};
use crater_engine::{
    AccountIx, Amounts, JobIx, KeyIx, Node, Placement, Plan, Snapshot, SnapshotError, User, UserIx, ValueIx,
    WHOLE_GPU,
};
use crater_k8s::aijob::Identity;
use crater_k8s::{AIJob, AIJobSpec};

use crate::board::Sight;
use crate::cache::Key;
use crate::frame::Frame;
use crate::jobs::JobEntry;
use crate::reasons::{Blocker, blockers, sentence};
use crate::remedies::{Remedy, remedy};
use crate::shared::Shared;
use crate::snapshot::{BARS, set_amount};
use crate::words::Words;

/// How long remedies are looked for.
const PATIENCE: Duration = Duration::from_secs(2);
/// How the job is called in words; no other can be.
const NAME: &str = "this job";
/// Names in an answer.
const NAMED: usize = 100;
/// The priorities that a job may have.
const SCOPE: Scope = Scope { priorities: -1000..=1000 };

/// A job that is thought of.
pub struct Thought {
    /// Whose queue.
    pub account: AccountId,
    /// Who would submit it.
    pub creator: UserId,
    /// What it would ask for.
    pub spec: JobSpec,
}

/// Some equal nodes that there would be.
pub struct NodeGroup {
    /// How many.
    pub count: u32,
    /// Like which, by name.
    pub like: Option<String>,
    /// What each has, where not like that one.
    pub allocatable: Option<(Resources, Devices)>,
    /// The model of its GPUs, where not like that one.
    pub model: Option<String>,
}

/// What would be different.
#[derive(Default)]
pub struct Question {
    /// A job.
    pub job: Option<Thought>,
    /// More nodes.
    pub nodes: Vec<NodeGroup>,
    /// Other limits and guarantees; what they do not name stays.
    pub quotas: Vec<(QuotaSubject, Limits)>,
    /// Whether to look for what would start the job.
    pub remedies: bool,
}

/// Jobs, as far as they may be named.
#[derive(Default)]
pub struct Jobs {
    /// Those that the caller may hear of.
    pub named: Vec<String>,
    /// How many there are.
    pub count: usize,
}

/// What would come of a job.
pub struct Outcome {
    /// Where it would start; empty if it would wait.
    pub placements: Vec<crater_k8s::allocation::Placement>,
    /// Whether it would at once.
    pub at_once: bool,
    /// What would be in its way.
    pub blockers: Vec<Blocker>,
    /// One sentence.
    pub message: String,
    /// When it would start, in milliseconds since 1970.
    pub expected_start_ms: Option<i64>,
    /// What would start it.
    pub remedies: Vec<Remedy>,
    /// When it would be likely to start, if it would wait.
    pub forecast: Option<Forecast>,
}

/// What would come of it.
pub struct Answer {
    /// Of the job.
    pub job: Option<Outcome>,
    /// Who would be given GPUs, and is not as it is.
    pub starting: Jobs,
    /// Of whom something would be taken, and is not as it is.
    pub preempted: Jobs,
}

/// Answers a question. Trials go one after the other, each on a thread of its own.
pub async fn simulate(shared: &Arc<Shared>, caller: &Caller, question: Question) -> Result<Answer> {
    let sight = Sight::of(caller);
    let turn = shared.trials.lock().await;
    let of = shared.clone();
    let answer = tokio::task::spawn_blocking(move || answer(&of, &sight, &question)).await;
    drop(turn);
    answer.map_err(Error::internal)?
}

/// What would start a job that waits.
pub async fn remedies(shared: &Arc<Shared>, job: &JobName) -> Result<Vec<Remedy>> {
    let key = Key { namespace: job.account.namespace(), name: job.job.to_string() };
    let turn = shared.trials.lock().await;
    let of = shared.clone();
    let found = tokio::task::spawn_blocking(move || {
        let frame = of.frame(0);
        let Some(job) = frame.find((&key.namespace, &key.name)) else { return Ok(Vec::new()) };
        let Some(entry) = frame.entries[job.at()].clone() else { return Ok(Vec::new()) };
        let mut what = WhatIf::new(frame.snapshot.clone()).map_err(unsound)?;
        Ok(look(&frame, &entry, &mut what, job))
    });
    let found = found.await;
    drop(turn);
    found.map_err(Error::internal)?
}

fn unsound(error: SnapshotError) -> Error {
    Error::internal(error)
}

fn look(frame: &Frame, entry: &JobEntry, what: &mut WhatIf, job: JobIx) -> Vec<Remedy> {
    let until = Instant::now() + PATIENCE;
    let found = what.remedies(job, &SCOPE, &mut || Instant::now() < until);
    found.iter().filter_map(|found| remedy(frame, entry, found)).collect()
}

fn answer(shared: &Shared, sight: &Sight, question: &Question) -> Result<Answer> {
    let read =
        |words: &Words| question.job.as_ref().map(|job| entry(job, shared.now_ms(), words)).transpose();
    let (mut frame, words, thought) = shared.imagine(read)?;
    if thought.is_some() && frame.jobs.last().is_none_or(|last| last.name != NAME) {
        return Err(Error::field("parent", "is no account of the cluster"));
    }
    let mut what = without(&frame, thought.is_some())?;
    let before = what.plan().clone();
    if !question.nodes.is_empty() || !question.quotas.is_empty() {
        add_nodes(&mut frame, &question.nodes, &words)?;
        for (subject, limits) in &question.quotas {
            set_quota(&mut frame, subject, limits, &words)?;
        }
        what = without(&frame, thought.is_some())?;
    }
    let mut outcome = None;
    if let (Some(entry), Some(job)) = (&thought, frame.snapshot.jobs.last()) {
        let ix = what.add(job.clone()).map_err(unsound)?;
        let fate = what.fate(ix);
        let mut of = told(&frame, entry, &fate);
        if matches!(fate, Fate::Waits(_)) {
            of.forecast = shared.foresight().tell(&frame, &what.order(), ix);
        }
        if question.remedies && matches!(fate, Fate::Waits(_)) {
            of.remedies = look(&frame, entry, &mut what, ix);
        }
        outcome = Some(of);
    }
    let own = thought.is_some().then(|| JobIx::of(frame.snapshot.jobs.len() - 1));
    let news = |of: fn(&Plan) -> BTreeSet<JobIx>| {
        let (before, mut after) = (of(&before), of(what.plan()));
        after.retain(|job| !before.contains(job) && Some(*job) != own);
        names(&frame, sight, &after)
    };
    Ok(Answer { job: outcome, starting: news(starting), preempted: news(preempted) })
}

/// What is decided without the last job.
fn without(frame: &Frame, last: bool) -> Result<WhatIf> {
    let mut snapshot = frame.snapshot.clone();
    if last {
        snapshot.jobs.pop();
    }
    WhatIf::new(snapshot).map_err(unsound)
}

fn starting(plan: &Plan) -> BTreeSet<JobIx> {
    plan.grants.iter().map(|grant| grant.job).chain(plan.holds.iter().map(|hold| hold.job)).collect()
}

fn preempted(plan: &Plan) -> BTreeSet<JobIx> {
    plan.revocations.iter().map(|revocation| revocation.job).collect()
}

fn names(frame: &Frame, sight: &Sight, jobs: &BTreeSet<JobIx>) -> Jobs {
    let name = |job: &JobIx| {
        let entry = frame.entries[job.at()].as_ref()?;
        let account = &entry.wanted.as_ref().ok()?.account;
        let name: JobName = format!("accounts/{account}/jobs/{}", frame.jobs[job.at()].name).parse().ok()?;
        sight.sees(&name).then(|| name.to_string())
    };
    Jobs { named: jobs.iter().filter_map(name).take(NAMED).collect(), count: jobs.len() }
}

/// The job as it would be read once it was submitted.
fn entry(thought: &Thought, now_ms: i64, words: &Words) -> Result<JobEntry> {
    let identity = Identity {
        uid: JobUid(uuid::Uuid::nil()),
        account: thought.account.clone(),
        creator: thought.creator.clone(),
        submitted_millis: now_ms,
        revision: 0,
        cancelled: false,
        suspended: None,
        checkpointed_millis: None,
    };
    let mut object = AIJob::new(NAME, AIJobSpec::new(&identity, &thought.spec));
    object.metadata.namespace = Some(thought.account.namespace());
    let entry = JobEntry::new(object, words);
    match &entry.wanted {
        Ok(_) => Ok(entry),
        Err(why) => Err(Error::field("job", why.strip_prefix("spec.").unwrap_or(why).to_owned())),
    }
}

fn told(frame: &Frame, entry: &JobEntry, fate: &Fate) -> Outcome {
    let mut outcome = Outcome {
        placements: Vec::new(),
        at_once: false,
        blockers: Vec::new(),
        message: String::new(),
        expected_start_ms: None,
        remedies: Vec::new(),
        forecast: None,
    };
    match fate {
        Fate::Starts { placements, after } => {
            outcome.placements = placed(frame, entry, placements);
            outcome.at_once = after.is_empty();
            outcome.message = match after.len() {
                0 => "It would start at once.".to_owned(),
                1 => "It would start once 1 job that is preempted for it has gone.".to_owned(),
                n => format!("It would start once {n} jobs that are preempted for it have gone."),
            };
        }
        Fate::Waits(verdict) => {
            let (all, message) = blockers(frame, verdict);
            outcome.blockers = all;
            outcome.message = sentence(&format!("it would wait: {message}"));
            outcome.expected_start_ms = verdict.expected_start;
        }
        Fate::Settled => outcome.message = "It would want nothing.".to_owned(),
    }
    outcome
}

fn placed(frame: &Frame, entry: &JobEntry, all: &[Placement]) -> Vec<crater_k8s::allocation::Placement> {
    let Ok(wanted) = &entry.wanted else { return Vec::new() };
    let single = |place: &Placement| {
        let role = wanted.spec.roles.get(usize::from(place.role))?;
        let gpus: Vec<i32> = place.gpus.iter().map(|(device, _)| i32::from(*device)).collect();
        Some(crater_k8s::allocation::Placement {
            node: frame.nodes.get(place.node.at())?.clone(),
            role: role.name.to_string(),
            first_replica: i32::try_from(place.replica).unwrap_or(i32::MAX),
            count: 1,
            gpus: if gpus.is_empty() { Vec::new() } else { vec![gpus] },
            gpu_millis: place.gpus.first().map_or(0, |(_, millis)| *millis),
        })
    };
    crate::app::runs(all.iter().filter_map(single).collect())
}

fn add_nodes(frame: &mut Frame, groups: &[NodeGroup], words: &Words) -> Result<()> {
    for (at, group) in groups.iter().enumerate() {
        let mut node = match &group.like {
            Some(name) => {
                let like = frame.nodes.iter().position(|node| node == name);
                let like = like.ok_or_else(|| {
                    Error::field(format!("nodes[{at}].like"), format!("there is no node {name}"))
                })?;
                frame.snapshot.nodes[like].clone()
            }
            None => Node { labels: labels(&frame.snapshot), ..Node::default() },
        };
        (node.open, node.lost) = (true, false);
        (node.others_cpu, node.others_memory) = (0, 0);
        node.others_gpus.clear();
        node.others_extended.clear();
        node.bad_gpus.clear();
        if let Some((has, devices)) = &group.allocatable {
            node.extended = words.devices.counts(devices);
            (node.cpu, node.memory) = (has.cpu_millis, has.memory_bytes);
            node.gpus = u16::try_from(has.gpu_millis / WHOLE_GPU).unwrap_or(u16::MAX);
        }
        if let Some(model) = &group.model {
            node.model = Some(words.models.intern(model));
        }
        if node.gpus == 0 {
            node.model = None;
        } else if node.model.is_none() {
            return Err(Error::field(format!("nodes[{at}].gpu_model"), "must be set for nodes with GPUs"));
        }
        for n in 1..=group.count {
            frame.nodes.push(format!("new-{}-{n}", at + 1));
            frame.snapshot.nodes.push(node.clone());
        }
    }
    frame.name(words);
    Ok(())
}

/// Those of a node that turned nobody away, and has no label that a job asks for.
fn labels(snapshot: &Snapshot) -> Vec<(KeyIx, ValueIx)> {
    let all = snapshot.nodes.iter().flat_map(|node| node.labels.iter().copied());
    let bars: BTreeSet<_> = all.filter(|(key, _)| *key >= BARS).collect();
    bars.into_iter().collect()
}

fn set_quota(frame: &mut Frame, subject: &QuotaSubject, limits: &Limits, words: &Words) -> Result<()> {
    let account = frame.accounts.iter().position(|account| *account == subject.account.to_string());
    let account = account.ok_or_else(|| Error::not_found("account", &subject.account))?;
    let ix = AccountIx::of(account);
    let (guaranteed, limit) = match &subject.user {
        None => {
            let account = &mut frame.snapshot.accounts[account];
            (&mut account.guaranteed, &mut account.limit)
        }
        Some(user) => {
            let at = user_at(frame, ix, user);
            let user = &mut frame.snapshot.users[at];
            (&mut user.guaranteed, &mut user.limit)
        }
    };
    for (kind, of) in limits {
        for (amounts, value) in [(&mut *guaranteed, of.guaranteed), (&mut *limit, of.limit)] {
            if value.is_some() {
                set_amount(words, amounts, kind, value);
            }
        }
    }
    frame.name(words);
    Ok(())
}

/// The entry of a person in an account; one who had none gets one, and so do their jobs.
fn user_at(frame: &mut Frame, account: AccountIx, user: &UserId) -> usize {
    let known = frame.users.iter().zip(&frame.snapshot.users);
    let mut known = known.map(|(name, of)| *name == user.to_string() && of.account == account);
    if let Some(at) = known.position(|same| same) {
        return at;
    }
    let at = frame.users.len();
    frame.users.push(user.to_string());
    frame.snapshot.users.push(User { account, guaranteed: Amounts::default(), limit: Amounts::default() });
    for (entry, job) in frame.entries.iter().zip(&mut frame.snapshot.jobs) {
        let creator =
            entry.as_ref().and_then(|entry| entry.wanted.as_ref().ok()).map(|wanted| &wanted.creator);
        if job.account == account && creator == Some(user) {
            job.user = Some(UserIx::of(at));
        }
    }
    at
}

#[cfg(test)]
#[path = "whatif_tests.rs"]
mod tests;
