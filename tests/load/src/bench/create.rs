//! CreateJob through the gateway, durable before it is answered. There is room for one job only, so that what is measured is
//! the acceptance, with all that follows from it but the running: each job is applied to the cluster and stands in line.

use anyhow::Result;
use crater_api::job::v1::job_service_client::JobServiceClient;

use super::load::closed;
use super::rounds::{HEAD, Side};
use super::{Common, Echo, cluster};
use crate::session::Session;
use crate::system::{Kind, System};
use crate::work::small_job;

/// Connections to either server.
const CONNECTIONS: usize = 4;

/// Measures and prints a table.
pub async fn run(common: Common) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let system = System::start(Kind::Up, &cluster(&folder, 1)?, 1.0, common.tables.url()).await?;
    let admin = Session::sign_in(&system.url, "admin", CONNECTIONS).await?;
    let echo = Echo::start(CONNECTIONS)?;
    let (mut mesh, mut bare) = (Side::default(), Side::default());
    for _ in 0..common.rounds {
        let caller = admin.clone();
        let turn = closed(common.clients, common.seconds, move || {
            let caller = caller.clone();
            async move {
                let request = caller.request(small_job(64_000, 3600));
                JobServiceClient::new(caller.channel()).create_job(request).await.map(drop)
            }
        });
        mesh.add(&turn.await?);
        bare.add(&echo.turn(common.clients, common.seconds).await?);
        admin.renew(false).await?;
    }
    println!("CreateJob through the gateway, {} clients, {}", common.clients, common.tables.name());
    println!("{HEAD}\n{}\n{}", mesh.row("CreateJob"), bare.row("bare echo"));
    println!("CreateJob / echo: {}", mesh.ratio(&bare));
    Ok(())
}
