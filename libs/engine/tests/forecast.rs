//! Laws of forecasts: what they cover, what they forget, and that storing them loses nothing.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use crater_engine::Millis;
use crater_engine::forecast::{COURSES, Forecaster};

const MINUTE: Millis = 60_000;

/// Numbers that look random, from 0 to `below`.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: i64) -> i64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as i64 % below
    }
}

/// One job a minute is told, and starts after its base times what `truth` says; gives for each whether p50 and p90 came true.
fn play(
    forecaster: &mut Forecaster,
    jobs: i64,
    mut truth: impl FnMut(i64, &mut Dice) -> i64,
) -> Vec<(bool, bool)> {
    let mut dice = Dice(7);
    let mut starts: BTreeSet<(Millis, i64)> = BTreeSet::new();
    let mut kept: Vec<(bool, bool)> = vec![(false, false); jobs as usize];
    for job in 0..jobs {
        let now = job * MINUTE;
        while let Some((start, who)) = starts.first().copied().filter(|(start, _)| *start <= now) {
            starts.pop_first();
            forecaster.started(who as u64, start);
        }
        let base = MINUTE + dice.roll(60) * MINUTE;
        let waits = [base; COURSES];
        let forecast = forecaster.tell(now, &waits, 1000 * MINUTE);
        assert!(now <= forecast.p50 && forecast.p50 <= forecast.p90);
        forecaster.remember(job as u64, forecast);
        let start = now + base * truth(job, &mut dice) / 100;
        kept[job as usize] = (start <= forecast.p50, start <= forecast.p90);
        starts.insert((start, job));
    }
    for (start, who) in starts {
        forecaster.started(who as u64, start);
    }
    kept
}

fn covered(kept: &[(bool, bool)]) -> (f64, f64) {
    let part = |n: usize| n as f64 / kept.len() as f64;
    (part(kept.iter().filter(|k| k.0).count()), part(kept.iter().filter(|k| k.1).count()))
}

#[test]
fn nine_of_ten_start_by_p90_and_half_by_p50_also_while_the_workload_drifts() {
    // four times as slow as thought from the thousandth job on, an eighth as slow from the two thousandth
    let truth = |job: i64, dice: &mut Dice| match job / 1000 {
        0 => 60 + dice.roll(100),
        1 => 240 + dice.roll(400),
        _ => 10 + dice.roll(10),
    };
    let kept = play(&mut Forecaster::default(), 3000, truth);
    let (half, most) = covered(&kept);
    assert!((0.40..0.60).contains(&half) && (0.87..0.93).contains(&most), "{half} {most}");
    for part in kept.chunks(1000) {
        let (half, most) = covered(part);
        assert!((0.35..0.65).contains(&half) && (0.82..0.97).contains(&most), "{half} {most}");
    }
}

#[test]
fn where_waits_are_as_thought_forecasts_become_narrow() {
    let mut forecaster = Forecaster::default();
    let first = forecaster.tell(0, &[10 * MINUTE; COURSES], 1);
    assert!(!first.sure && first.p90 > 20 * MINUTE, "{first:?}");
    play(&mut forecaster, 500, |_, dice| 95 + dice.roll(10));
    let later = forecaster.tell(600 * MINUTE, &[10 * MINUTE; COURSES], 1000 * MINUTE);
    assert!(later.sure && later.p90 - later.at < 20 * MINUTE, "{later:?}");
    // quantiles that follow outcomes swing a little around them
    assert!((later.p50 - later.at - 10 * MINUTE).abs() < 4 * MINUTE, "{later:?}");
}

#[test]
fn who_still_waits_is_learned_from_before_it_starts() {
    let mut forecaster = Forecaster::default();
    let base = [10 * MINUTE; COURSES];
    let first = forecaster.tell(0, &base, 1);
    (0..50).for_each(|who| forecaster.remember(who, first));
    // 50 were told ten minutes, and have waited for three hours
    let later = forecaster.tell(180 * MINUTE, &base, 1);
    assert!(later.p50 - later.at > 100 * MINUTE, "{later:?}");
}

#[test]
fn storing_loses_nothing_and_another_form_is_refused() {
    let mut forecaster = Forecaster::default();
    play(&mut forecaster, 300, |_, dice| 50 + dice.roll(600));
    let text = serde_json::to_string(&forecaster).unwrap();
    let mut again: Forecaster = serde_json::from_str(&text).unwrap();
    assert_eq!(serde_json::to_string(&again).unwrap(), text);
    for later in 0..200 {
        let now = (300 + later) * MINUTE;
        let waits = [(1 + later) * MINUTE; COURSES];
        let (one, other) = (forecaster.tell(now, &waits, later), again.tell(now, &waits, later));
        assert_eq!(one, other);
        assert_eq!(forecaster.started(later as u64, now), again.started(later as u64, now));
    }
    let newer = text.replacen("\"version\":1", "\"version\":2", 1);
    assert!(serde_json::from_str::<Forecaster>(&newer).unwrap_err().to_string().contains("version 2"));
    assert!(serde_json::from_str::<Forecaster>(&text.replacen("\"ended\":[", "\"ended\":[7,", 1)).is_err());
}

#[test]
fn what_is_waited_for_is_bounded() {
    let mut forecaster = Forecaster::default();
    let mut told = forecaster.tell(0, &[MINUTE; COURSES], 1);
    for who in 0..70_000 {
        told.at += 1;
        forecaster.remember(who, told);
    }
    assert!(!forecaster.remembers(0) && forecaster.remembers(69_999));
    let held = (0..70_000).filter(|who| forecaster.remembers(*who)).count();
    assert_eq!(held, 65_536);
    forecaster.keep(10);
    assert_eq!((forecaster.waiting(), forecaster.remembers(69_999)), (10, true));
    forecaster.forget(69_999);
    assert_eq!(forecaster.started(69_999, 5), None);
    assert_eq!(forecaster.starts(), 0);
}
