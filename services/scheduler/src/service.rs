//! Config → build → spawn. What a service meets from outside is handed in, so that many run side by side in one process.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use crater_api::scheduling::v1::scheduling_service_server::SchedulingServiceServer;
use crater_auth::Authority;
use crater_domain::{Error, Result};
use crater_k8s::lease::{Clock, EpochLease};
use crater_k8s::names::{SCHEDULER_LEASE, SYSTEM_NAMESPACE};
use crater_service::{Bind, Readiness, Running, Server, Shutdown, Target, supervise};
use kube::Client;

use crate::app::App;
use crate::config::Config;
use crate::grpc::Grpc;
use crate::record::Recorder;
use crate::shared::Shared;
use crate::writer::Writer;
use crate::{cycle, experience, foresight, limits, status, stream, watches};

/// What the service meets from outside.
pub struct Deps {
    /// What this process knows of identities.
    pub authority: Authority,
    /// The cluster.
    pub cluster: Client,
    /// Who this process is among the schedulers of the cluster: no other living one may say the same. Who comes back under the
    /// name of a holder that is no more holds the Lease anew at once.
    pub holder: String,
    /// Tells the time.
    pub clock: Clock,
    /// The user service to follow; none where somebody else in this process feeds the authority.
    pub user: Option<Target>,
    /// The quota service to follow; without it the limits that were last kept hold, or none.
    pub quota: Option<Target>,
}

impl Deps {
    /// The real clock, a name that nobody else has, and nobody to talk to yet.
    pub fn new(authority: Authority, cluster: Client) -> Self {
        let holder = format!("scheduler-{}", uuid::Uuid::new_v4());
        Self { authority, cluster, holder, clock: Arc::new(SystemTime::now), user: None, quota: None }
    }
}

/// The service, built and not yet listening.
pub struct SchedulerService {
    shared: Arc<Shared>,
    deps: Deps,
    config: Config,
    life: Duration,
    readiness: Readiness,
}

/// Who this service is to the others.
const NAME: &str = "scheduler";

/// Puts it together; nothing is asked of the cluster yet.
pub fn build(config: Config, deps: Deps) -> Result<SchedulerService> {
    let life = config.lease().map_err(|why| Error::field("lease_seconds", why))?;
    let shared =
        Arc::new(Shared::new(deps.authority.directory().clone(), deps.clock.clone(), config.settings()));
    Ok(SchedulerService { shared, deps, config, life, readiness: Readiness::new(NAME) })
}

/// Begins the recording.
fn begin(path: &Path) -> Result<Recorder, crater_service::Error> {
    let (recorder, file) = Recorder::create(path).map_err(|error| crater_service::Error::Setting {
        key: "record",
        why: format!("{}: {error}", path.display()),
    })?;
    tracing::info!(file = %file.display(), "recording every cycle");
    Ok(recorder)
}

impl SchedulerService {
    /// What is still missing before it serves.
    pub fn readiness(&self) -> &Readiness {
        &self.readiness
    }

    /// Starts the loops and listens, until the shutdown. The Lease is given up before the server stops.
    pub async fn spawn(self, bind: Bind, shutdown: Shutdown) -> Result<Running, crater_service::Error> {
        let Self { shared, deps, config, life, readiness } = self;
        let Deps { authority, cluster, holder, clock, user, quota } = deps;
        // at a shutdown the loops end first, then the Lease is given up, then the server stops
        let (loops, stop) = (shutdown.child_token(), Shutdown::new());
        if let Some(user) = &user {
            authority.follow(user.channel()?, &authority.identity(NAME), &readiness, &loops);
        }
        let quota = match quota {
            Some(target) => Some(authority.identity(NAME).channel(target.channel()?)),
            None => None,
        };
        let (of, client) = (shared.clone(), cluster.clone());
        supervise("kubernetes", &readiness, &loops, move |condition| {
            watches::follow(of.clone(), client.clone(), condition)
        });
        let (of, client) = (shared.clone(), cluster.clone());
        supervise("limits", &readiness, &loops, move |condition| {
            limits::follow(of.clone(), client.clone(), quota.clone(), condition)
        });
        let (of, client) = (shared.clone(), cluster.clone());
        supervise("kept limits", &readiness, &loops, move |condition| {
            let kept = limits::keep(of.clone(), client.clone());
            condition.ready();
            kept
        });
        let recorder = Arc::new(Mutex::new(config.record.as_deref().map(begin).transpose()?));
        let of = shared.clone();
        let writer = Arc::new(Writer::new(cluster.clone()));
        supervise("allocation", &readiness, &loops, move |condition| {
            condition.ready();
            cycle::run(of.clone(), writer.clone(), recorder.clone())
        });
        let (of, client) = (shared.clone(), cluster.clone());
        supervise("reasons", &readiness, &loops, move |condition| {
            condition.ready();
            status::run(of.clone(), client.clone())
        });
        let of = shared.clone();
        supervise("board", &readiness, &loops, move |condition| {
            condition.ready();
            stream::keep_board(of.clone())
        });
        let of = shared.clone();
        supervise("foresight", &readiness, &loops, move |condition| {
            condition.ready();
            foresight::run(of.clone())
        });
        let (of, client) = (shared.clone(), cluster.clone());
        supervise("experience", &readiness, &loops, move |condition| {
            condition.ready();
            experience::keep(of.clone(), client.clone())
        });
        let app = App::new(shared.clone(), cluster.clone());
        let lease = EpochLease::new(cluster.clone(), SYSTEM_NAMESPACE, SCHEDULER_LEASE, holder, life, clock);
        let (of, condition) = (shared.clone(), readiness.condition("lease"));
        let (asked, stopping) = (shutdown.clone(), stop.clone());
        tokio::spawn(async move {
            let over = Shutdown::new();
            let lead = of.leader.lead(lease, cluster, condition, over.clone());
            let end = async {
                tokio::select! {
                    () = asked.cancelled() => {}
                    () = stopping.cancelled() => {}
                }
                loops.cancel();
                over.cancel();
            };
            tokio::join!(lead, end);
            stopping.cancel();
        });
        Server::new(NAME)
            .add_service(SchedulingServiceServer::new(Grpc(app)))
            .descriptors(crater_api::DESCRIPTOR_SET)
            .readiness(readiness)
            .limits(config.server.limits())
            .tls(config.server.tls.clone())
            .layer(authority.layer())
            .serve(bind, stop)
            .await
    }
}
