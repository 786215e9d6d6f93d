//! The laws of the engine over random clusters and streams of jobs. A failing case prints its seed and smallest input.
#![allow(clippy::unwrap_used, clippy::panic)]

mod audit;
mod cases;
mod conserve;
mod found;
mod history;
mod promises;
mod remedies;
mod shares;
mod sim;
mod streams;
mod tree;
mod victims;
mod waits;

use std::collections::BTreeSet;

use crater_engine::{Holder, JobIx, Preemptible, Reason, Resource, RevokeCause, decide};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use audit::{audit, under};
use cases::{Case, Event, case};
use sim::Sim;

/// The same worlds in every run; where `PROPTEST_CASES` says how many, others each time.
#[allow(clippy::disallowed_methods)]
fn config() -> ProptestConfig {
    match std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()) {
        Some(cases) => ProptestConfig { cases, ..ProptestConfig::default() },
        None => ProptestConfig { cases: 256, rng_seed: RngSeed::Fixed(1), ..ProptestConfig::default() },
    }
}

/// Plays a case to its end; `check` sees every plan before it is carried out.
fn play(case: &Case, mut check: impl FnMut(&Sim)) -> Sim {
    let mut sim = Sim::new(case);
    for event in &case.events {
        sim.happen(event);
        sim.decide();
        check(&sim);
        sim.carry_out(false);
    }
    sim
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn no_plan_breaks_a_law(case in case()) {
        play(&case, |sim| audit(&sim.snapshot, &sim.plan));
    }

    #[test]
    fn the_same_snapshot_gives_the_same_plan_in_whatever_order_its_holdings_are_listed(case in case()) {
        play(&case, |sim| {
            let mut other = sim.snapshot.clone();
            other.holdings.reverse();
            other.holds.reverse();
            other.nodes.iter_mut().for_each(|node| node.labels.reverse());
            assert_eq!(decide(&other).unwrap(), sim.plan);
        });
    }

    #[test]
    fn without_a_new_event_everything_comes_to_rest(case in case()) {
        let mut sim = play(&case, |_| {});
        sim.happen(&Event::Release);
        sim.happen(&Event::Wait(1_000_000));
        let mut log = Vec::new();
        for cycle in 0..60 {
            // that the past fades is an event, too
            sim.happen(&Event::Wait(70 * sim.snapshot.settings.half_life_ms));
            sim.decide();
            audit(&sim.snapshot, &sim.plan);
            log.push(format!("{cycle}: {:?} {:?}", sim.plan.grants, sim.plan.revocations));
            let moved = sim.carry_out(true);
            if !moved {
                // and stays so
                for _ in 0..3 {
                    sim.happen(&Event::Wait(70 * sim.snapshot.settings.half_life_ms));
                    sim.decide();
                    let again = (sim.plan.grants.clone(), sim.plan.revocations.clone());
                    prop_assert_eq!(again, (Vec::new(), Vec::new()), "moved again after {:#?}", log);
                    sim.carry_out(true);
                }
                return Ok(());
            }
        }
        prop_assert!(false, "still moving: {:#?}", log);
    }

    #[test]
    fn no_job_waits_for_room_that_is_there(case in case()) {
        let mut sim = play(&case, |_| {});
        sim.happen(&Event::Release);
        prop_assume!(sim.settle(60));
        for verdict in &sim.plan.verdicts {
            let short = matches!(verdict.reasons[0], Reason::NoRoom { .. } | Reason::Infeasible(_));
            let job = &sim.snapshot.jobs[verdict.job.at()];
            let alone = job.request.roles.iter().map(|role| role.min).sum::<u32>() == 1;
            if short && alone {
                prop_assert!(!sim.fits_somewhere(verdict.job), "{:?} waits, though a node has room", verdict);
            }
        }
    }

    #[test]
    fn no_job_waits_for_a_limit_of_jobs_that_is_not_reached(case in case()) {
        let mut sim = play(&case, |_| {});
        sim.happen(&Event::Release);
        prop_assume!(sim.settle(60));
        let s = &sim.snapshot;
        for verdict in &sim.plan.verdicts {
            for reason in &verdict.reasons {
                let Reason::Limit { holder, resource: Resource::Jobs, limit, .. } = reason else { continue };
                let inside = |job: &JobIx| match holder {
                    Holder::Account(account) => under(s, s.jobs[job.at()].account, *account),
                    Holder::User(user) => s.jobs[job.at()].user == Some(*user),
                };
                let held = s.holdings.iter().map(|held| held.job);
                let counted: BTreeSet<JobIx> = held.chain(s.holds.iter().map(|hold| hold.job)).filter(inside).collect();
                prop_assert!(inside(&verdict.job));
                prop_assert!(i64::try_from(counted.len()).unwrap() >= *limit, "{verdict:?}, though only {counted:?} run");
            }
        }
    }

    #[test]
    fn a_new_leader_that_knows_no_promises_breaks_no_law(case in case()) {
        play(&case, |sim| {
            let mut failover = sim.snapshot.clone();
            failover.holds.clear();
            audit(&failover, &decide(&failover).unwrap());
        });
    }

    #[test]
    fn no_victim_could_be_spared(case in case()) {
        play(&case, |sim| {
            let mut one = sim.plan.revocations.iter().filter_map(|r| r.beneficiary).collect::<Vec<_>>();
            one.dedup();
            let [beneficiary] = one[..] else { return };
            let alone = sim.plan.revocations.iter().all(|r| r.beneficiary == Some(beneficiary));
            // an elastic beneficiary may have several turns in a cycle, each with victims of its own
            let rigid = sim.snapshot.jobs[beneficiary.at()].request.roles.iter().all(|r| r.min == r.replicas);
            // what is kept for others is not there to be used instead
            let kept = !sim.plan.reservations.is_empty() || !sim.snapshot.holds.is_empty();
            if !alone || !rigid || kept || !sim.plan.grants.is_empty() {
                return;
            }
            for spared in &sim.plan.revocations {
                let mut world = sim.snapshot.clone();
                world.jobs[spared.job.at()].closed = true;
                world.holdings.retain(|held| {
                    held.job == spared.job || !sim.plan.revocations.iter().any(|r| {
                        r.job == held.job && r.replicas.iter().any(|x| (x.role, x.replica) == (held.role, held.replica))
                    })
                });
                // nobody else may come first
                for (ix, job) in world.jobs.iter_mut().enumerate() {
                    job.closed |= ix != beneficiary.at();
                }
                world.holds.clear();
                let without = decide(&world).unwrap();
                assert!(
                    !without.grants.iter().any(|grant| grant.job == beneficiary),
                    "{beneficiary:?} starts without taking {spared:?}"
                );
            }
        });
    }

    #[test]
    fn what_may_not_be_preempted_is_left_alone_while_its_guarantee_stands(case in case()) {
        play(&case, |sim| {
            for revocation in &sim.plan.revocations {
                let job = &sim.snapshot.jobs[revocation.job.at()];
                let never = job.preemptible == Preemptible::Never && !sim::best_effort(job);
                assert!(!never || revocation.cause == RevokeCause::BrokenGang, "{revocation:?}");
            }
        });
    }
}
