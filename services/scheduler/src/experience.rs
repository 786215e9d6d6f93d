//! What was learned outlives the process: packed into a ConfigMap now and then, while this process leads.

use std::io::{Read, Write};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use crater_k8s::names::EXPERIENCE_CONFIGMAP;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use kube::Client;

use crate::foresight::{Foresight, Learned};
use crate::kept;
use crate::shared::Shared;

/// How often what is new is kept.
const EVERY: Duration = Duration::from_secs(60);
/// The entry of the ConfigMap.
const ENTRY: &str = "learned.json.gz";
/// What is unpacked at most, in bytes.
const MOST: u64 = 64 << 20;
/// A ConfigMap takes 1 MiB; what does not fit is not kept.
const FITS: usize = 1_000_000;

/// Takes up what was kept, then keeps what is new. Losing it costs good forecasts for a while, nothing else.
pub async fn keep(shared: Arc<Shared>, client: Client) -> Result<(), String> {
    if shared.foresight().learned().amount() == 0 {
        let kept =
            kept::read(&client, EXPERIENCE_CONFIGMAP, ENTRY).await.map_err(|error| error.to_string())?;
        match kept.as_deref().map(unpack).transpose() {
            Ok(Some(learned)) => *shared.foresight() = Foresight::of(learned),
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(error, "what was learned of run times cannot be read: beginning anew")
            }
        }
    }
    let mut known = shared.foresight().learned().amount();
    loop {
        tokio::time::sleep(EVERY).await;
        let Some(term) = shared.leader.term() else { continue };
        let learned = shared.foresight().learned().clone();
        if learned.amount() == known {
            continue;
        }
        let text = pack(&learned)?;
        if text.len() > FITS {
            tracing::warn!(bytes = text.len(), "what was learned of run times is too much to be kept");
            known = learned.amount();
            continue;
        }
        if let Some(_leave) = shared.leader.may_write(term.epoch).await {
            kept::write(&client, EXPERIENCE_CONFIGMAP, ENTRY, &text).await?;
            known = learned.amount();
        }
    }
}

fn pack(learned: &Learned) -> Result<String, String> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::default());
    let json = serde_json::to_vec(learned).map_err(|error| error.to_string())?;
    packed.write_all(&json).map_err(|error| error.to_string())?;
    Ok(STANDARD.encode(packed.finish().map_err(|error| error.to_string())?))
}

fn unpack(text: &str) -> Result<Learned, String> {
    let packed = STANDARD.decode(text).map_err(|error| error.to_string())?;
    let mut json = Vec::new();
    GzDecoder::new(&*packed).take(MOST).read_to_end(&mut json).map_err(|error| error.to_string())?;
    serde_json::from_slice(&json).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_comes_out_and_what_is_broken_is_refused() {
        let text = pack(&Learned::default()).unwrap();
        assert_eq!(unpack(&text).unwrap().amount(), 0);
        for broken in ["", "!", &text[..text.len() / 2]] {
            assert!(unpack(broken).is_err(), "{broken:?}");
        }
    }
}
