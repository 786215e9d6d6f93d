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
    let (mut led, mut known, mut share) = (None, String::new(), Share::default());
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
        let (of, mut next) = (shared.clone(), share);
        // much is packed slowly, and who packs renews no Lease
        let packed = tokio::task::spawn_blocking(move || {
            let mut experience = Experience {
                learned: of.foresight().learned().clone(),
                past: of.past().pack(&of.cache().words.models),
            };
            let text = next.pack(&mut experience, FITS, pack)?;
            Ok::<_, String>((next, text))
        });
        let text;
        (share, text) = packed.await.map_err(|error| format!("packing: {error}"))??;
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

/// How much of what was learned is packed: what fitted last, and a little more where that left room.
#[derive(Clone, Copy, Default)]
struct Share {
    /// None: all of it.
    most: Option<(usize, usize)>,
}

impl Share {
    /// Packs as much as fits into so many bytes, or what cannot be made less.
    fn pack(
        &mut self,
        experience: &mut Experience,
        fits: usize,
        mut pack: impl FnMut(&Experience) -> Result<String, String>,
    ) -> Result<String, String> {
        let all = experience.learned.size();
        self.most = self.most.filter(|most| most.0 < all.0 || most.1 < all.1);
        if let Some(most) = self.most {
            experience.learned.keep(most);
        }
        let mut text = pack(experience)?;
        while text.len() > fits && experience.learned.size() != (0, 0) {
            let (groups, waiting) = experience.learned.size();
            self.most = Some((groups / 2, waiting / 2));
            experience.learned.keep((groups / 2, waiting / 2));
            text = pack(experience)?;
        }
        if text.len() < fits / 8 * 7 {
            let more = |most: usize| most + most / 8 + 1;
            self.most = self.most.map(|(groups, waiting)| (more(groups), more(waiting)));
        }
        Ok(text)
    }
}

async fn take_up(shared: &Shared, client: &Client) -> Result<(), String> {
    let kept = kept::read(client, EXPERIENCE_CONFIGMAP, ENTRY).await.map_err(|error| error.to_string())?;
    let unpacked = tokio::task::spawn_blocking(move || kept.as_deref().map(unpack).transpose());
    match unpacked.await.map_err(|error| format!("unpacking: {error}"))? {
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

    #[test]
    fn what_does_not_fit_is_halved_once_and_then_begun_with_what_fitted() {
        let experience = |users: u64| {
            let past = Past::default().pack(&Models::default());
            Experience { learned: Learned::of_users(users), past }
        };
        let whole = pack(&experience(500)).unwrap().len();
        let mut share = Share::default();
        let mut packed = |users: u64, fits: usize| {
            let mut tries = 0;
            let text = share.pack(&mut experience(users), fits, |experience| {
                tries += 1;
                pack(experience)
            });
            (text.unwrap().len(), tries)
        };
        assert_eq!(packed(500, whole), (whole, 1), "all of it fits");
        let fits = whole / 3;
        let (bytes, tries) = packed(500, fits);
        assert!(bytes <= fits && tries == 3, "{bytes} of {fits} bytes, {tries} tries");
        let rest: Vec<(usize, usize)> = (0..20).map(|more| packed(500 + more, fits)).collect();
        assert!(rest.iter().all(|(bytes, tries)| *bytes <= fits && *tries == 1), "{fits}: {rest:?}");
        assert!(rest[19].0 > fits / 4 * 3, "room is used: {fits}: {rest:?}");
        // and all of it again where there is room for that
        let more = (0..20).map(|_| packed(500, 2 * whole)).last();
        assert_eq!(more, Some((whole, 1)));
        // what cannot be made less comes as it is
        assert!(packed(500, 1).0 > 1);
    }
}
