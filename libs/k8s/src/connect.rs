//! The way to a cluster.

use std::path::Path;

use kube::config::{InferConfigError, KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};

/// Why there is no way.
#[derive(Debug, thiserror::Error)]
pub enum NoWay {
    /// The file cannot be used.
    #[error(transparent)]
    File(#[from] KubeconfigError),
    /// No file was named, and none of the usual places has one.
    #[error(transparent)]
    Nowhere(#[from] InferConfigError),
    /// What was read does not make a client.
    #[error(transparent)]
    Client(#[from] kube::Error),
}

/// A client of the cluster of a kubeconfig file; without one, of the Pod's own service account or the user's current file.
/// Nothing is asked of the cluster yet.
///
/// # Errors
/// The file is not there or makes no sense.
pub async fn connect(kubeconfig: Option<&Path>) -> Result<Client, NoWay> {
    let config = match kubeconfig {
        Some(file) => {
            Config::from_custom_kubeconfig(Kubeconfig::read_from(file)?, &KubeConfigOptions::default())
                .await?
        }
        None => Config::infer().await?,
    };
    Ok(Client::try_from(config)?)
}
