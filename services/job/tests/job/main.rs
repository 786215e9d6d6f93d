//! The laws of the job service, through real gRPC over in-process channels, on an in-memory Kubernetes. Nobody schedules there: the tests
//! write statuses and Pods as the scheduler and the controller would.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says so by failing")]

mod change;
mod cluster;
mod house;
mod logs;
mod pages;
mod submit;
mod usage;
mod watch;

#[test]
fn the_same_laws_hold_on_mariadb() {
    crater_mariadb::again_on_mariadb(&["submit::", "pages::", "watch::"]);
}
