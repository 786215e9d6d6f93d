//! Lists of jobs: in order, a page at a time, without sorting all that there is.
//!
//! A query is cut into *sources*: one account, one state or one creator each, of which an index holds the jobs in the order that is wanted.
//! Each source gives the keys of its first jobs, mostly from the index alone, and these are merged; rows are read ([`load`]) for the jobs
//! of the page only. What is no source's business is looked at in each row on the way.

use crater_domain::{AccountId, JobState, JobUid, UserId};
use diesel::dsl::exists;
use diesel::prelude::*;

use super::filter::{Filter, class_word};
use super::row::{Job, Row, job};
use super::schema::{job_labels, jobs, listed};
use crate::conn::{Conn, query};
use crate::{Error, Result};

/// The accounts whose jobs somebody may see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Visible {
    /// Every account.
    All,
    /// These.
    Accounts(Vec<AccountId>),
}

impl Visible {
    /// The accounts' names; none for every account.
    pub(super) fn names(&self) -> Option<Vec<&str>> {
        match self {
            Self::All => None,
            Self::Accounts(accounts) => Some(accounts.iter().map(AccountId::as_str).collect()),
        }
    }
}

/// By what jobs are ordered; equal ones by their uid, which grows with time, in the same direction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum By {
    /// When they were created.
    #[default]
    Created,
    /// When they ended; those that have not come before all that have.
    Ended,
    /// Their priority.
    Priority,
}

/// An order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Order {
    /// By what.
    pub by: By,
    /// The highest first.
    pub descending: bool,
}

impl Default for Order {
    /// Newest first.
    fn default() -> Self {
        Self { by: By::Created, descending: true }
    }
}

/// A job's place in an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// By what it is ordered; none: it has not ended.
    pub value: Option<i64>,
    /// The job.
    pub uid: JobUid,
}

/// Which jobs are listed.
#[derive(Debug, Clone)]
pub struct Page {
    /// Of which accounts.
    pub visible: Visible,
    /// Which of them.
    pub filter: Filter,
    /// In which order.
    pub order: Order,
    /// Only those after this place.
    pub after: Option<Key>,
    /// At most so many.
    pub limit: usize,
}

/// More sources than this are not asked one by one.
const MOST_SOURCES: usize = 64;
/// Keys of a label that are looked up at once; then more.
const FEW: usize = 256;
const MANY: usize = 8_192;
const ACTIVE: [JobState; 3] = [JobState::Queued, JobState::Starting, JobState::Running];

/// Of which an index holds the jobs in order.
#[derive(Debug, Clone, Copy, Default)]
struct Source<'a> {
    account: Option<&'a AccountId>,
    state: Option<JobState>,
    creator: Option<&'a UserId>,
}

/// The rest of a query: looked at in the rows.
#[derive(Debug, Default)]
struct Rest<'a> {
    accounts: Option<&'a [AccountId]>,
    states: &'a [JobState],
    creators: &'a [UserId],
}

/// A part of the order: jobs that have not ended stand apart from those that have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Whole,
    Ended,
    Unended,
}

/// The places of the page's jobs, tombstones among them: [`load`] leaves those out.
pub fn keys(conn: &mut Conn, page: &Page) -> Result<Vec<Key>> {
    let Filter { states, creators, labels, .. } = &page.filter;
    let accounts = match &page.visible {
        Visible::All => None,
        Visible::Accounts(accounts) if accounts.is_empty() => return Ok(Vec::new()),
        Visible::Accounts(accounts) => Some(accounts.as_slice()),
    };
    let created = page.order.by == By::Created;
    let aside = page.filter.suspended == Some(true);
    // few jobs have not ended, of however many there are
    let wanted: Vec<JobState> = match aside {
        true => ACTIVE.into_iter().filter(|s| states.is_empty() || states.contains(s)).collect(),
        false => states.clone(),
    };
    if aside && wanted.is_empty() {
        return Ok(Vec::new());
    }
    let active = !wanted.is_empty() && wanted.iter().all(|s| !s.is_final());
    let label = labels.iter().find(|(_, value)| !value.is_empty());
    let whole = Rest { accounts, states: &wanted, creators };
    if let (true, false, Some(label)) = (created, active, label) {
        return labelled(conn, page, label, &whole);
    }
    let by_creator = created && !active && !creators.is_empty() && creators.len() <= MOST_SOURCES;
    let by_state = !wanted.is_empty() && !by_creator && (active || created);
    let by_account = !by_creator && (active || created);
    let mut sources = vec![Source::default()];
    let mut rest = whole;
    if by_creator {
        sources = creators.iter().map(|c| Source { creator: Some(c), ..Source::default() }).collect();
        rest.creators = &[];
    }
    if by_state {
        sources = wanted.iter().map(|s| Source { state: Some(*s), ..Source::default() }).collect();
        rest.states = &[];
    }
    if let Some(accounts) = accounts.filter(|a| by_account && a.len() * sources.len() <= MOST_SOURCES) {
        let mut each = Vec::with_capacity(accounts.len() * sources.len());
        for source in sources {
            each.extend(accounts.iter().map(|a| Source { account: Some(a), ..source }));
        }
        sources = each;
        rest.accounts = None;
    }
    let mut found = Vec::new();
    for source in &sources {
        of_source(conn, page, source, &rest, &mut found)?;
    }
    Ok(first(found, page))
}

/// The first of what several sources gave, each once.
fn first(mut found: Vec<Key>, page: &Page) -> Vec<Key> {
    // none sorts before all values, as NULL does
    found.sort_unstable();
    found.dedup();
    if page.order.descending {
        found.reverse();
    }
    found.truncate(page.limit);
    found
}

fn of_source(
    conn: &mut Conn,
    page: &Page,
    source: &Source<'_>,
    rest: &Rest<'_>,
    found: &mut Vec<Key>,
) -> Result<()> {
    let parts: &[Part] = match (page.order.by, page.order.descending) {
        (By::Created | By::Priority, _) => &[Part::Whole],
        (By::Ended, true) => &[Part::Ended, Part::Unended],
        (By::Ended, false) => &[Part::Unended, Part::Ended],
    };
    let mut room = page.limit;
    for part in parts {
        let past = match (page.after, part) {
            (Some(Key { value: Some(_), .. }), Part::Unended) => !page.order.descending,
            (Some(Key { value: None, .. }), Part::Ended) => page.order.descending,
            _ => false,
        };
        if past || room == 0 {
            continue;
        }
        let rows = of_part(conn, page, source, rest, *part, room)?;
        room -= rows.len().min(room);
        for (value, uid) in rows {
            found.push(Key { value, uid: uid.parse().map_err(Error::internal)? });
        }
    }
    Ok(())
}

/// The query of one source; the column of the order is the only thing in which its three forms differ.
macro_rules! ordered {
    ($conn:expr, $column:expr, $page:expr, $source:expr, $rest:expr, $part:expr, $limit:expr) => {
        query!($conn, |c| {
            let (page, source, rest): (&Page, &Source<'_>, &Rest<'_>) = ($page, $source, $rest);
            let filter = &page.filter;
            let mut found = listed::table.select(($column.nullable(), listed::uid)).into_boxed();
            if let Some(account) = source.account {
                found = found.filter(listed::account.eq(account.as_str()));
            }
            if let Some(state) = source.state {
                found = found.filter(listed::state.eq(state.as_str()));
            }
            if let Some(creator) = source.creator {
                found = found.filter(listed::creator.eq(creator.as_str()));
            }
            if let Some(accounts) = rest.accounts {
                found = found.filter(listed::account.eq_any(accounts.iter().map(AccountId::as_str)));
            }
            if !rest.states.is_empty() {
                found = found.filter(listed::state.eq_any(rest.states.iter().map(|s| s.as_str())));
            }
            if !rest.creators.is_empty() {
                found = found.filter(listed::creator.eq_any(rest.creators.iter().map(UserId::as_str)));
            }
            if !filter.classes.is_empty() {
                found = found.filter(listed::class.eq_any(filter.classes.iter().map(|c| class_word(*c))));
            }
            for (name, value) in &filter.labels {
                let label = job_labels::table
                    .filter(job_labels::job.eq(listed::uid))
                    .filter(job_labels::name.eq(name.as_str()));
                found = match value.as_str() {
                    "" => found.filter(exists(label)),
                    value => found.filter(exists(label.filter(job_labels::value.eq(value)))),
                };
            }
            if let Some(from) = filter.created.from {
                found = found.filter(listed::created_ms.ge(from));
            }
            if let Some(before) = filter.created.before {
                found = found.filter(listed::created_ms.lt(before));
            }
            if let Some(from) = filter.ended.from {
                found = found.filter(listed::ended_ms.ge(from));
            }
            if let Some(before) = filter.ended.before {
                found = found.filter(listed::ended_ms.lt(before));
            }
            match filter.suspended {
                Some(true) => {
                    found =
                        found.filter(listed::suspended_ms.is_not_null()).filter(listed::ended_ms.is_null());
                }
                Some(false) => {
                    let ended = listed::ended_ms.is_not_null();
                    found = found.filter(listed::suspended_ms.is_null().or(ended));
                }
                None => {}
            }
            if !filter.id_contains.is_empty() {
                found = found.filter(listed::id.like(format!("%{}%", filter.id_contains)));
            }
            match $part {
                Part::Whole => {}
                Part::Ended => found = found.filter(listed::ended_ms.is_not_null()),
                Part::Unended => found = found.filter(listed::ended_ms.is_null()),
            }
            let down = page.order.descending;
            match page.after {
                Some(Key { value: Some(value), uid }) if $part != Part::Unended => {
                    let uid = uid.to_string();
                    // the first condition bounds the index, the second one the equals
                    found = if down {
                        found.filter($column.le(value)).filter($column.lt(value).or(listed::uid.lt(uid)))
                    } else {
                        found.filter($column.ge(value)).filter($column.gt(value).or(listed::uid.gt(uid)))
                    };
                }
                Some(Key { value: None, uid }) if $part == Part::Unended => {
                    let uid = uid.to_string();
                    found = if down {
                        found.filter(listed::uid.lt(uid))
                    } else {
                        found.filter(listed::uid.gt(uid))
                    };
                }
                _ => {}
            }
            found = match (down, $part) {
                (true, Part::Unended) => found.order(listed::uid.desc()),
                (false, Part::Unended) => found.order(listed::uid.asc()),
                (true, _) => found.order(($column.desc(), listed::uid.desc())),
                (false, _) => found.order(($column.asc(), listed::uid.asc())),
            };
            found.limit(i64::try_from($limit).unwrap_or(i64::MAX)).load::<(Option<i64>, String)>(c)
        })
    };
}

fn of_part(
    conn: &mut Conn,
    page: &Page,
    source: &Source<'_>,
    rest: &Rest<'_>,
    part: Part,
    limit: usize,
) -> Result<Vec<(Option<i64>, String)>> {
    let rows = match page.order.by {
        By::Created => ordered!(conn, listed::created_ms, page, source, rest, part, limit),
        By::Ended => ordered!(conn, listed::ended_ms, page, source, rest, part, limit),
        By::Priority => ordered!(conn, listed::priority, page, source, rest, part, limit),
    };
    Ok(rows?)
}

/// By creation, the jobs with a label: its index gives them in order, and what else must hold is asked for some at a time.
fn labelled(
    conn: &mut Conn,
    page: &Page,
    (name, value): (&String, &String),
    rest: &Rest<'_>,
) -> Result<Vec<Key>> {
    let filter = &page.filter;
    let plain = filter.labels.len() == 1
        && rest.states.is_empty()
        && rest.creators.is_empty()
        && filter.classes.is_empty()
        && filter.ended == Default::default()
        && filter.suspended.is_none()
        && filter.id_contains.is_empty();
    let mut after = page.after;
    let mut found: Vec<Key> = Vec::new();
    let mut size = if plain { page.limit } else { FEW.max(page.limit) };
    loop {
        let keys = label_keys(conn, page, (name, value), rest.accounts, after, size)?;
        after = keys.last().copied();
        let last = keys.len() < size;
        if plain {
            found.extend(keys);
        } else {
            let uids: Vec<JobUid> = keys.iter().map(|k| k.uid).collect();
            let good: Vec<Job> = load(conn, &uids)?.into_iter().filter(|j| filter.matches(j)).collect();
            found.extend(good.into_iter().map(|j| Key { value: Some(j.created_ms), uid: j.uid }));
        }
        if last || found.len() >= page.limit {
            found.truncate(page.limit);
            return Ok(found);
        }
        size = (size * 2).min(MANY);
    }
}

fn label_keys(
    conn: &mut Conn,
    page: &Page,
    (name, value): (&String, &String),
    accounts: Option<&[AccountId]>,
    after: Option<Key>,
    limit: usize,
) -> Result<Vec<Key>> {
    let Filter { created, .. } = &page.filter;
    let rows: Vec<(i64, String)> = query!(conn, |c| {
        let mut found = job_labels::table
            .filter(job_labels::name.eq(name.as_str()))
            .filter(job_labels::value.eq(value.as_str()))
            .select((job_labels::created_ms, job_labels::job))
            .into_boxed();
        if let Some(accounts) = accounts {
            found = found.filter(job_labels::account.eq_any(accounts.iter().map(AccountId::as_str)));
        }
        if let Some(from) = created.from {
            found = found.filter(job_labels::created_ms.ge(from));
        }
        if let Some(before) = created.before {
            found = found.filter(job_labels::created_ms.lt(before));
        }
        let ms = job_labels::created_ms;
        if let Some(Key { value: Some(at), uid }) = after {
            let uid = uid.to_string();
            found = match page.order.descending {
                true => found.filter(ms.le(at)).filter(ms.lt(at).or(job_labels::job.lt(uid))),
                false => found.filter(ms.ge(at)).filter(ms.gt(at).or(job_labels::job.gt(uid))),
            };
        }
        found = match page.order.descending {
            true => found.order((ms.desc(), job_labels::job.desc())),
            false => found.order((ms.asc(), job_labels::job.asc())),
        };
        found.limit(i64::try_from(limit).unwrap_or(i64::MAX)).load(c)
    })?;
    let key =
        |(ms, uid): (i64, String)| Ok(Key { value: Some(ms), uid: uid.parse().map_err(Error::internal)? });
    rows.into_iter().map(key).collect()
}

/// The jobs with these uids, in this order, without those that are deleted.
pub fn load(conn: &mut Conn, uids: &[JobUid]) -> Result<Vec<Job>> {
    let uids_text: Vec<String> = uids.iter().map(ToString::to_string).collect();
    let rows: Vec<Row> = query!(conn, |c| jobs::table
        .filter(jobs::uid.eq_any(&uids_text))
        .filter(jobs::live_id.is_not_null())
        .load(c))?;
    let mut by_uid = std::collections::HashMap::with_capacity(rows.len());
    for row in rows {
        let job = job(row)?;
        by_uid.insert(job.uid, job);
    }
    Ok(uids.iter().filter_map(|uid| by_uid.remove(uid)).collect())
}
