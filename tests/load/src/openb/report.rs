//! What the run came to: the laws first, then the figures.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::Result;
use crater_api::job::v1::Job;
use prost_types::Timestamp;
use serde_json::json;

use super::Args;
use super::follow::{Followed, is_final};
use crate::system::System;

/// A queue of this length counts as full.
const FULL: usize = 500;

/// What was measured.
pub struct Measured<'a> {
    /// What was asked for.
    pub args: &'a Args,
    /// From the first submission to the last end.
    pub took: Duration,
    /// From the first submission to the last answer.
    pub accepted_in: Duration,
    /// What a watcher saw.
    pub followed: &'a Followed,
    /// What ran.
    pub system: &'a System,
}

/// Prints everything; whether every law held.
pub fn print(of: &Measured<'_>, wanted: &[String], jobs: &[Job], answers: &mut [Duration]) -> Result<bool> {
    let broken = laws(of, wanted, jobs);
    for law in &broken {
        println!("BROKEN: {law}");
    }
    answers.sort_unstable();
    let answer = |q: f64| {
        answers.get(((answers.len() as f64 - 1.0) * q) as usize).map_or(0.0, |d| d.as_secs_f64() * 1e3)
    };
    let samples = of.followed.samples();
    let full = samples.iter().filter(|n| **n >= FULL).count() as f64 / samples.len().max(1) as f64;
    let longest = samples.iter().max().copied().unwrap_or(0);
    let (mut waits, mut runs): (Vec<f64>, Vec<f64>) = jobs
        .iter()
        .filter_map(|job| {
            let (made, began, ended) =
                (seconds(job.create_time)?, seconds(job.start_time)?, seconds(job.end_time)?);
            Some((began - made, ended - began))
        })
        .unzip();
    let mut states: BTreeMap<String, usize> = BTreeMap::new();
    for job in jobs {
        *states
            .entry(job.state().as_str_name().trim_start_matches("JOB_STATE_").to_lowercase())
            .or_default() += 1;
    }
    let preempted: i32 = jobs.iter().map(|j| j.preemptions).sum();
    let took = of.took.as_secs_f64();
    println!();
    println!("| figure | value |");
    println!("|---|---|");
    println!("| jobs, by how they ended | {states:?}, {preempted} preemptions |");
    println!(
        "| from the first submission to the last end | {took:.1} s: {:.0} jobs/s |",
        jobs.len() as f64 / took
    );
    println!(
        "| accepted | in {:.1} s: {:.0} jobs/s |",
        of.accepted_in.as_secs_f64(),
        jobs.len() as f64 / of.accepted_in.as_secs_f64()
    );
    println!(
        "| an answer to CreateJob, p50 / p99 / most | {:.1} / {:.1} / {:.1} ms |",
        answer(0.5),
        answer(0.99),
        answer(1.0)
    );
    println!("| waiting, most; at least {FULL} | {longest}; {:.0} % of the run |", full * 100.0);
    println!(
        "| from submission to running, p50 / p99 | {:.2} / {:.2} s |",
        quantile(&mut waits, 0.5),
        quantile(&mut waits, 0.99)
    );
    println!("| running, p50 / p99 | {:.2} / {:.2} s |", quantile(&mut runs, 0.5), quantile(&mut runs, 0.99));
    for (name, cpu, peak) in of.system.used() {
        println!(
            "| {name} | {cpu:.1} s of processor ({:.0} % of one), peak {peak:.0} MiB |",
            cpu / took * 100.0
        );
    }
    if let Some(file) = &of.args.json {
        let used: Vec<_> = of
            .system
            .used()
            .into_iter()
            .map(|(n, c, p)| json!({"name": n, "cpu_s": c, "peak_mib": p}))
            .collect();
        let report = json!({
            "jobs": jobs.len(), "states": states, "preemptions": preempted, "took_s": took,
            "accepted_in_s": of.accepted_in.as_secs_f64(), "create_p50_ms": answer(0.5), "create_p99_ms": answer(0.99),
            "most_waiting": longest, "full_share": full, "wait_p50_s": quantile(&mut waits, 0.5), "wait_p99_s": quantile(&mut waits, 0.99),
            "processes": used, "broken": broken,
        });
        std::fs::write(file, serde_json::to_vec_pretty(&report)?)?;
    }
    Ok(broken.is_empty())
}

fn laws(of: &Measured<'_>, wanted: &[String], jobs: &[Job]) -> Vec<String> {
    let mut broken = Vec::new();
    let names: BTreeSet<&str> = jobs.iter().map(|j| j.name.as_str()).collect();
    let uids: BTreeSet<&str> = jobs.iter().map(|j| j.uid.as_str()).collect();
    if names.len() != jobs.len() || uids.len() != jobs.len() {
        broken.push(format!("{} jobs have {} names and {} uids", jobs.len(), names.len(), uids.len()));
    }
    let lost: Vec<&String> = wanted.iter().filter(|name| !names.contains(name.as_str())).collect();
    if !lost.is_empty() {
        broken.push(format!("{} accepted jobs are not there: {lost:?}", lost.len()));
    }
    if jobs.len() > wanted.len() {
        broken.push(format!("{} jobs are there, {} were submitted", jobs.len(), wanted.len()));
    }
    for job in jobs {
        if !is_final(job.state()) {
            broken.push(format!("{} ended in no final state: {:?}", job.name, job.state()));
        }
        // each start but the last was ended by a preemption; none failed, and none was started twice at once
        if job.state() == crater_api::job::v1::JobState::Succeeded && job.attempts != 1 + job.preemptions {
            broken.push(format!(
                "{} was started {} times, preempted {} times",
                job.name, job.attempts, job.preemptions
            ));
        }
        if job.state() != crater_api::job::v1::JobState::Succeeded {
            broken.push(format!(
                "{} should have succeeded: {:?} {} {}",
                job.name,
                job.state(),
                job.reason,
                job.message
            ));
        }
    }
    for name in of.followed.backwards() {
        broken.push(format!("{name} left a final state"));
    }
    broken.truncate(20);
    broken
}

fn seconds(at: Option<Timestamp>) -> Option<f64> {
    at.map(|t| t.seconds as f64 + f64::from(t.nanos) / 1e9)
}

fn quantile(of: &mut [f64], q: f64) -> f64 {
    of.sort_unstable_by(f64::total_cmp);
    of.get(((of.len().max(1) - 1) as f64 * q) as usize).copied().unwrap_or(f64::NAN)
}
