//! The server's life.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

const GUARD: &str = include_str!("guard.sh");
/// A server that is not up by then will not come.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks whether it is up.
const LOOK: Duration = Duration::from_millis(20);
/// A port that somebody else took meanwhile is given up this often.
const PORTS: usize = 5;

/// What a server is started with.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// Whether it offers TLS, with a certificate for `localhost` and 127.0.0.1 by a certificate authority of its own.
    pub tls: bool,
    /// Further arguments.
    pub arguments: &'static [&'static str],
}

/// The files that belong to a server's TLS.
#[derive(Debug, Clone)]
pub struct Tls {
    /// The certificate of the authority that signed the server's, as PEM.
    pub ca: PathBuf,
    /// The certificate of an authority that signed nothing, as PEM.
    pub other_ca: PathBuf,
}

/// A running server. It ends when this is dropped, or with the process.
pub struct MariaDb {
    folder: PathBuf,
    port: u16,
    tls: Option<Tls>,
    guard: Mutex<Guard>,
    names: AtomicU32,
}

struct Guard {
    child: Child,
    // none once it was told to end
    words: Option<ChildStdin>,
    echo: BufReader<ChildStdout>,
}

impl MariaDb {
    /// The server that all tests of this program share, started by the first that asks. Each takes databases of its own
    /// ([`MariaDb::prefix`]).
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<MariaDb> = OnceLock::new();
        SHARED.get_or_init(|| Self::start(Options::default()))
    }

    /// Starts a server for one test.
    pub fn start(options: Options) -> Self {
        let server =
            ["mariadbd", "/usr/sbin/mariadbd", "/usr/libexec/mariadbd"].into_iter().find(|p| runs(p));
        let Some(server) = server else {
            panic!(
                "mariadbd is not there: these tests need a real MariaDB. Install it with tests/setup.sh, or Debian's mariadb-server"
            );
        };
        let folder = tempfile::Builder::new().prefix("crater-mariadb-").tempdir().unwrap().keep();
        install(&folder);
        let tls = options.tls.then(|| certificates(&folder));
        for _ in 0..PORTS {
            let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
            let command = arguments(&folder, port, tls.is_some(), options.arguments);
            let guard = Mutex::new(Guard::new(&folder, server, &command));
            let it = Self { folder: folder.clone(), port, tls: tls.clone(), guard, names: AtomicU32::new(0) };
            it.guard.lock().unwrap().say("start");
            if it.comes_up() {
                return it;
            }
            // the guard goes without its folder, which the next one takes over
            let log = it.log();
            it.guard.lock().unwrap().child.kill().unwrap();
            assert!(log.contains("Address already in use"), "mariadbd did not start:\n{log}");
        }
        panic!("no free port was found for mariadbd");
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The TLS files, if it offers TLS.
    pub fn tls(&self) -> Option<&Tls> {
        self.tls.as_ref()
    }

    /// A prefix that no other test of this server has.
    pub fn prefix(&self) -> String {
        format!("t{}", self.names.fetch_add(1, Ordering::Relaxed))
    }

    /// The address of databases with that prefix, as Crater's configuration takes it.
    pub fn url(&self, prefix: &str) -> String {
        format!("mysql://crater:secret@127.0.0.1:{}/{prefix}", self.port)
    }

    /// The address of databases that nobody else has.
    pub fn fresh_url(&self) -> String {
        self.url(&self.prefix())
    }

    /// Runs SQL as an administrator and gives back what it says: a line a row, its columns apart by tabs.
    pub fn sql(&self, sql: &str) -> String {
        let mut client = Command::new("mariadb");
        client.arg("--no-defaults").arg("--socket").arg(self.folder.join("s"));
        let output =
            client.args(["--user=root", "--batch", "--skip-column-names", "-e", sql]).output().unwrap();
        assert!(output.status.success(), "{sql}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    }

    /// Kills the server as a crash would (SIGKILL). Its data stays.
    pub fn kill(&self) {
        self.guard.lock().unwrap().say("kill");
    }

    /// Starts it again after [`MariaDb::kill`], on the same port with the same data.
    pub fn restart(&self) {
        self.guard.lock().unwrap().say("start");
        assert!(self.comes_up(), "mariadbd did not start again:\n{}", self.log());
    }

    /// Waits until it greets; false if it ended instead.
    fn comes_up(&self) -> bool {
        let since = Instant::now();
        loop {
            if greets(self.port) && self.folder.join("s").exists() {
                return true;
            }
            if self.guard.lock().unwrap().say("alive") == "dead" {
                return false;
            }
            assert!(since.elapsed() < PATIENCE, "mariadbd does not come up:\n{}", self.log());
            std::thread::sleep(LOOK);
        }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }
}

impl Drop for MariaDb {
    fn drop(&mut self) {
        let mut guard = self.guard.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        guard.words = None;
        let _ = guard.child.wait();
    }
}

impl Guard {
    fn new(folder: &Path, server: &str, arguments: &[String]) -> Self {
        let mut sh = Command::new("sh");
        sh.args(["-c", GUARD, "guard.sh"]).arg(folder).arg(server).args(arguments);
        let mut child =
            sh.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let words = child.stdin.take();
        let echo = BufReader::new(child.stdout.take().unwrap());
        Self { child, words, echo }
    }

    /// Says a word and waits until it is done.
    fn say(&mut self, word: &str) -> String {
        writeln!(self.words.as_ref().unwrap(), "{word}").unwrap();
        let mut answer = String::new();
        self.echo.read_line(&mut answer).unwrap();
        answer.trim_end().to_owned()
    }
}

/// A server sends the first word.
fn greets(port: u16) -> bool {
    let Ok(mut stream) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) else { return false };
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.read(&mut [0]).is_ok_and(|n| n == 1)
}

fn runs(program: &str) -> bool {
    Command::new(program)
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|s| s.success())
}

fn user() -> String {
    let output = Command::new("id").arg("-un").output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn install(folder: &Path) {
    let output = Command::new("mariadb-install-db")
        .args([
            "--no-defaults",
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
            "--innodb-log-file-size=16M",
        ])
        .arg(format!("--user={}", user()))
        .arg(format!("--datadir={}", folder.join("data").display()))
        // its temporary tables, too, are its own: several servers may be made at once
        .arg(format!("--tmpdir={}", folder.display()))
        .output()
        .unwrap_or_else(|e| panic!("mariadb-install-db: {e}: it comes with Debian's mariadb-server"));
    assert!(output.status.success(), "mariadb-install-db: {}", String::from_utf8_lossy(&output.stderr));
    // read at each start, a statement a line
    let init =
        "CREATE USER IF NOT EXISTS crater@'%' IDENTIFIED BY 'secret';\nGRANT ALL ON *.* TO crater@'%';\n";
    std::fs::write(folder.join("init.sql"), init).unwrap();
}

fn arguments(folder: &Path, port: u16, tls: bool, more: &[&str]) -> Vec<String> {
    let at = |name: &str| folder.join(name).display().to_string();
    let mut all = vec![
        "--no-defaults".to_owned(),
        format!("--user={}", user()),
        format!("--datadir={}", at("data")),
        format!("--socket={}", at("s")),
        format!("--pid-file={}", at("pid")),
        format!("--tmpdir={}", folder.display()),
        format!("--init-file={}", at("init.sql")),
        format!("--port={port}"),
        "--bind-address=127.0.0.1".to_owned(),
        "--skip-name-resolve".to_owned(),
        "--max-connections=500".to_owned(),
        "--innodb-log-file-size=16M".to_owned(),
        // as in production: a commit is on the disk before it is acknowledged
        "--innodb-flush-log-at-trx-commit=1".to_owned(),
    ];
    if tls {
        all.extend([format!("--ssl-cert={}", at("server.pem")), format!("--ssl-key={}", at("server.key"))]);
    }
    all.extend(more.iter().map(|&a| a.to_owned()));
    all
}

fn certificates(folder: &Path) -> Tls {
    let authority = || {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap().pem();
        (certificate, Issuer::new(params, key))
    };
    let write = |name: &str, text: &str| {
        let path = folder.join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let (ca, issuer) = authority();
    let (other_ca, _) = authority();
    let key = KeyPair::generate().unwrap();
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let certificate = CertificateParams::new(names).unwrap().signed_by(&key, &issuer).unwrap();
    write("server.pem", &certificate.pem());
    write("server.key", &key.serialize_pem());
    Tls { ca: write("ca.pem", &ca), other_ca: write("other-ca.pem", &other_ca) }
}
