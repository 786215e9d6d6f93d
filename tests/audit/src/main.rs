//! `crater-audit`: watches a running Crater and judges it. Leaves with 0 if nothing was wrong, with 1 if something was.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::{Parser, ValueEnum};
use crater_audit::edge::{self, Input, Sink};
use crater_audit::judge::{Auditor, Question, Settings};
use crater_audit::observation::{Kind, Observation, Source};
use crater_audit::order::Order;
use crater_audit::report::Report;
use crater_audit::violation::Violation;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::{self, error::TrySendError};

/// Follows a running Crater and judges its laws at every instant
#[derive(Parser)]
#[command(name = "crater-audit", version)]
struct Args {
    /// The gateway, for example http://127.0.0.1:8080; the password of --user is read from CRATER_PASSWORD
    #[arg(long, value_name = "URL")]
    server: Option<String>,
    /// A platform admin
    #[arg(long, default_value = "admin")]
    user: String,
    /// The way to the cluster
    #[arg(long, value_name = "FILE")]
    kubeconfig: PathBuf,
    /// Where the tables are: a folder, or a URL as the services take it
    #[arg(long, value_name = "URL")]
    store: Option<String>,
    /// What callers were answered: one JSON object a line, with name, uid and request_id
    #[arg(long, value_name = "FILE")]
    acks: Option<PathBuf>,
    /// Ends by itself once something was seen and then nothing more for so long; else after SIGTERM, once all has come to rest or has
    /// had its time for that (a second SIGTERM ends it at once)
    #[arg(long, value_name = "SECONDS")]
    until_quiet: Option<u64>,
    /// So many jobs must have been seen for the verdict to count
    #[arg(long, value_name = "N", default_value_t = 0)]
    expect_jobs: u64,
    /// Until API, tables and cluster say the same of a job of which nothing changes
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    settle: u32,
    /// Until nothing is held by and nothing runs of a job that has ended
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    orphan: u32,
    /// How long after a limit was changed the former one may still be used
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    lag: u32,
    /// How long a version waits for earlier ones of other kinds, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 500)]
    hold: u32,
    /// Ends with the first violation
    #[arg(long)]
    fail_fast: bool,
    /// The form of the verdict
    #[arg(long, short, value_enum, default_value_t = Output::Text)]
    output: Output,
}

#[derive(Clone, Copy, ValueEnum)]
enum Output {
    Text,
    Json,
}

/// How often time passes for the judge.
const TICK: Duration = Duration::from_millis(250);
/// What may wait for the judge; beyond it the sources wait.
const INPUTS: usize = 4096;
/// How long nothing more must have been seen at the end.
const LAST_MS: i64 = 2_000;
/// Troubles that are told.
const TROUBLES: usize = 20;

fn main() -> Result<ExitCode> {
    let args = Args::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting")?;
    let report = runtime.block_on(audit(&args))?;
    match args.output {
        Output::Text => print!("{}", report.text()),
        Output::Json => println!("{}", report.json()),
    }
    // a blocking read of the tables may still be under way
    runtime.shutdown_background();
    Ok(if report.ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The judge's desk: what comes in, and what came of it.
struct Desk {
    judge: Auditor,
    order: Order,
    violations: Vec<Violation>,
    troubles: Vec<String>,
    /// When something was last seen that was not the passing of time.
    last_ms: i64,
    questions: VecDeque<Question>,
    /// Whether every source could be read at the last tick.
    follows: bool,
}

impl Desk {
    fn judge(&mut self, at_ms: i64, observation: Observation) {
        for violation in self.judge.observe(at_ms, observation) {
            eprintln!("{violation}");
            self.violations.push(violation);
        }
    }

    fn take(&mut self, now_ms: i64, input: Input) {
        match input {
            Input::Seen(observation) => {
                if matches!(*observation, Observation::NewCluster) {
                    self.order.restart();
                }
                let idle = matches!(
                    *observation,
                    Observation::RowsRead { .. } | Observation::Limits(_) | Observation::Accounts(_)
                );
                if !idle {
                    self.last_ms = now_ms;
                }
                self.judge(now_ms, *observation);
            }
            Input::Version(kind, version) => {
                // the Lease is renewed for ever
                if kind != Kind::Lease && kind != Kind::Node {
                    self.last_ms = now_ms;
                }
                self.order.push(now_ms, kind, *version);
            }
            Input::Reached(kind, revision) => self.order.reaches(kind, revision),
            Input::Trouble(what) => {
                if self.troubles.len() < TROUBLES && !self.troubles.contains(&what) {
                    eprintln!("trouble: {what}");
                    self.troubles.push(what);
                }
            }
        }
    }

    /// Asks as much as may be asked now; where there is no API, nobody answers.
    fn ask(&mut self, ask: &mpsc::Sender<Question>) {
        self.questions.extend(self.judge.questions());
        while let Some(question) = self.questions.pop_front() {
            match ask.try_send(question) {
                Ok(()) => {}
                Err(TrySendError::Full(question)) => {
                    self.questions.push_front(question);
                    return;
                }
                Err(TrySendError::Closed(_)) => {}
            }
        }
    }

    /// Whether nothing has still to become so that can be waited for.
    fn at_rest(&self) -> bool {
        self.order.is_empty() && self.questions.is_empty() && self.judge.at_rest()
    }

    fn in_order(&mut self, now_ms: i64) {
        while let Some(version) = self.order.pop(now_ms) {
            self.judge(now_ms, Observation::Version(version));
        }
    }
}

async fn audit(args: &Args) -> Result<Report> {
    let began = Instant::now();
    let (send, mut inputs) = mpsc::channel(INPUTS);
    let sink = Sink::new(began, send);
    let (ask, asked) = mpsc::channel(INPUTS);
    tokio::spawn(edge::cluster::follow(args.kubeconfig.clone(), sink.clone()));
    if let Some(server) = &args.server {
        let password = std::env::var("CRATER_PASSWORD").context("CRATER_PASSWORD is not set")?;
        let access = edge::api::Access { server: server.clone(), user: args.user.clone(), password };
        tokio::spawn(edge::api::follow(access, asked, sink.clone()));
    }
    if let Some(store) = &args.store {
        let location = store.parse().map_err(|e| anyhow::anyhow!("--store: {e}"))?;
        tokio::spawn(edge::store::follow(location, sink.clone()));
    }
    if let Some(acks) = &args.acks {
        tokio::spawn(edge::acks::follow(acks.clone(), sink.clone()));
    }
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let seconds = |s: u32| i64::from(s) * 1000;
    let settings = Settings {
        settle_ms: seconds(args.settle),
        orphan_ms: seconds(args.orphan),
        lag_ms: seconds(args.lag),
    };
    let mut desk = Desk {
        judge: Auditor::new(settings),
        order: Order::new(edge::cluster::KINDS, i64::from(args.hold)),
        violations: Vec::new(),
        troubles: Vec::new(),
        last_ms: 0,
        questions: VecDeque::new(),
        follows: false,
    };
    for (source, there) in
        [(Source::Cluster, true), (Source::Store, args.store.is_some()), (Source::Api, args.server.is_some())]
    {
        desk.judge(0, Observation::Link(source, !there));
    }
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let quiet_ms = args.until_quiet.map(|s| i64::try_from(s).unwrap_or(i64::MAX / 2000) * 1000);
    // until when all may come to rest, once it was told to end
    let mut until: Option<i64> = None;
    let rest_ms = settings.orphan_ms + 2 * settings.settle_ms + LAST_MS;
    loop {
        tokio::select! {
            biased;
            _ = async { tokio::select! { _ = term.recv() => {}, _ = int.recv() => {} } } => {
                if until.replace(sink.now_ms() + rest_ms).is_some() {
                    break;
                }
            }
            _ = tick.tick() => {
                // what has come by now is older than the time that has passed; a machine may have kept us waiting
                for _ in 0..INPUTS {
                    let Ok(input) = inputs.try_recv() else { break };
                    desk.take(sink.now_ms(), input);
                }
                let now = sink.now_ms();
                desk.in_order(now);
                desk.judge(now, Observation::Tick);
                if !std::mem::replace(&mut desk.follows, desk.judge.hears_all()) && desk.follows {
                    eprintln!("following");
                }
                desk.ask(&ask);
                let rests = desk.at_rest() && now - desk.last_ms >= LAST_MS;
                if until.is_some_and(|until| rests || now >= until) {
                    break;
                }
                let quiet = quiet_ms.is_some_and(|quiet| now - desk.last_ms >= quiet);
                if quiet && desk.judge.seen.jobs > 0 && desk.judge.seen.jobs >= args.expect_jobs {
                    break;
                }
            }
            Some(input) = inputs.recv() => desk.take(sink.now_ms(), input),
        }
        if args.fail_fast && !desk.violations.is_empty() {
            break;
        }
    }
    let now = sink.now_ms();
    desk.in_order(i64::MAX / 2);
    desk.judge(now, Observation::Tick);
    let blind = desk.judge.close(args.expect_jobs, args.store.is_some(), args.server.is_some());
    blind.iter().for_each(|violation| eprintln!("{violation}"));
    desk.violations.extend(blind);
    Ok(Report {
        ok: desk.violations.is_empty(),
        seconds: now as f64 / 1000.0,
        more: desk.judge.unkept,
        late: desk.order.late,
        unsettled: desk.judge.unsettled(),
        seen: desk.judge.seen.clone(),
        violations: desk.violations,
        troubles: desk.troubles,
    })
}
