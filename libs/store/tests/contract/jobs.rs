//! The laws of the lists of jobs.

use std::collections::BTreeSet;

use crater_domain::{JobSpec, JobState, JobUid, ServiceClass};
use crater_store::job::{self, By, Filter, Job, Key, NewJob, Order, Page, Span, Suspension, Visible};
use crater_store::{Conn, Result, Service};
use uuid::Uuid;

const STATES: [JobState; 4] = [JobState::Queued, JobState::Running, JobState::Succeeded, JobState::Failed];

/// Numbers that look random, the same in each run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[usize::try_from(self.below(of.len() as u64)).unwrap()]
    }
}

fn make(c: &mut Conn, i: i64, dice: &mut Dice) -> Result<Job> {
    let class = dice.one(&[ServiceClass::Guaranteed, ServiceClass::BestEffort]);
    let priority = i32::try_from(dice.below(3)).unwrap();
    let new = NewJob {
        uid: JobUid(Uuid::from_u128(u128::from(dice.below(1 << 40)) << 64 | u128::try_from(i).unwrap())),
        name: format!("accounts/{}/jobs/{}{i}", dice.one(&["lab", "den", "top"]), dice.one(&["a-", "b"]))
            .parse()
            .unwrap(),
        creator: dice.one(&["ann", "amy", "bob"]).parse().unwrap(),
        spec: JobSpec {
            class,
            priority,
            roles: vec![],
            expected_seconds: None,
            max_retries: 0,
            grace_seconds: 0,
            place: Default::default(),
        },
        labels: (0..dice.below(3)).map(|k| (format!("k{k}"), dice.one(&["x", "y"]).to_owned())).collect(),
        // several of one moment
        created_ms: i64::try_from(dice.below(20)).unwrap(),
        trace: None,
    };
    let mut made = job::create(c, &new)?;
    made.state = dice.one(&STATES);
    made.ended_ms = made.state.is_final().then(|| made.created_ms + i64::try_from(dice.below(9)).unwrap());
    if dice.below(4) == 0 {
        made.suspended = Some(Suspension { by: "users/ann".into(), since_ms: 7 });
    }
    let old = made.labels.clone();
    if dice.below(4) == 0 {
        made.labels.insert("k9".into(), "z".into());
        made.labels.remove("k0");
    }
    if dice.below(10) == 0 {
        made.deleted_ms = Some(9);
    }
    job::rewrite(c, &mut made, &old)?;
    if made.deleted_ms.is_some() {
        job::clear_events(c, made.uid)?;
    }
    Ok(made)
}

fn filter(dice: &mut Dice) -> Filter {
    let mut f = Filter::default();
    let span = |dice: &mut Dice| Span {
        from: (dice.below(2) == 0).then(|| i64::try_from(dice.below(20)).unwrap()),
        before: (dice.below(2) == 0).then(|| i64::try_from(dice.below(25)).unwrap()),
    };
    for which in 0..8 {
        if dice.below(4) != 0 {
            continue;
        }
        match which {
            0 => f.states = (0..=dice.below(2)).map(|_| dice.one(&STATES)).collect(),
            1 => {
                f.creators = (0..=dice.below(2)).map(|_| dice.one(&["ann", "amy"]).parse().unwrap()).collect()
            }
            2 => f.classes = vec![dice.one(&[ServiceClass::Guaranteed, ServiceClass::BestEffort])],
            3 => {
                for _ in 0..=dice.below(2) {
                    let (key, value) = (dice.one(&["k0", "k1", "k9"]), dice.one(&["", "x", "z"]));
                    f.labels.insert(key.to_owned(), value.to_owned());
                }
            }
            4 => f.created = span(dice),
            5 => f.ended = span(dice),
            6 => f.suspended = Some(dice.below(2) == 0),
            _ => f.id_contains = dice.one(&["a-", "b1", "7"]).to_owned(),
        }
    }
    f
}

fn key(by: By, job: &Job) -> Key {
    let value = match by {
        By::Created => Some(job.created_ms),
        By::Ended => job.ended_ms,
        By::Priority => Some(i64::from(job.spec.priority)),
    };
    Key { value, uid: job.uid }
}

#[tokio::test]
async fn a_list_is_all_that_matches_in_order_whatever_is_asked_and_however_it_is_paged() {
    crate::house::with_db(Service::Job, |c| {
        let mut dice = Dice(20_261_125);
        let all: Vec<Job> = (0..150).map(|i| make(c, i, &mut dice)).collect::<Result<_>>()?;
        for round in 0..150 {
            let (f, by) = (filter(&mut dice), dice.one(&[By::Created, By::Ended, By::Priority]));
            let order = Order { by, descending: dice.below(2) == 0 };
            let visible = match dice.below(3) {
                0 => Visible::All,
                1 => Visible::Accounts(vec!["lab".parse().unwrap()]),
                _ => Visible::Accounts(vec!["lab".parse().unwrap(), "den".parse().unwrap()]),
            };
            let mine = |j: &&Job| match &visible {
                Visible::All => true,
                Visible::Accounts(accounts) => accounts.contains(&j.name.account),
            };
            let matching = all.iter().filter(mine).filter(|j| j.deleted_ms.is_none() && f.matches(j));
            let mut expected: Vec<Key> = matching.map(|j| key(by, j)).collect();
            expected.sort();
            if order.descending {
                expected.reverse();
            }
            let limit = dice.one(&[1, 3, 50]);
            let mut page = Page { visible: visible.clone(), filter: f.clone(), order, after: None, limit };
            let (mut found, mut seen) = (Vec::new(), BTreeSet::new());
            loop {
                let keys = job::keys(c, &page)?;
                assert!(keys.iter().all(|k| seen.insert(k.uid)), "one came twice in round {round}");
                let uids: Vec<JobUid> = keys.iter().map(|k| k.uid).collect();
                found.extend(job::load(c, &uids)?.iter().map(|j| key(by, j)));
                page.after = keys.last().copied();
                if keys.len() < limit {
                    break;
                }
            }
            assert_eq!(found, expected, "round {round}: {f:?} {order:?} {visible:?}");
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn the_unended_jobs_of_an_account_are_found_and_no_others() {
    crate::house::with_db(Service::Job, |c| {
        let mut dice = Dice(7);
        let all: Vec<Job> = (0..60).map(|i| make(c, i, &mut dice)).collect::<Result<_>>()?;
        let lab = "lab".parse().unwrap();
        let mut found: Vec<JobUid> = job::unended(c, &lab, 100)?.iter().map(|j| j.uid).collect();
        let of_lab = all.iter().filter(|j| j.name.account == lab && !j.state.is_final());
        let mut expected: Vec<JobUid> = of_lab.map(|j| j.uid).collect();
        found.sort();
        expected.sort();
        assert_eq!(found, expected);
        Ok(())
    })
    .await;
}
