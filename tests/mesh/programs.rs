//! The six programs as an operator meets them: how they are set up, what they say of a bad configuration, how they leave.

use std::path::Path;
use std::time::{Duration, Instant};

use crater_api::job::v1::JobState;

use crate::harness::{
    Cli, Ended, Mesh, NAMES, PASSWORD, PATIENCE, example, mesh_key, program, promised, run, tools, until,
};

/// `EX_CONFIG` of `sysexits.h`.
const BAD_CONFIG: i32 = 78;

fn login(mesh: &Mesh, password: &str) -> Ended {
    let args = ["login", "--server", &mesh.url, "--user", "admin", "--password-stdin"];
    Cli::signed_out().run_with(&args, &format!("{password}\n"))
}

#[test]
fn the_documented_steps_make_a_mesh_out_of_nothing() {
    let mesh = Mesh::prepare(&["--run-local"], &[("CRATER_ADMIN_PASSWORD", "")]);
    // what each of them needs is not there yet
    for name in ["gateway", "controller", "scheduler", "job", "quota", "user"] {
        mesh.service(name).start();
    }
    mesh.service("user").ready(PATIENCE);
    mesh.service("gateway").ready(PATIENCE);
    assert!(!mesh.service("scheduler").serves(""), "there are no custom resources to follow");
    let crds = example("user").parent().unwrap().with_file_name("crds");
    run(&mut tools::kubectl(&mesh.kubeconfig, &["apply", "-f", crds.to_str().unwrap()]), "", PATIENCE).ok();
    mesh.all_ready(PATIENCE);

    assert_eq!(login(&mesh, PASSWORD).code, 6, "nobody is there, and no password is built in");
    let user = mesh.service("user");
    for (given, works) in [("the first password", true), ("another password", false)] {
        assert!(user.terminate().success());
        user.set("CRATER_ADMIN_PASSWORD", given);
        user.start();
        user.ready(PATIENCE);
        let ended =
            until("the door is open again", PATIENCE, || Some(login(&mesh, given)).filter(|e| e.code != 4));
        assert_eq!(ended.code, if works { 0 } else { 6 }, "{given}: {ended:?}");
    }
    let cli = Cli::sign_in(&mesh.url, "admin", "the first password");
    assert_eq!(cli.run(&["submit", "--wait", "--", "sh", "-c", "exit 3"]).code, 3);
    assert!(!mesh.log().contains("the first password"));
}

#[test]
fn sigterm_drains_each_service_and_a_new_start_finds_all() {
    let mesh = Mesh::up(&[]);
    let (cli, api) = (mesh.cli(), mesh.api());
    let go = mesh.file("go");
    let script = "while [ ! -e $0 ]; do sleep 0.05; done";
    cli.submit(&["--name", "kept"], &["sh", "-c", script, go.to_str().unwrap()]);
    api.reaches("kept", JobState::Running);
    let mut watch = cli.follow(&["ls", "--watch"]);
    watch.until("the job", PATIENCE, |line| line.contains("kept"));
    for name in NAMES {
        let start = Instant::now();
        let status = mesh.service(name).terminate();
        assert!(status.success(), "{name}: {status}\n{}", mesh.service(name).log());
        let took = start.elapsed();
        eprintln!("{name} left after {took:?}");
        assert!(
            took < promised(Duration::from_secs(5)),
            "{name}: open streams must not hold the end back: {took:?}"
        );
    }
    for name in NAMES {
        mesh.service(name).start();
    }
    mesh.all_ready(Duration::from_secs(5));
    assert_eq!(mesh.api().job("kept").state(), JobState::Running);
    std::fs::write(&go, "").unwrap();
    assert_eq!(mesh.api().reaches("kept", JobState::Succeeded).attempts, 1);
}

#[test]
fn a_configuration_that_cannot_be_used_is_named_by_its_key() {
    let folder = tempfile::tempdir().unwrap();
    let key = mesh_key(folder.path());
    let nowhere = crater_k8s_mem::kubeconfig(([127, 0, 0, 1], 1).into());
    std::fs::write(folder.path().join("kubeconfig"), nowhere).unwrap();
    let short = folder.path().join("short.key");
    std::fs::write(&short, "c2hvcnQ=").unwrap();
    let typo = folder.path().join("typo.toml");
    std::fs::write(&typo, "[server]\nlisten = \"127.0.0.1:0\"\ndran_seconds = 1\n").unwrap();
    let (key, short, typo) = (key.to_str().unwrap(), short.to_str().unwrap(), typo.to_str().unwrap());
    let absent = "/no/such/file";
    // what is set beside the example file, by variables or flags, and what the message must name
    type Case<'a> = (&'a [(&'a str, &'a str)], &'a [&'a str], &'a [&'a str]);
    let everywhere: [Case<'_>; 5] = [
        (&[("BANANAS", "1")], &[], &["bananas"]),
        (&[("SERVER__LISTEN", "nowhere")], &[], &["listen"]),
        (&[("SERVER__CALLS", "many")], &[], &["calls"]),
        (&[], &["--config", absent], &[absent]),
        (&[], &["--config", typo], &["dran_seconds"]),
    ];
    for name in NAMES {
        for (set, args, named) in everywhere {
            refused(name, key, set, args, named);
        }
        if name != "controller" {
            refused(name, key, &[("MESH_KEY", absent)], &[], &["mesh_key", absent]);
            refused(name, key, &[("MESH_KEY", short)], &[], &["mesh_key", "32 bytes"]);
        }
        if ["user", "quota", "job"].contains(&name) {
            refused(name, key, &[("DATABASE", "")], &[], &["database"]);
            refused(name, key, &[("DATABASE", "oracle://here")], &[], &["database", "oracle"]);
            refused(name, key, &[("DATABASE", "/dev/null/x")], &[], &["database", "/dev/null/x"]);
        }
        if ["job", "scheduler", "controller"].contains(&name) {
            refused(name, key, &[("KUBECONFIG", absent)], &[], &["kubeconfig", absent]);
        }
        if ["quota", "job", "scheduler", "gateway"].contains(&name) {
            refused(name, key, &[("USER", "user:7001")], &[], &["user", "http://host:port"]);
            refused(name, key, &[], &["--config", "/dev/null"], &["user", "must be set"]);
        }
    }
    refused("scheduler", key, &[("LEASE_SECONDS", "1")], &[], &["lease_seconds", "2 to 300"]);
    refused("gateway", key, &[("ALLOWED_ORIGINS", "[\"*\"]")], &[], &["allowed_origins"]);
    refused(
        "gateway",
        key,
        &[("SERVER__TLS__CERTIFICATE", absent), ("SERVER__TLS__KEY", absent)],
        &[],
        &[absent],
    );
}

fn refused(name: &str, key: &str, set: &[(&str, &str)], args: &[&str], named: &[&str]) {
    let mut command = program(&format!("crater-{name}"));
    match args {
        [] => command.arg("--config").arg(example(name)),
        args => command.args(args),
    };
    let variable = |key: &str| format!("CRATER_{}__{key}", name.to_uppercase());
    command.env(variable("SERVER__LISTEN"), "127.0.0.1:0");
    if name != "controller" {
        command.env(variable("MESH_KEY"), key);
    }
    if ["job", "scheduler", "controller"].contains(&name) {
        command.env(variable("KUBECONFIG"), Path::new(key).with_file_name("kubeconfig"));
    }
    for (key, value) in set {
        command.env(variable(key), value);
    }
    let ended = run(&mut command, "", PATIENCE);
    let last = ended.err.lines().last().unwrap_or_default();
    assert_eq!(ended.code, BAD_CONFIG, "{name} {set:?} {args:?}: {ended:?}");
    assert!(last.starts_with(&format!("crater-{name}: ")), "{name} {set:?} {args:?}: {last}");
    for word in named {
        assert!(last.to_lowercase().contains(word), "{name} {set:?} {args:?} should name {word:?}: {last}");
    }
}
