//! What the gateway costs: the same call through it and at the job service itself, in turn.

use anyhow::Result;
use crater_api::job::v1::GetJobRequest;
use crater_api::job::v1::job_service_client::JobServiceClient;

use super::load::closed;
use super::rounds::{HEAD, Side};
use super::{Common, Echo, cluster};
use crate::session::Session;
use crate::system::{Kind, System};
use crate::work::small_job;

/// Connections to either server.
const CONNECTIONS: usize = 4;

/// Measures and prints a table: at `clients` callers at once, and with one, where nothing queues.
pub async fn run(common: Common) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let system = System::start(Kind::Processes, &cluster(&folder, 1)?, 1.0, common.tables.url()).await?;
    let through = Session::sign_in(&system.url, "admin", CONNECTIONS).await?;
    let direct = through.at(&system.job_url()?, CONNECTIONS)?;
    let made =
        JobServiceClient::new(through.channel()).create_job(through.request(small_job(1000, 3600))).await?;
    let name = made.into_inner().job.unwrap_or_default().name;
    let echo = Echo::start(CONNECTIONS)?;
    for clients in [common.clients, 1] {
        let (mut gateway, mut service, mut bare) = (Side::default(), Side::default(), Side::default());
        for _ in 0..common.rounds {
            for (session, side) in [(&through, &mut gateway), (&direct, &mut service)] {
                let (caller, name) = (session.clone(), name.clone());
                let turn = closed(clients, common.seconds, move || {
                    let (caller, name) = (caller.clone(), name.clone());
                    async move {
                        let request = caller.request(GetJobRequest { name });
                        JobServiceClient::new(caller.channel()).get_job(request).await.map(drop)
                    }
                });
                side.add(&turn.await?);
            }
            bare.add(&echo.turn(clients, common.seconds).await?);
            through.renew(false).await?;
        }
        println!("GetJob, {clients} client(s)");
        println!(
            "{HEAD}\n{}\n{}\n{}",
            gateway.row("through the gateway"),
            service.row("at the job service"),
            bare.row("bare echo")
        );
        println!(
            "gateway / direct: {}; the median call takes longer by {} ms; direct / echo: {}\n",
            gateway.ratio(&service),
            gateway.longer(&service),
            service.ratio(&bare)
        );
    }
    Ok(())
}
