//! What a predictor takes of memory, alone in its process.
#![allow(clippy::unwrap_used)]

use crater_engine::predict::{Predictor, Traits};

/// Of each person; enough of them for the bounds even where it takes long.
const STEMS: u64 = if cfg!(debug_assertions) { 5 } else { 50 };

/// Bytes that this process holds, where the system tells.
fn held() -> Option<i64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse::<i64>().ok().map(|kib| kib * 1024)
}

#[test]
fn ten_thousand_people_with_fifty_kinds_of_job_take_less_than_50_mib() {
    let Some(before) = held() else {
        println!("note: the system does not tell how much memory a process holds");
        return;
    };
    let mut predictor = Predictor::default();
    for user in 0..10_000u64 {
        for stem in 0..STEMS {
            let kin = Some(user * 1000 + stem);
            let traits =
                Traits { user: Some(user), stem: kin, kind: Some(stem % 3), gpu: 1000, estimate: Some(5000) };
            predictor.learn(&traits, 1000 << ((user + stem) % 20));
        }
    }
    let took = held().unwrap() - before;
    println!("{} KiB", took / 1024);
    assert!(took < 50 << 20, "{took}");
    assert_eq!(predictor.learned(), 10_000 * STEMS);
    // deterministic: the same again is the same
    let stored = serde_json::to_string(&predictor).unwrap();
    let again: Predictor = serde_json::from_str(&stored).unwrap();
    assert!(again == predictor);
    let newer = stored.replacen("\"version\":1", "\"version\":9", 1);
    assert!(serde_json::from_str::<Predictor>(&newer).unwrap_err().to_string().contains("version 9"));
    let torn = stored.replacen("\"jobs\":", "\"jobs\":1", 1);
    assert!(serde_json::from_str::<Predictor>(&torn).is_err());
}
