//! Cordon, drain, open: writes to the Node, which is the truth. Any replica may do them; the leader's loop takes the jobs off.

use crater_domain::{Error, Result};
use crater_k8s::node::{Machine, Turn, machine};
use k8s_openapi::api::core::v1::Node;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};

/// Turns a node, or with `check_only` says how it would be then.
///
/// # Errors
/// There is no such node; the cluster cannot be reached.
pub async fn turn(client: &Client, name: &str, turn: &Turn, check_only: bool) -> Result<Machine> {
    let api: Api<Node> = Api::all(client.clone());
    let node = api.get_opt(name).await.map_err(|error| told(name, error))?;
    let node = node.ok_or_else(|| Error::not_found("node", name))?;
    let before = machine(&node);
    if turn.is_done(&before) {
        return Ok(before);
    }
    let how = PatchParams { dry_run: check_only, ..PatchParams::default() };
    let after = api.patch(name, &how, &Patch::Merge(turn.patch())).await;
    after.map(|node| machine(&node)).map_err(|error| told(name, error))
}

fn told(name: &str, error: kube::Error) -> Error {
    match error {
        kube::Error::Api(status) if status.code == 404 => Error::not_found("node", name),
        error => Error::unavailable(format!("the cluster does not take a change of node {name}: {error}")),
    }
}
