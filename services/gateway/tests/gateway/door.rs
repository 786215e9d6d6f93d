//! A gateway with its backends, and the ways to call it.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use crater_api::job::v1::job_service_client::JobServiceClient;
use crater_auth::{AccessGrant, MeshKey};
use crater_gateway::{Backends, Config, Gateway};
use crater_service::{Bind, InProcess, ServerConfig, Shutdown, Target, Tls};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tonic::transport::{Channel, Endpoint};

use crate::backend::{Jobs, Users};

pub const ORIGIN: &str = "http://localhost:5173";

pub struct Door {
    pub addr: SocketAddr,
    pub users: Users,
    pub jobs: Jobs,
    pub mesh: MeshKey,
    /// Where the job service listens.
    pub job_place: InProcess,
    /// Stops the job service alone.
    pub job_shutdown: Shutdown,
    shutdown: Shutdown,
}

impl Drop for Door {
    fn drop(&mut self) {
        self.job_shutdown.cancel();
        self.shutdown.cancel();
    }
}

pub async fn open() -> Door {
    open_with(None).await
}

/// Everything runs and the gateway knows who may call.
pub async fn open_with(tls: Option<Tls>) -> Door {
    let shutdown = Shutdown::new();
    let mesh = MeshKey::generate().unwrap();
    let (users, jobs) = (Users::new(), Jobs::new());
    let place = |name: &str| InProcess::new(name);
    let (user_place, job_place) = (place("user"), place("job"));
    let job_shutdown = Shutdown::new();
    users.serve(&mesh, &user_place, &shutdown).await;
    jobs.serve(Bind::InProcess(job_place.clone()), &job_shutdown).await;

    let backends = Backends {
        user: Target::InProcess(user_place),
        quota: Target::InProcess(place("quota")),
        job: Target::InProcess(job_place.clone()),
        scheduling: Target::InProcess(place("scheduling")),
    };
    let config = Config {
        server: ServerConfig { tls, ..ServerConfig::default() },
        allowed_origins: vec![ORIGIN.to_owned()],
        ..Config::default()
    };
    let gateway = Gateway::build(config, backends, mesh.clone()).unwrap();
    let readiness = gateway.readiness().clone();
    let bind = Bind::Tcp("127.0.0.1:0".parse().unwrap());
    let running = gateway.spawn(bind, shutdown.clone()).await.unwrap();
    within(readiness.ready()).await;
    Door { addr: running.local_addr().unwrap(), users, jobs, mesh, job_place, job_shutdown, shutdown }
}

/// The time that anything in these tests may take.
pub async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(10), future).await.expect("it takes no ten seconds")
}

impl Door {
    pub fn bearer(&self) -> String {
        let grant = AccessGrant { user: "alice".parse().unwrap(), session: "s1".to_owned(), epoch: 1 };
        format!("Bearer {}", self.users.signer.access_token(&grant, SystemTime::now()).unwrap().0)
    }

    pub async fn channel(&self) -> Channel {
        Endpoint::from_shared(format!("http://{}", self.addr)).unwrap().connect().await.unwrap()
    }

    pub async fn job_client(&self) -> JobServiceClient<Channel> {
        JobServiceClient::new(self.channel().await)
    }

    /// A request with Alice's token.
    pub fn request<T>(&self, message: T) -> tonic::Request<T> {
        let mut request = tonic::Request::new(message);
        request.metadata_mut().insert("authorization", self.bearer().parse().unwrap());
        request
    }

    /// One HTTP/1.1 exchange; the body is read to its end.
    pub async fn http(&self, request: http::Request<Bytes>) -> http::Response<Bytes> {
        let response = self.http_open(request).await;
        let (parts, body) = response.into_parts();
        http::Response::from_parts(parts, within(body.collect()).await.unwrap().to_bytes())
    }

    pub async fn http_open(
        &self,
        mut request: http::Request<Bytes>,
    ) -> http::Response<hyper::body::Incoming> {
        let stream = TcpStream::connect(self.addr).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        request.headers_mut().insert("host", self.addr.to_string().parse().unwrap());
        within(sender.send_request(request.map(Full::new))).await.unwrap()
    }
}
