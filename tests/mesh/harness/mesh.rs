//! Crater as an operator runs it: six processes with a configuration file each, a key that they share, databases, a cluster.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crater_k8s_mem::NodeSpec;
use tempfile::TempDir;

use super::database::Database;
use super::kubernetes::{Kubelets, Kubernetes};
use super::program::{LOG, PASSWORD, Turn};
use super::service::{Service, free_port};
use super::{Api, Cli, PATIENCE, program, promised, run, until};

/// The services, in an order in which each finds those that it calls; any order will do.
pub const NAMES: [&str; 6] = ["user", "quota", "job", "scheduler", "controller", "gateway"];

/// The mesh. Dropped, all of it is killed; if the test failed, the ends of its logs are printed.
pub struct Mesh {
    services: BTreeMap<String, Service>,
    /// The cluster that it works on.
    pub kubernetes: Kubernetes,
    /// Where the tables are.
    pub database: Database,
    /// Where the gateway listens: `http://127.0.0.1:PORT`.
    pub url: String,
    /// For kubectl.
    pub kubeconfig: PathBuf,
    folder: TempDir,
    _turn: Turn,
}

/// What the flags of `crater up` ask for, as far as there is a counterpart here.
struct Wanted {
    nodes: Vec<NodeSpec>,
    kubelets: Kubelets,
}

impl Wanted {
    fn read(args: &[&str]) -> Self {
        let mut wanted = Self {
            nodes: vec![NodeSpec::gpu_server("machine", 0, "")],
            kubelets: if args.contains(&"--run-local") { Kubelets::Run } else { Kubelets::Play(1.0) },
        };
        let mut args = args.iter();
        while let Some(flag) = args.next() {
            match *flag {
                "--run-local" => {}
                "--nodes" => wanted.nodes = nodes(args.next().unwrap()),
                "--time-scale" => wanted.kubelets = Kubelets::Play(args.next().unwrap().parse().unwrap()),
                other => panic!("{other} has no counterpart in a mesh of processes"),
            }
        }
        wanted
    }
}

/// `2x8:A100` is two nodes of eight.
fn nodes(shape: &str) -> Vec<NodeSpec> {
    let (count, rest) = shape.split_once('x').unwrap();
    let (gpus, model) = rest.split_once(':').unwrap();
    let count: u32 = count.parse().unwrap();
    (0..count)
        .map(|i| NodeSpec::gpu_server(format!("{}-{i}", model.to_lowercase()), gpus.parse().unwrap(), model))
        .collect()
}

/// The example file of a service.
pub fn example(name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    root.join(format!("deploy/services/{name}.toml"))
}

/// Makes the key that the services share, as the documents say.
pub fn mesh_key(folder: &Path) -> PathBuf {
    let script = "umask 077 && head -c 32 /dev/urandom | base64 > mesh.key";
    run(Command::new("sh").args(["-c", script]).current_dir(folder), "", PATIENCE).ok();
    folder.join("mesh.key")
}

impl Mesh {
    /// One that runs commands here.
    pub fn up(args: &[&str]) -> Self {
        Self::up_with(&[args, &["--run-local"]].concat(), &[])
    }

    /// One that only plays its jobs.
    pub fn played(args: &[&str]) -> Self {
        Self::up_with(args, &[])
    }

    /// One with these flags and these further variables; all of it is ready.
    pub fn up_with(args: &[&str], environment: &[(&str, &str)]) -> Self {
        Self::prepare(args, environment).begin()
    }

    /// One that runs commands here over a database that may be killed.
    pub fn up_on_its_own_database(args: &[&str]) -> Self {
        let args = [args, &["--run-local"]].concat();
        Self::prepare_on(Database::of_environment(true), &args, &[]).begin()
    }

    fn begin(self) -> Self {
        let mesh = self;
        mesh.kubernetes.block_on(crater_k8s::build::install(&mesh.kubernetes.client())).unwrap();
        for service in mesh.services.values() {
            service.start();
        }
        mesh.all_ready(PATIENCE);
        mesh
    }

    /// Everything but the custom resources, and nothing started.
    pub fn prepare(args: &[&str], environment: &[(&str, &str)]) -> Self {
        Self::prepare_on(Database::of_environment(false), args, environment)
    }

    fn prepare_on(database: Database, args: &[&str], environment: &[(&str, &str)]) -> Self {
        let turn = Turn::take();
        let wanted = Wanted::read(args);
        let folder = tempfile::Builder::new().prefix("crater-mesh-").tempdir().unwrap();
        let kubernetes = Kubernetes::start(wanted.nodes, &wanted.kubelets, &folder.path().join("run"));
        let kubeconfig = folder.path().join("kubeconfig");
        std::fs::write(&kubeconfig, kubernetes.kubeconfig()).unwrap();
        mesh_key(folder.path());
        let ports: BTreeMap<&str, u16> = NAMES.iter().map(|&name| (name, free_port())).collect();
        let mut mesh = Self {
            services: BTreeMap::new(),
            kubernetes,
            database,
            url: format!("http://127.0.0.1:{}", ports["gateway"]),
            kubeconfig,
            folder,
            _turn: turn,
        };
        for name in NAMES {
            mesh.add(name, name, &ports, environment);
        }
        mesh
    }

    /// Adds a service, not started: its example file, and variables for what is of this place.
    fn add(&mut self, label: &str, name: &str, ports: &BTreeMap<&str, u16>, environment: &[(&str, &str)]) {
        let file = |name: &str| self.folder.path().join(name).to_str().unwrap().to_owned();
        let mut command = program(&format!("crater-{name}"));
        command.arg("--config").arg(example(name)).env("CRATER_LOG", LOG);
        let prefix = format!("CRATER_{}__", name.to_uppercase());
        let mut set = |key: &str, value: &str| {
            command.env(format!("{prefix}{key}"), value);
        };
        set("SERVER__LISTEN", &format!("127.0.0.1:{}", ports[label]));
        if name != "controller" {
            set("MESH_KEY", &file("mesh.key"));
        }
        if ["user", "quota", "job"].contains(&name) {
            set("DATABASE", &self.database.address(self.folder.path()));
        }
        if ["job", "scheduler", "controller"].contains(&name) {
            set("KUBECONFIG", &file("kubeconfig"));
        }
        let calls: &[(&str, &str)] = match name {
            "quota" => &[("USER", "user"), ("SCHEDULING", "scheduler")],
            "job" | "scheduler" => &[("USER", "user"), ("QUOTA", "quota")],
            "gateway" => &[("USER", "user"), ("QUOTA", "quota"), ("JOB", "job"), ("SCHEDULING", "scheduler")],
            _ => &[],
        };
        for (key, other) in calls {
            set(key, &format!("http://127.0.0.1:{}", ports[other]));
        }
        if name == "user" {
            command.env("CRATER_ADMIN_PASSWORD", PASSWORD);
        }
        command.envs(environment.iter().copied());
        let log = self.folder.path().join(format!("{label}.log"));
        self.services.insert(label.to_owned(), Service::new(label, ports[label], command, log));
    }

    /// Adds another scheduler, `scheduler-2`, not started. Nobody but the cluster hears of it.
    pub fn second_scheduler(&mut self, environment: &[(&str, &str)]) {
        let mut ports: BTreeMap<&str, u16> = NAMES.iter().map(|&n| (n, self.services[n].port)).collect();
        ports.insert("scheduler-2", free_port());
        self.add("scheduler-2", "scheduler", &ports, environment);
    }

    /// Waits until every service says that it serves, and the gateway that it reaches those behind it; returns how long the former took.
    pub fn all_ready(&self, limit: Duration) -> Duration {
        let took = self.services.values().map(|service| service.ready(limit)).sum();
        let gateway = &self.services["gateway"];
        for owned in ["user.v1.AuthService", "quota.v1.QuotaService", "job.v1.JobService"] {
            let owned = format!("crater.{owned}");
            until(&format!("the gateway reaches {owned}"), promised(limit), || {
                gateway.serves(&owned).then_some(())
            });
        }
        took
    }

    /// One of the services.
    pub fn service(&self, name: &str) -> &Service {
        &self.services[name]
    }

    /// A file for a test's programs.
    pub fn file(&self, name: &str) -> PathBuf {
        let folder = self.folder.path().join("files");
        std::fs::create_dir_all(&folder).unwrap();
        folder.join(name)
    }

    /// Writes such a file and returns its path as text.
    pub fn write(&self, name: &str, text: &str) -> String {
        let path = self.file(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// `127.0.0.1:PORT` of the gateway.
    pub fn address(&self) -> &str {
        self.url.split_once("://").unwrap().1
    }

    /// What its services have logged, one after the other.
    pub fn log(&self) -> String {
        self.services.values().map(Service::log).collect()
    }

    /// The command line, signed in as `admin`.
    pub fn cli(&self) -> Cli {
        Cli::sign_in(&self.url, "admin", PASSWORD)
    }

    /// The RPCs, signed in as `admin`.
    pub fn api(&self) -> Api {
        Api::sign_in(&self.url, "admin", PASSWORD)
    }
}
