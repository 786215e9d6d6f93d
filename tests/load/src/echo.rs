//! A bare tonic server that says what it heard: the measure that the mesh is held against, run in turn with it.

use anyhow::Result;
use tokio::net::TcpListener;
use tonic::transport::{Channel, Server, server::TcpIncoming};
use tonic::{Request, Response, Status};

#[allow(clippy::all, clippy::unwrap_used, clippy::panic, missing_docs)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/crater.load.v1.rs"));
}

use generated::echo_client::EchoClient;
use generated::echo_server::{Echo, EchoServer};
use generated::{SayRequest, SayResponse};

struct Bare;

#[tonic::async_trait]
impl Echo for Bare {
    async fn say(&self, request: Request<SayRequest>) -> Result<Response<SayResponse>, Status> {
        Ok(Response::new(SayResponse { text: request.into_inner().text }))
    }
}

/// Serves until it is killed; prints its address first.
pub async fn serve() -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    Ok(Server::builder().add_service(EchoServer::new(Bare)).serve_with_incoming(incoming).await?)
}

/// One call of 64 bytes.
pub async fn say(channel: Channel) -> Result<(), Status> {
    let text = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef".to_owned();
    EchoClient::new(channel).say(SayRequest { text }).await.map(drop)
}
