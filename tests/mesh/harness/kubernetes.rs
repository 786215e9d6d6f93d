//! The cluster below a mesh: in this process, reached by the services over a socket. Cutting the socket is an outage of the
//! API server, which forgets nothing, since what it knows is not in it.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use crater_k8s_mem::{Cluster, KubeletMode, NodeSpec, RealClock, kubeconfig};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::program::path_of;
use super::service::free_port;
use super::{PATIENCE, until};

/// What the nodes do with Pods.
pub enum Kubelets {
    /// Run their commands here.
    Run,
    /// Play them, so many times faster than real time.
    Play(f64),
}

/// A cluster that is served on a port.
pub struct Kubernetes {
    runtime: Runtime,
    cluster: Cluster,
    address: SocketAddr,
    serving: Mutex<Option<(CancellationToken, JoinHandle<()>)>>,
}

impl Kubernetes {
    /// Starts it; what Pods leave goes into the folder.
    pub fn start(nodes: Vec<NodeSpec>, kubelets: &Kubelets, folder: &Path) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (scale, mode) = match kubelets {
            Kubelets::Run => {
                let shim = path_of("crater-shim");
                (1.0, KubeletMode::RunLocal { data_dir: folder.to_owned(), shim })
            }
            Kubelets::Play(scale) => {
                (*scale, KubeletMode::Play { start_latency: Duration::from_millis(300) })
            }
        };
        let builder = Cluster::builder().clock(RealClock::shared(scale)).nodes(nodes).kubelet(mode);
        let cluster = runtime.block_on(builder.build()).unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let kubernetes = Self { runtime, cluster, address, serving: Mutex::default() };
        kubernetes.serve();
        kubernetes
    }

    /// Listens (again).
    pub fn serve(&self) {
        let listener = until("the API server's port", PATIENCE, || {
            self.runtime.block_on(TcpListener::bind(self.address)).ok()
        });
        let (cluster, stop) = (self.cluster.clone(), CancellationToken::new());
        let until_told = stop.clone();
        let task = self.runtime.spawn(async move { cluster.serve(listener, until_told).await });
        *self.serving.lock().unwrap() = Some((stop, task));
    }

    /// Nobody listens any more, and every connection is cut.
    pub fn cut(&self) {
        if let Some((stop, task)) = self.serving.lock().unwrap().take() {
            stop.cancel();
            self.block_on(task).unwrap();
        }
    }

    /// Forgets its history: watches that come back are told 410 and must list again.
    pub fn forget_history(&self) {
        self.cluster.compact();
    }

    /// The text of its kubeconfig.
    pub fn kubeconfig(&self) -> String {
        kubeconfig(self.address)
    }

    /// A client that no outage concerns.
    pub fn client(&self) -> kube::Client {
        let _inside = self.runtime.enter();
        self.cluster.client()
    }

    /// Runs a future beside the test, as long as the cluster is there.
    pub fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        self.runtime.spawn(future);
    }

    /// Waits for a future.
    pub fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }
}

impl Drop for Kubernetes {
    fn drop(&mut self) {
        self.cut();
        self.block_on(self.cluster.shutdown());
    }
}
