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
use serde::{Deserialize, Serialize};

use crate::foresight::{Foresight, Learned};
use crate::kept;
use crate::past::{Packed, Past};
use crate::shared::Shared;

/// How often what is new is kept.
const EVERY: Duration = Duration::from_secs(60);
/// The entry of the ConfigMap.
const ENTRY: &str = "learned.json.gz";
/// What is unpacked at most, in bytes.
const MOST: u64 = 64 << 20;
/// A ConfigMap takes 1 MiB; what was not met for longest is not kept where all does not fit.
const FITS: usize = 1_000_000;

/// All that is kept.
#[derive(Serialize, Deserialize)]
struct Experience {
    learned: Learned,
    past: Packed,
}

/// Takes up what was kept when this process comes to lead, then keeps what is new. Losing it costs good forecasts, and fairness over time, for a
/// while; nothing else.
pub async fn keep(shared: Arc<Shared>, client: Client) -> Result<(), String> {
    let (mut led, mut known) = (None, String::new());
    let mut terms = shared.leader.changes();
    loop {
        let Some(term) = shared.leader.term() else {
            let _ = tokio::time::timeout(EVERY, terms.changed()).await;
            continue;
        };
        if led != Some(term.epoch) {
            take_up(&shared, &client).await?;
            led = Some(term.epoch);
        }
        tokio::time::sleep(EVERY).await;
        let mut experience = Experience {
            learned: shared.foresight().learned().clone(),
            past: shared.past().pack(&shared.cache().words.models),
        };
        let mut text = pack(&experience)?;
        while text.len() > FITS && experience.learned.halve() {
            text = pack(&experience)?;
        }
        if text == known {
            continue;
        }
        if text.len() > FITS {
            tracing::warn!(bytes = text.len(), "what was learned of run times is too much to be kept");
        } else if let Some(_leave) = shared.leader.may_write(term.epoch).await {
            kept::write(&client, EXPERIENCE_CONFIGMAP, ENTRY, &text).await?;
        }
        known = text;
    }
}

async fn take_up(shared: &Shared, client: &Client) -> Result<(), String> {
    let kept = kept::read(client, EXPERIENCE_CONFIGMAP, ENTRY).await.map_err(|error| error.to_string())?;
    match kept.as_deref().map(unpack).transpose() {
        Ok(Some(Experience { learned, past })) => {
            // who knows more than what was kept has led all along
            if learned.amount() >= shared.foresight().learned().amount() {
                *shared.foresight() = Foresight::of(learned);
                let models = shared.cache().words.models.clone();
                *shared.past() = Past::unpack(past, &models);
            }
        }
        Ok(None) => {}
        Err(error) => tracing::warn!(error, "what was learned of run times cannot be read: beginning anew"),
    }
    Ok(())
}

fn pack(experience: &Experience) -> Result<String, String> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::default());
    let json = serde_json::to_vec(experience).map_err(|error| error.to_string())?;
    packed.write_all(&json).map_err(|error| error.to_string())?;
    Ok(STANDARD.encode(packed.finish().map_err(|error| error.to_string())?))
}

fn unpack(text: &str) -> Result<Experience, String> {
    let packed = STANDARD.decode(text).map_err(|error| error.to_string())?;
    let mut json = Vec::new();
    GzDecoder::new(&*packed).take(MOST).read_to_end(&mut json).map_err(|error| error.to_string())?;
    serde_json::from_slice(&json).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words::Models;

    #[test]
    fn what_is_packed_comes_out_and_what_is_broken_is_refused() {
        let past = Past::default().pack(&Models::default());
        let text = pack(&Experience { learned: Learned::default(), past }).unwrap();
        assert_eq!(unpack(&text).unwrap().learned.amount(), 0);
        for broken in ["", "!", &text[..text.len() / 2]] {
            assert!(unpack(broken).is_err(), "{broken:?}");
        }
    }
}
