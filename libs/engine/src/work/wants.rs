//! What a job still wants, and what of its own past keeps it.

use super::Work;
use crate::model::Snapshot;
use crate::place::{Part, Want};
use crate::reason::Reason;

impl Work {
    /// Which role of a job grows next, if any can.
    pub fn grows(&self, snapshot: &Snapshot, job: usize) -> Option<usize> {
        let has = self.has(job);
        let mut roles = snapshot.jobs[job].request.roles.iter().enumerate();
        let taken = |role: usize| has.live(role).len() + has.promised(role).len();
        roles.find(|(index, role)| taken(*index) < role.replicas as usize).map(|(index, _)| index)
    }

    /// Does a job lack anything of its gang?
    pub fn lacks(&self, snapshot: &Snapshot, job: usize) -> bool {
        let has = self.has(job);
        let mut roles = snapshot.jobs[job].request.roles.iter().enumerate();
        roles.any(|(ix, role)| has.live(ix).len() + has.promised(ix).len() < role.min as usize)
    }

    /// What a job lacks of its gang (which may be nothing), or one replica above it, of the first role from `grows` on that may have one more.
    pub fn missing(&self, snapshot: &Snapshot, job: usize, grows: Option<usize>) -> Want {
        let has = self.has(job);
        let (growth, from) = (grows.is_some(), grows.unwrap_or(0));
        let mut parts = Vec::new();
        for (index, role) in snapshot.jobs[job].request.roles.iter().enumerate().skip(from) {
            let taken = has.live(index).len() + has.promised(index).len();
            let goal = if growth { role.replicas } else { role.min } as usize;
            let count = goal.saturating_sub(taken).min(if growth { 1 } else { usize::MAX });
            if count == 0 {
                continue;
            }
            let free = |r: &u32| !has.live(index).contains(*r) && !has.promised(index).contains(*r);
            // replicas that are not going first: they can start at once
            let (mut ready, going): (Vec<u32>, Vec<u32>) =
                (0..role.replicas).filter(free).partition(|r| !has.going_of(index).contains(*r));
            ready.extend(going);
            ready.truncate(count);
            parts.push(Part {
                role: u16::try_from(index).unwrap_or(u16::MAX),
                each: role.each,
                replicas: ready,
            });
            if growth {
                break;
            }
        }
        Want { parts }
    }

    /// Why a job's own past keeps it, if it does.
    pub fn own_past(&self, job: usize) -> Option<Reason> {
        let has = self.has(job);
        match (has.unconfirmed, has.going()) {
            (Some(node), _) => Some(Reason::NodeUnconfirmed { node }),
            (None, going) if going > 0 => Some(Reason::StillEnding { going }),
            _ => None,
        }
    }
}
