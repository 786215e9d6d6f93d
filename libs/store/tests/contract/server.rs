//! What only a database server can do to us: deadlocks, broken connections, its own death, several processes at once, TLS.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use crater_domain::{RequestId, UserId};
use crater_mariadb::{MariaDb, Options};
use crater_store::idempotency::{self, Request};
use crater_store::user::{self, NewUser, UserChange};
use crater_store::{Conn, Db, Error, Location, Once, Service, Tx};
use uuid::Uuid;

fn id(name: &str) -> UserId {
    name.parse().unwrap()
}

fn new_user(name: &str) -> NewUser {
    NewUser {
        id: id(name),
        display_name: String::new(),
        platform_admin: false,
        password_hash: "hash".into(),
        created_ms: 5,
    }
}

fn request(n: u128) -> Request {
    Request::new("users/ann", "test", RequestId(Uuid::from_u128(n)), b"body")
}

async fn record(db: &Db, n: u128) -> Result<(), Error> {
    db.transaction(Tx::Bootstrap, move |c| idempotency::record(c, &request(n), b"answer", 0)).await
}

async fn recorded(db: &Db, n: u128) -> Result<bool, Error> {
    Ok(db.read::<_, Error, _>(Tx::ReadUser, move |c| idempotency::replay(c, &request(n))).await?.is_some())
}

async fn open(url: &str) -> Db {
    Db::open(&url.parse().unwrap(), Service::User).await.unwrap()
}

async fn refused(url: &str) -> Error {
    let location: Location = url.parse().unwrap();
    Db::open(&location, Service::User).await.map(|_| ()).unwrap_err()
}

fn create(c: &mut Conn, name: &str) -> Result<(), Error> {
    user::create_user(c, &new_user(name)).map(|_| ())
}

/// Locks a user's row.
fn touch(c: &mut Conn, name: &str) -> Result<(), Error> {
    user::lock_user(c, &id(name)).map(|_| ())
}

/// From one row to the other; what it calls in between is told below.
type Crossing = fn(&mut Conn, [&'static str; 2], &dyn Fn()) -> Result<(), Error>;

/// Runs a body in two processes at once, as it were, one from ann's row to bob's and one from bob's to ann's. Where it calls `meet` each waits for the
/// other: so each holds one row before either asks for the other's, and only a deadlock can come of it. Answers how often each ran.
async fn cross(body: Crossing) -> (Db, [u32; 2]) {
    let url = MariaDb::shared().fresh_url();
    // one process writes on one connection
    let (db, second) = (open(&url).await, open(&url).await);
    for name in ["ann", "bob"] {
        db.transaction(Tx::CreateUser, move |c| create(c, name)).await.unwrap();
    }
    let one = |db: Db, rows, held: mpsc::Sender<()>, wait: mpsc::Receiver<()>| async move {
        let mut tries = 0;
        let whole = move |c: &mut Conn| {
            tries += 1;
            let meet = || {
                if tries == 1 {
                    held.send(()).unwrap();
                    wait.recv().unwrap();
                }
            };
            body(c, rows, &meet)?;
            Ok::<_, Error>(tries)
        };
        db.transaction(Tx::UpdateUser, whole).await.unwrap()
    };
    let (ann_held, ann_is_held) = mpsc::channel();
    let (bob_held, bob_is_held) = mpsc::channel();
    let (ann, bob) = tokio::join!(
        one(db.clone(), ["ann", "bob"], ann_held, bob_is_held),
        one(second, ["bob", "ann"], bob_held, ann_is_held)
    );
    (db, [ann, bob])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deadlock_is_broken_and_the_loser_runs_again() {
    let (_, mut tries) = cross(|c, [mine, other], meet| {
        touch(c, mine)?;
        meet();
        touch(c, other)
    })
    .await;
    tries.sort_unstable();
    assert_eq!(tries, [1, 2], "one wins, the other runs once more");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_swallows_a_deadlock_is_not_committed_in_half() {
    let (db, _) = cross(|c, [mine, other], meet| {
        let n = if mine == "ann" { 1 } else { 2 };
        idempotency::record(c, &request(10 + n), b"before", 0)?;
        touch(c, mine)?;
        meet();
        // a body that goes on as if nothing had been
        let _ = touch(c, other);
        let _ = idempotency::record(c, &request(20 + n), b"after", 0);
        Ok(())
    })
    .await;
    for n in [11, 12, 21, 22] {
        assert!(recorded(&db, n).await.unwrap(), "{n} is half of a transaction");
    }
}

/// Ends every connection that is at the database's tables.
fn kill_connections(server: &MariaDb, prefix: &str) {
    let ids =
        server.sql(&format!("SELECT id FROM information_schema.processlist WHERE db LIKE '{prefix}\\_%'"));
    for id in ids.lines() {
        // one may have gone by itself
        server.sql(&format!("KILL {id}"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_connection_is_replaced_and_its_transaction_runs_again() {
    let server = MariaDb::shared();
    let prefix = server.prefix();
    let db = open(&server.url(&prefix)).await;
    record(&db, 0).await.unwrap();
    let mut tries = 0;
    let killed = prefix.clone();
    let tries = db.transaction(Tx::Bootstrap, move |c| {
        tries += 1;
        idempotency::record(c, &request(tries), b"answer", 0)?;
        if tries == 1 {
            kill_connections(MariaDb::shared(), &killed);
        }
        idempotency::record(c, &request(100), b"answer", 0)?;
        Ok::<_, Error>(tries)
    });
    assert_eq!(tries.await.unwrap(), 2);
    assert!(!recorded(&db, 1).await.unwrap(), "the first try was rolled back");
    assert!(recorded(&db, 2).await.unwrap());
    assert!(recorded(&db, 100).await.unwrap());
    // those that lay idle are dead too, and nobody notices
    kill_connections(server, &prefix);
    record(&db, 3).await.unwrap();
    assert!(recorded(&db, 3).await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_nobody_can_tell_of_is_tried_again_only_by_name() {
    let server = MariaDb::shared();
    let prefix = server.prefix();
    let db = open(&server.url(&prefix)).await;
    // the connection dies after the body and before the commit: from here nobody can tell which
    let killed = prefix.clone();
    let unnamed = db.transaction(Tx::Bootstrap, move |c| {
        idempotency::record(c, &request(1), b"answer", 0)?;
        kill_connections(MariaDb::shared(), &killed);
        Ok::<_, Error>(())
    });
    let error = unnamed.await.unwrap_err();
    assert!(matches!(error, Error::Uncertain(_)), "{error:?}");
    assert_eq!(crater_domain::Error::from(error).code, crater_domain::Code::Unavailable);
    let mut tries = 0;
    let how = Once { request: Some(request(2)), ..Once::default() };
    let named = db.once(Tx::Bootstrap, how, move |c| {
        tries += 1;
        idempotency::record(c, &request(3), b"answer", 0)?;
        if tries == 1 {
            kill_connections(MariaDb::shared(), &prefix);
        }
        Ok::<_, Error>(tries)
    });
    assert_eq!(named.await.unwrap(), 2);
    assert!(recorded(&db, 3).await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_died_is_found_again_and_lost_nothing_that_it_acknowledged() {
    let server = MariaDb::start(Options::default());
    let db = open(&server.fresh_url()).await;
    let (told, tells) = mpsc::channel();
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..4u128 {
        let (db, told) = (db.clone(), told.clone());
        writers.spawn(async move {
            let mut acknowledged = Vec::new();
            let mut refused = 0u32;
            // until it was away and is back
            for n in 0.. {
                let row = writer * 1_000_000 + n;
                match record(&db, row).await {
                    Ok(()) => {
                        acknowledged.push(row);
                        told.send(()).unwrap();
                        if refused > 0 && acknowledged.len() > 20 {
                            return (acknowledged, refused);
                        }
                    }
                    Err(Error::Unavailable(_) | Error::Uncertain(_)) => refused += 1,
                    Err(other) => panic!("{other:?}"),
                }
            }
            unreachable!()
        });
    }
    drop(told);
    for _ in 0..40 {
        tells.recv().unwrap();
    }
    server.kill();
    let away = Instant::now();
    let error = record(&db, u128::MAX).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable(_)), "{error:?}");
    assert!(error.to_string().contains("cannot be reached"), "{error}");
    assert!(away.elapsed() < Duration::from_secs(3), "told after {:?}", away.elapsed());
    server.restart();
    while let Some(done) = writers.join_next().await {
        let (acknowledged, refused) = done.unwrap();
        assert!(refused > 0);
        for row in acknowledged {
            assert!(recorded(&db, row).await.unwrap(), "row {row} was acknowledged and is lost");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_sees_one_moment() {
    let db = open(&MariaDb::shared().fresh_url()).await;
    let (begun, has_begun) = tokio::sync::oneshot::channel();
    let (go, wait) = mpsc::channel::<()>();
    let mut begun = Some(begun);
    let reader = tokio::spawn({
        let db = db.clone();
        async move {
            db.read(Tx::ReadUser, move |c| {
                // nothing was read yet: the moment is that of the beginning
                begun.take().unwrap().send(()).unwrap();
                wait.recv().unwrap();
                Ok::<_, Error>((user::user(c, &id("ann"))?.is_some(), user::changes_since(c, 0, 0)?.revision))
            })
            .await
        }
    });
    has_begun.await.unwrap();
    db.transaction(Tx::CreateUser, |c| create(c, "ann")).await.unwrap();
    go.send(()).unwrap();
    assert_eq!(reader.await.unwrap().unwrap(), (false, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn updates_of_one_row_at_once_are_all_counted() {
    let db = open(&MariaDb::shared().fresh_url()).await;
    db.transaction(Tx::CreateUser, |c| create(c, "ann")).await.unwrap();
    let mut writers = tokio::task::JoinSet::new();
    for _ in 0..40 {
        let db = db.clone();
        writers.spawn(async move {
            db.transaction(Tx::UpdateUser, |c| {
                // a look before the lock, as a replayed request takes it: what is read after the lock must be newer
                user::user(c, &id("ann"))?;
                user::update_user(c, &id("ann"), &UserChange::default(), None, 0)
            })
            .await
        });
    }
    while let Some(done) = writers.join_next().await {
        done.unwrap().unwrap();
    }
    let ann = db.read::<_, Error, _>(Tx::ReadUser, |c| user::user(c, &id("ann"))).await.unwrap().unwrap();
    assert_eq!(ann.version, 41);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn processes_that_start_at_once_migrate_once() {
    let server = MariaDb::shared();
    let url = server.fresh_url();
    let mut starting = tokio::task::JoinSet::new();
    for n in 0..6u128 {
        let url = url.clone();
        starting.spawn(async move {
            for service in [Service::Job, Service::Quota, Service::User] {
                Db::open(&url.parse().unwrap(), service).await.unwrap();
            }
            record(&open(&url).await, n).await.unwrap();
        });
    }
    while let Some(done) = starting.join_next().await {
        done.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_migration_that_was_broken_off_goes_on_where_it_was() {
    let server = MariaDb::shared();
    let whole = server.prefix();
    open(&server.url(&whole)).await;
    let tables = |prefix: &str| {
        server.sql(&format!(
            "SELECT table_name, table_collation FROM information_schema.tables WHERE table_schema='{prefix}_user' ORDER BY 1"
        ))
    };
    // as a process leaves it that died in the middle of the third statement, with and without its effect
    for made in [false, true] {
        let prefix = server.prefix();
        let name = format!("{prefix}_user");
        server.sql(&format!("CREATE DATABASE {name} COLLATE utf8mb4_bin"));
        let steps = "CREATE TABLE __crater_migration_steps (version VARCHAR(50) NOT NULL PRIMARY KEY, step BIGINT NOT NULL, done BOOLEAN NOT NULL)";
        server.sql(&format!(
            "USE {name}; {steps}; INSERT INTO __crater_migration_steps VALUES ('user0001', 3, FALSE)"
        ));
        for table in ["idempotency", "revision"].iter().take(1 + usize::from(made)) {
            server.sql(&format!("USE {name}; CREATE TABLE {table} LIKE {whole}_user.{table}"));
        }
        let db = open(&server.url(&prefix)).await;
        assert_eq!(tables(&prefix), tables(&whole));
        db.transaction(Tx::CreateUser, |c| create(c, "ann")).await.unwrap();
        assert_eq!(server.sql(&format!("SELECT COUNT(*) FROM {name}.__crater_migration_steps")), "0");
    }
    // what is in the way from elsewhere is no step that was done
    let prefix = server.prefix();
    server.sql(&format!(
        "CREATE DATABASE {prefix}_user COLLATE utf8mb4_bin; CREATE TABLE {prefix}_user.users (x INT)"
    ));
    for _ in 0..2 {
        let error = refused(&server.url(&prefix)).await;
        assert!(error.to_string().contains("1050"), "{error}");
    }
}

#[tokio::test]
async fn every_table_tells_texts_apart_by_their_bytes() {
    let server = MariaDb::shared();
    let prefix = server.prefix();
    // made by somebody else, with what that server has as its default
    server.sql(&format!("CREATE DATABASE {prefix}_user CHARACTER SET latin1"));
    let url = server.url(&prefix);
    let db = open(&url).await;
    let other = "SELECT COUNT(*) FROM information_schema.columns WHERE collation_name IS NOT NULL AND collation_name <> 'utf8mb4_bin'";
    for service in [Service::Quota, Service::Job] {
        Db::open(&url.parse().unwrap(), service).await.unwrap();
    }
    assert_eq!(server.sql(&format!("{other} AND table_schema LIKE '{prefix}\\_%'")), "0");
    let change = UserChange { display_name: Some("安 😀".into()), ..UserChange::default() };
    let changed = db.transaction(Tx::UpdateUser, move |c| {
        create(c, "ann")?;
        user::update_user(c, &id("ann"), &change, None, 0)?;
        user::user(c, &id("ann"))
    });
    assert_eq!(changed.await.unwrap().unwrap().display_name, "安 😀");
}

#[tokio::test]
async fn a_database_of_a_newer_version_or_a_strange_one_is_refused() {
    let server = MariaDb::shared();
    let prefix = server.prefix();
    open(&server.url(&prefix)).await;
    server
        .sql(&format!("INSERT INTO {prefix}_user.__diesel_schema_migrations (version) VALUES ('user9999')"));
    let error = refused(&server.url(&prefix)).await;
    assert!(error.to_string().contains("user9999") && error.to_string().contains("newer version"), "{error}");
    let prefix = server.prefix();
    server.sql(&format!(
        "CREATE DATABASE {prefix}_user COLLATE latin1_swedish_ci; CREATE TABLE {prefix}_user.x (y INT)"
    ));
    let error = refused(&server.url(&prefix)).await;
    assert!(error.to_string().contains("latin1_swedish_ci"), "{error}");
}

#[tokio::test]
async fn who_may_not_make_a_database_is_told_which_is_missing() {
    let server = MariaDb::shared();
    let (prefix, secret) = (server.prefix(), "n0t-shown");
    server.sql(&format!("CREATE USER {prefix}@'%' IDENTIFIED BY '{secret}'"));
    let url = server.url(&prefix).replace("crater:secret", &format!("{prefix}:{secret}"));
    let error = refused(&url).await;
    assert!(matches!(error, Error::Open(_)), "{error:?}");
    assert!(error.to_string().contains(&format!("{prefix}_user is not there")), "{error}");
    // once it may, it does
    server.sql(&format!("GRANT ALL ON `{prefix}\\_%`.* TO {prefix}@'%'"));
    record(&open(&url).await, 1).await.unwrap();
    // a wrong password
    let error = refused(&url.replace(secret, "s0mething-else")).await;
    assert!(matches!(error, Error::Open(_)), "{error:?}");
    assert!(
        error.to_string().contains("Access denied") && !format!("{error:?}").contains("s0mething-else"),
        "{error}"
    );
    // from a file
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), format!("{secret}\n")).unwrap();
    let url = url.replace(&format!(":{secret}"), "") + &format!("?password_file={}", file.path().display());
    assert!(recorded(&open(&url).await, 1).await.unwrap());
}

#[tokio::test]
async fn a_server_that_is_not_there_is_said_at_once() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let since = Instant::now();
    let error = refused(&format!("mysql://crater:n0t-shown@127.0.0.1:{port}/crater")).await;
    assert!(matches!(error, Error::Unavailable(_)), "{error:?}");
    assert!(
        error.to_string().contains("cannot be reached") && error.to_string().contains(&port.to_string()),
        "{error}"
    );
    assert!(!format!("{error:?}").contains("n0t-shown"), "{error:?}");
    assert!(since.elapsed() < Duration::from_secs(1), "{:?}", since.elapsed());
}

#[tokio::test]
async fn tls_is_what_the_address_asks_for() {
    let server = MariaDb::start(Options { tls: true, ..Options::default() });
    let tls = server.tls().unwrap();
    // the server says how it is spoken to: an account that may sign in only encrypted
    server.sql("CREATE USER enc@'%' IDENTIFIED BY 'secret' REQUIRE SSL; GRANT ALL ON *.* TO enc@'%'");
    let url = server.fresh_url().replace("crater:", "enc:");
    let ca = tls.ca.display();
    for settings in
        ["", "?tls=preferred", "?tls=required", &format!("?ca={ca}"), &format!("?tls=verify&ca={ca}")]
    {
        open(&format!("{url}{settings}")).await;
    }
    let error = refused(&format!("{url}?tls=off")).await;
    assert!(error.to_string().contains("Access denied"), "{error}");
    // a certificate that somebody else signed, one for another name, and the public authorities
    for settings in [
        format!("?ca={}", tls.other_ca.display()),
        format!("?ca={ca}&tls_name=db.example.org"),
        "?tls=verify".to_owned(),
    ] {
        let error = refused(&format!("{url}{settings}")).await;
        assert!(matches!(error, Error::Open(_)), "{settings}: {error:?}");
        assert!(error.to_string().contains("TLS"), "{settings}: {error}");
    }
    let named = format!("{url}?ca={ca}&tls_name=localhost");
    record(&open(&named).await, 1).await.unwrap();
}

#[tokio::test]
async fn a_server_without_tls_is_refused_where_it_is_required() {
    let server = MariaDb::shared();
    let url = server.fresh_url();
    for settings in ["?tls=required", "?tls=verify"] {
        let error = refused(&format!("{url}{settings}")).await;
        assert!(matches!(error, Error::Open(_)), "{error:?}");
        assert!(error.to_string().contains("offers no TLS"), "{error}");
    }
    open(&format!("{url}?tls=preferred")).await;
}
