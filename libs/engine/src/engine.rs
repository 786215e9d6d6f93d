//! The engine as others use it.

use std::borrow::Cow;

use crate::cycle::Decided;
use crate::model::{JobIx, Millis, Plan, Snapshot, SnapshotError, Verdict};
use crate::reason::Reason;
use crate::tell::{Teller, Told};
use crate::world::World;

/// Decides what to do with a snapshot. Pure: the same snapshot gives the same plan.
///
/// # Errors
/// When the snapshot is not sound, as [`Snapshot::check`] says.
pub fn decide(snapshot: &Snapshot) -> Result<Plan, SnapshotError> {
    snapshot.check()?;
    let mut world = World::new(Cow::Borrowed(snapshot));
    let mut decided = world.decide();
    let verdicts = Teller::new(&mut world, &decided, &mut Told::default()).all();
    decided.plan.verdicts = verdicts;
    Ok(decided.plan)
}

/// todo
pub struct Engine {}
