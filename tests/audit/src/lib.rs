//! The auditor: follows the cluster, the tables and the API of a running Crater, and judges at every instant whether its
//! laws hold. It reads and never writes.
//!
//! [`judge`] is pure: observations with times in, violations out. [`order`] brings what several watches tell into the order
//! in which it was written. [`edge`] does the IO, [`report`] says what came of it. A run also says how much it saw: to have
//! found nothing means something only beside that.

pub mod edge;
pub mod judge;
pub mod observation;
pub mod order;
pub mod report;
pub mod violation;
