//! The services behind the gateway.

use crater_service::{Channel, Condition, Readiness, Shutdown, Target, required, supervise};
use tonic_health::ServingStatus;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::Error;

/// Where the services are.
#[derive(Clone, Debug)]
pub struct Backends {
    pub user: Target,
    pub quota: Target,
    pub job: Target,
    pub scheduling: Target,
}

impl Backends {
    /// Each backend with the package of the contract that it owns.
    pub(crate) fn by_package(&self) -> [(&'static str, &Target); 4] {
        [
            ("crater.user.v1.", &self.user),
            ("crater.quota.v1.", &self.quota),
            ("crater.job.v1.", &self.job),
            ("crater.scheduling.v1.", &self.scheduling),
        ]
    }
}

impl TryFrom<&crate::Config> for Backends {
    type Error = Error;

    fn try_from(config: &crate::Config) -> Result<Self, Error> {
        let target = |target: &Option<Target>, key| {
            required(key, "http://host:port, by flag or configuration", target.clone())
        };
        Ok(Self {
            user: target(&config.user, "user")?,
            quota: target(&config.quota, "quota")?,
            job: target(&config.job, "job")?,
            scheduling: target(&config.scheduling, "scheduling")?,
        })
    }
}

/// Follows the health that a backend reports, as the one condition of the readiness returned.
pub(crate) fn follow_health(
    name: &'static str,
    target: &Target,
    shutdown: &Shutdown,
) -> Result<Readiness, crater_service::Error> {
    let readiness = Readiness::new(name);
    let channel = target.channel()?;
    supervise("serving", &readiness, shutdown, move |condition| watch(channel.clone(), condition));
    Ok(readiness)
}

async fn watch(channel: Channel, condition: Condition) -> Result<(), String> {
    let told = |status: tonic::Status| format!("its health is unknown: {}", status.message());
    let request = HealthCheckRequest { service: String::new() };
    let mut stream = HealthClient::new(channel).watch(request).await.map_err(told)?.into_inner();
    while let Some(answer) = stream.message().await.map_err(told)? {
        if answer.status == ServingStatus::Serving as i32 {
            condition.ready();
        } else {
            condition.not_ready("it says that it is not serving");
        }
    }
    Err("its health is unknown: the stream ended".to_owned())
}
