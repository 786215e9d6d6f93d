//! Shares at every level of an account tree, where nothing is lost to fragments: jobs of one GPU.

use crater_engine::{Account, AccountIx, Amounts, Class, Preemptible, WHOLE_GPU};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use crate::shares::{job, play, running};

/// An account: its parent (if any, by a number to be taken from those before), weight, guarantee and limit in GPUs.
type Seed = (Option<usize>, i64, i64, Option<i64>);

/// A vertex of the tree as it is counted here: an account with all below it, or the own queue of an account that has children.
struct Vertex {
    children: Vec<usize>,
    weight: i64,
    guaranteed: i64,
    /// What all below may have at the most, by their limits and by what they ask for.
    reach: i64,
    has: i64,
}

/// The vertices of a tree; `jobs` of each account run or wait, `has` of them run.
fn vertices(accounts: &[Account], jobs: &[i64], has: &[i64]) -> Vec<Vertex> {
    let gpus = |amounts: &Amounts| amounts.gpu.map(|gpu| gpu / WHOLE_GPU);
    let count = accounts.len();
    let parents: Vec<Option<usize>> =
        accounts.iter().map(|account| account.parent.map(AccountIx::at)).collect();
    let mut all: Vec<Vertex> = accounts
        .iter()
        .enumerate()
        .map(|(ix, account)| Vertex {
            children: (0..count).filter(|child| parents[*child] == Some(ix)).collect(),
            weight: account.weight,
            guaranteed: gpus(&account.guaranteed).unwrap_or(0),
            reach: jobs[ix],
            has: has[ix],
        })
        .collect();
    // children come after their parents
    for ix in (0..count).rev() {
        let below = all[ix].children.clone();
        if !below.is_empty() {
            all.push(Vertex { children: vec![], weight: 1, guaranteed: 0, reach: jobs[ix], has: has[ix] });
            let own = all.len() - 1;
            all[ix].children.push(own);
        }
        let sum = |of: &dyn Fn(&Vertex) -> i64| below.iter().map(|child| of(&all[*child])).sum::<i64>();
        let (reach, has, promised) = (sum(&|v| v.reach), sum(&|v| v.has), sum(&|v| v.guaranteed));
        let limit = gpus(&accounts[ix].limit).unwrap_or(i64::MAX);
        let vertex = &mut all[ix];
        vertex.reach = (vertex.reach + reach).min(limit);
        vertex.has += has;
        vertex.guaranteed = vertex.guaranteed.max(promised);
    }
    let tops = (0..count).filter(|ix| parents[*ix].is_none()).collect();
    all.push(Vertex { children: tops, weight: 1, guaranteed: 0, reach: 0, has: 0 });
    all
}

proptest! {
    #![proptest_config(crate::config())]

    #[test]
    fn at_every_level_what_is_borrowed_is_shared_by_weight_within_one_job(
        sizes in vec(1u16..=4, 1..=4),
        tree in vec((option::weighted(0.6, 0usize..6), 1i64..=4, 0i64..=3, option::weighted(0.25, 1i64..=6)), 1..=6),
        jobs in vec(0usize..6, 1..=36),
    ) {
        let total: i64 = sizes.iter().map(|gpus| i64::from(*gpus)).sum();
        let mut left = total;
        let amounts = |gpus: i64| Amounts { gpu: Some(gpus * WHOLE_GPU), ..Amounts::default() };
        let mut accounts: Vec<Account> = Vec::new();
        for (ix, (parent, weight, promised, limit)) in tree.into_iter().map(|seed: Seed| seed).enumerate() {
            // guarantees that fit the cluster, all of them added up
            let promised = promised.min(left);
            left -= promised;
            accounts.push(Account {
                parent: parent.filter(|_| ix > 0).map(|parent| AccountIx::of(parent % ix)),
                weight,
                guaranteed: amounts(promised),
                limit: limit.map(amounts).unwrap_or_default(),
            });
        }
        // nobody is promised what a limit forbids
        for ix in (0..accounts.len()).rev() {
            let below = |account: &&Account| account.parent == Some(AccountIx::of(ix));
            let sum: i64 = accounts.iter().filter(below).filter_map(|account| account.guaranteed.gpu).sum();
            let account = &mut accounts[ix];
            account.guaranteed.gpu = account.guaranteed.gpu.max(Some(sum));
            account.limit.gpu = account.limit.gpu.map(|gpus| gpus.max(sum).max(account.guaranteed.gpu.unwrap_or(0)));
        }
        let count = accounts.len();
        let jobs: Vec<usize> = jobs.into_iter().map(|account| account % count).collect();
        let all = jobs.iter().map(|account| {
            let mut job = job(*account, Class::Guaranteed, 0);
            job.preemptible = Preemptible::WhenBorrowing;
            job
        });
        let sim = play(&sizes, accounts.clone(), all.collect());
        let wants: Vec<i64> =
            (0..count).map(|ix| i64::try_from(jobs.iter().filter(|account| **account == ix).count()).unwrap()).collect();
        let has: Vec<i64> = (0..count).map(|ix| i64::try_from(running(&sim, ix)).unwrap()).collect();
        let vertices = vertices(&accounts, &wants, &has);
        let borrowed = |v: &Vertex| (v.has - v.guaranteed).max(0);
        let root = &vertices[vertices.len() - 1];
        let reach: i64 = root.children.iter().map(|top| vertices[*top].reach).sum();
        prop_assert_eq!(has.iter().sum::<i64>(), total.min(reach), "{:?} of {:?} in {:?}", has, wants, accounts);
        for vertex in &vertices {
            for (poor, rich) in vertex.children.iter().flat_map(|a| vertex.children.iter().map(move |b| (a, b))) {
                let (poor, rich) = (&vertices[*poor], &vertices[*rich]);
                let (less, more) = (borrowed(poor), borrowed(rich));
                // one GPU less there and one more here would only turn the inequality around
                let fair = poor.has == poor.reach
                    || more == 0
                    || (more - 1) * poor.weight < (less + 1) * rich.weight;
                prop_assert!(fair, "{less} and {more} are borrowed: {has:?} of {wants:?} in {accounts:?}");
                let due = poor.guaranteed.min(poor.reach);
                prop_assert!(poor.has >= due, "{} of {due} that are due: {has:?} of {wants:?} in {accounts:?}", poor.has);
            }
        }
    }
}
