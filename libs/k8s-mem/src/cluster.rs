//! A whole cluster: the API server, its collector and its kubelets, behind one handle.

use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;

use http::Request;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::api::{Api, collector, object};
use crate::clock::{RealClock, SharedClock};
use crate::error::Error;
use crate::kubelet::{self, Command, KubeletMode};
use crate::node::NodeSpec;
use crate::serve;
use crate::shim::{OLD_SHIMS_PATIENCE, wait_for_old_shims};

/// How many events of each type are kept for watches that catch up.
const HISTORY: usize = 4096;

/// What a cluster is made of.
#[derive(Debug)]
pub struct Builder {
    clock: SharedClock,
    nodes: Vec<NodeSpec>,
    kubelet: KubeletMode,
    history: usize,
}

impl Builder {
    /// The time that the cluster lives in; real time unless set.
    #[must_use]
    pub fn clock(mut self, clock: SharedClock) -> Self {
        self.clock = clock;
        self
    }

    /// The nodes to begin with, added to those already named.
    #[must_use]
    pub fn nodes(mut self, nodes: impl IntoIterator<Item = NodeSpec>) -> Self {
        self.nodes.extend(nodes);
        self
    }

    /// What the kubelets do with Pods; they play them unless set.
    #[must_use]
    pub fn kubelet(mut self, mode: KubeletMode) -> Self {
        self.kubelet = mode;
        self
    }

    /// How many events of each type are kept. A watch from before them answers 410.
    #[must_use]
    pub fn history(mut self, events: usize) -> Self {
        self.history = events;
        self
    }

    /// Starts the cluster. With [`KubeletMode::RunLocal`] it first waits for processes that an earlier run on the same
    /// data directory left behind.
    ///
    /// # Errors
    /// A node that cannot be, a data directory that cannot be used, or old processes that do not end.
    pub async fn build(self) -> Result<Cluster, Error> {
        for node in &self.nodes {
            node.check()?;
        }
        if let KubeletMode::RunLocal { data_dir, .. } = &self.kubelet {
            wait_for_old_shims(data_dir, OLD_SHIMS_PATIENCE).await?;
            remove_old_pods(data_dir)?;
        }
        let api = Api::new(self.clock, self.history);
        let stop = CancellationToken::new();
        let (commands, heard) = mpsc::unbounded_channel();
        spawn_until(&stop, collector::run(api.clone()));
        spawn_until(&stop, kubelet::run(api.clone(), self.kubelet, heard));
        let inner = Inner { api, commands, stop: stop.clone(), _guard: stop.drop_guard() };
        let cluster = Cluster { inner: Arc::new(inner) };
        for node in self.nodes {
            cluster.add_node(node).await?;
        }
        Ok(cluster)
    }
}

fn remove_old_pods(data_dir: &Path) -> Result<(), Error> {
    let pods = data_dir.join("pods");
    match std::fs::remove_dir_all(&pods) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::Io { doing: format!("removing {}", pods.display()), source: error })
        }
        _ => Ok(()),
    }
}

fn spawn_until(stop: &CancellationToken, task: impl Future<Output = ()> + Send + 'static) {
    let stop = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            () = task => {}
            () = stop.cancelled() => {}
        }
    });
}

struct Inner {
    api: Arc<Api>,
    commands: mpsc::UnboundedSender<Command>,
    stop: CancellationToken,
    _guard: DropGuard,
}

/// A running cluster. Clones are the same cluster; it ends with the last of them, or by [`Cluster::shutdown`].
#[derive(Clone)]
pub struct Cluster {
    inner: Arc<Inner>,
}

impl Cluster {
    /// A cluster of no nodes, on real time, whose kubelets play Pods.
    #[must_use]
    pub fn builder() -> Builder {
        Builder {
            clock: RealClock::shared(1.0),
            nodes: Vec::new(),
            kubelet: KubeletMode::default(),
            history: HISTORY,
        }
    }

    /// A client of the API server, in process: no socket, and watches end when they are dropped.
    pub fn client(&self) -> kube::Client {
        let api = self.inner.api.clone();
        let service = tower::service_fn(move |request: Request<kube::client::Body>| {
            let api = api.clone();
            async move { Ok::<_, Infallible>(api.handle(request).await) }
        });
        kube::Client::new(service, "default")
    }

    /// Serves plain HTTP/1.1 on a listener until `stop`, or the end of the cluster. Only loopback callers are answered.
    pub async fn serve(&self, listener: TcpListener, stop: CancellationToken) {
        let own = self.inner.stop.child_token();
        tokio::select! {
            () = serve::serve(self.inner.api.clone(), listener, own.clone()) => {}
            () = stop.cancelled() => own.cancel(),
        }
    }

    /// The time that the cluster lives in.
    pub fn clock(&self) -> SharedClock {
        self.inner.api.clock.clone()
    }

    /// The uid of `kube-system`, by which a cluster is told from another.
    pub fn uid(&self) -> String {
        let store = self.inner.api.store();
        store.lookup("namespaces", "", "kube-system").map(|ns| object::uid(ns).to_owned()).unwrap_or_default()
    }

    /// Adds a node, its object and its kubelet.
    ///
    /// # Errors
    /// The node cannot be, or there is one of that name.
    pub async fn add_node(&self, node: NodeSpec) -> Result<(), Error> {
        node.check()?;
        let name = node.name.clone();
        match self.tell(|done| Command::Add(node, done)).await {
            Some(true) => Ok(()),
            _ => Err(Error::BadNode { name, why: "there is one of that name already".into() }),
        }
    }

    /// The kubelet stops reporting and is told nothing; what runs there runs on. The Node is not Ready any more.
    ///
    /// # Errors
    /// There is no such node.
    pub async fn fail_node(&self, name: &str) -> Result<(), Error> {
        self.power(name, false).await
    }

    /// The kubelet is back: it reports what happened meanwhile and does what was asked meanwhile.
    ///
    /// # Errors
    /// There is no such node.
    pub async fn recover_node(&self, name: &str) -> Result<(), Error> {
        self.power(name, true).await
    }

    async fn power(&self, name: &str, up: bool) -> Result<(), Error> {
        let node = name.to_owned();
        match self.tell(|done| Command::Power { node, up, done }).await {
            Some(true) => Ok(()),
            _ => Err(Error::NoSuchNode(name.to_owned())),
        }
    }

    /// Forgets the event history: watches that are behind, and lists that page on, answer 410.
    pub fn compact(&self) {
        self.inner.api.store().compact();
    }

    /// Switches the API server off (every request answers 503, open watches end) or on again. Kubelets run on.
    pub fn set_serving(&self, serving: bool) {
        self.inner.api.serving.send_replace(serving);
    }

    /// Kills what runs, waits until it is gone, and ends the cluster.
    pub async fn shutdown(&self) {
        self.tell(Command::Shutdown).await;
        self.inner.stop.cancel();
    }

    async fn tell<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Option<T> {
        let (done, answer) = oneshot::channel();
        self.inner.commands.send(command(done)).ok()?;
        answer.await.ok()
    }
}
