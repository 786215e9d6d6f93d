//! What came of an audit, for people and for machines.

use std::fmt::Write;

use serde::Serialize;

use crate::judge::Seen;
use crate::violation::Violation;

/// An audit's verdict.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Whether all that was judged was right.
    pub ok: bool,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// What was wrong.
    pub violations: Vec<Violation>,
    /// Violations beyond those.
    pub more: u64,
    /// How much was seen.
    pub seen: Seen,
    /// Versions that came after a later one had been judged.
    pub late: u64,
    /// Jobs that had still to come to rest when it ended.
    pub unsettled: usize,
    /// Troubles with the sources, each once.
    pub troubles: Vec<String>,
}

impl Report {
    /// As JSON.
    pub fn json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default()
    }

    /// As text.
    pub fn text(&self) -> String {
        let mut out = String::new();
        let s = &self.seen;
        for violation in &self.violations {
            let _ = writeln!(out, "{violation}");
        }
        if self.more > 0 {
            let _ = writeln!(out, "and {} more", self.more);
        }
        for trouble in &self.troubles {
            let _ = writeln!(out, "trouble: {trouble}");
        }
        let rate = s.versions as f64 / self.seconds.max(0.001);
        let _ = writeln!(
            out,
            "seen in {:.1} s: {} versions ({rate:.0}/s; {} of AIJobs, {} of Allocations, {} of Pods), {} AIJobs, {} Allocations, \
             {} Pods, {} nodes, {} epochs, {} clusters",
            self.seconds,
            s.versions,
            s.job_versions,
            s.allocation_versions,
            s.pod_versions,
            s.jobs,
            s.allocations,
            s.pods,
            s.nodes,
            s.epochs,
            s.clusters
        );
        let _ = writeln!(
            out,
            "  {} jobs in the tables ({} ended), {} changes of rows in {} snapshots, {} jobs told, {} events, {} reasons, {} answers \
             to callers; {} judgements, {} late versions, {} gaps, {} jobs not at rest",
            s.jobs_in_tables,
            s.ended,
            s.rows,
            s.snapshots,
            s.told,
            s.events,
            s.reasons,
            s.acknowledged,
            s.judgements,
            self.late,
            s.gaps,
            self.unsettled
        );
        let verdict =
            if self.ok { "no violation".to_owned() } else { format!("{} violations", self.violations.len()) };
        let _ = writeln!(out, "{verdict}");
        out
    }
}
