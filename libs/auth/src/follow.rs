//! Keeping keys and identities current from the user service.

use std::time::Duration;

use crater_api::user::v1::auth_service_client::AuthServiceClient;
use crater_api::user::v1::identity_service_client::IdentityServiceClient;
use crater_api::user::v1::{ListSigningKeysRequest, WatchIdentitiesRequest};
use crater_service::{Channel, Condition, Readiness, Shutdown, supervise};
use tonic::Status;

use crate::{Authenticated, Authority, Directory, KeySet, ServiceIdentity};

/// Keys are fetched again this often, and when a token names one that is not known.
const KEYS_EVERY: Duration = Duration::from_secs(30);
/// But no more often than this, whatever tokens name.
const KEYS_AT_MOST_EVERY: Duration = Duration::from_secs(1);
/// The sender gives a sign of life more often; after this silence it is dialled anew.
const SILENCE: Duration = Duration::from_secs(10);

impl Authority {
    /// Starts two background loops that keep the keys and the directory current from the user service at `channel`, until
    /// `shutdown`. The conditions `signing keys` and `identities` of `readiness` hold once both were heard.
    pub fn follow(
        &self,
        channel: Channel,
        identity: &ServiceIdentity,
        readiness: &Readiness,
        shutdown: &Shutdown,
    ) {
        let channel = identity.channel(channel);
        let (keys, keys_channel) = (self.keys().clone(), channel.clone());
        supervise("signing keys", readiness, shutdown, move |condition| {
            follow_keys(keys_channel.clone(), keys.clone(), condition)
        });
        let directory = self.directory().clone();
        supervise("identities", readiness, shutdown, move |condition| {
            follow_identities(channel.clone(), directory.clone(), condition)
        });
    }
}

async fn follow_keys(
    channel: Authenticated<Channel>,
    keys: KeySet,
    condition: Condition,
) -> Result<(), String> {
    let mut client = AuthServiceClient::new(channel);
    loop {
        let answer = client.list_signing_keys(ListSigningKeysRequest {}).await.map_err(told)?;
        let heard = answer.into_inner().keys.into_iter().filter(|key| key.algorithm == "EdDSA");
        keys.replace(heard.filter_map(|key| Some((key.key_id, key.public_key.try_into().ok()?))));
        condition.ready();
        tokio::time::sleep(KEYS_AT_MOST_EVERY).await;
        // Either way it is time: the error of the timeout is the regular case.
        let _ = tokio::time::timeout(KEYS_EVERY, keys.unknown_key_seen()).await;
    }
}

async fn follow_identities(
    channel: Authenticated<Channel>,
    directory: Directory,
    condition: Condition,
) -> Result<(), String> {
    let mut client = IdentityServiceClient::new(channel);
    let mut stream = client.watch_identities(WatchIdentitiesRequest {}).await.map_err(told)?.into_inner();
    loop {
        let message = tokio::time::timeout(SILENCE, stream.message()).await;
        let message = message.map_err(|_| format!("the user service was silent for {SILENCE:?}"))?;
        let message = message.map_err(told)?.ok_or_else(|| "the stream of identities ended".to_owned())?;
        if let Some(event) = message.event
            && directory.apply(event)
        {
            condition.ready();
        }
    }
}

fn told(status: Status) -> String {
    format!("the user service answered {:?}: {}", status.code(), status.message())
}
