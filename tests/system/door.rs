//! The one port that people and browsers come to.

use std::process::Command;

use crate::harness::{Cli, Mesh, PASSWORD, PATIENCE, run, tools};

/// The head of an answer, in lower case, and its body.
fn fetch(args: &[&str], url: &str) -> (String, String) {
    let answer =
        run(Command::new("curl").args(["--silent", "--include"]).args(args).arg(url), "", PATIENCE).ok();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_lowercase(), body.to_owned())
}

#[test]
fn the_console_is_served_with_a_strict_policy_and_nothing_beside_it() {
    let mesh = Mesh::up(&[]);
    let (head, page) = fetch(&[], &format!("{}/", mesh.url));
    assert!(head.starts_with("http/1.1 200"), "{head}");
    assert!(head.contains("content-security-policy: default-src 'none'; script-src 'self';"), "{head}");
    assert!(page.contains("<script") && page.contains("/assets/"), "this is not the built console:\n{page}");
    for path in ["/assets/../../Cargo.toml", "/assets/nothing.js", "/%2e%2e/%2e%2e/etc/passwd"] {
        let (head, body) = fetch(&["--path-as-is"], &format!("{}{path}", mesh.url));
        assert!(!head.starts_with("http/1.1 200") || body == page, "{path}: {head}");
    }
}

#[test]
fn only_the_pages_of_a_frontend_under_development_may_call_from_elsewhere() {
    let mesh = Mesh::up(&[]);
    let url = format!("{}/crater.user.v1.AuthService/Login", mesh.url);
    let asks = |origin: &str| {
        let origin = format!("Origin: {origin}");
        let method = "Access-Control-Request-Method: POST";
        let headers = "Access-Control-Request-Headers: content-type,x-grpc-web,authorization";
        fetch(&["-X", "OPTIONS", "-H", &origin, "-H", method, "-H", headers], &url).0
    };
    for origin in ["http://localhost:5173", "http://127.0.0.1:5173"] {
        assert!(asks(origin).contains(&format!("access-control-allow-origin: {origin}")), "{origin}");
    }
    for origin in
        ["http://localhost:5174", "https://example.org", "null", "http://localhost:5173.example.org"]
    {
        assert!(!asks(origin).contains("access-control-allow-origin"), "{origin}");
    }
}

#[test]
fn with_a_certificate_the_same_port_speaks_tls_alone() {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    std::fs::write(&cert, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let (cert, key) = (cert.to_str().unwrap(), key.to_str().unwrap());
    let mesh = Mesh::up(&["--tls-cert", cert, "--tls-key", key]);
    assert!(mesh.url.starts_with("https://"), "{}", mesh.url);
    let cli = Cli::signed_out();
    let login = ["login", "--server", &mesh.url, "--user", "admin", "--password-stdin"];
    let password = format!("{PASSWORD}\n");
    assert_eq!(cli.run_with(&login, &password).code, 4, "a certificate that nobody vouches for is refused");
    cli.run_with(&[&login[..], &["--ca", cert]].concat(), &password).ok();
    assert_eq!(cli.run(&["submit", "--ca", cert, "--wait", "--", "sh", "-c", "exit 3"]).code, 3);
    let plain = run(&mut tools::grpcurl(None, &["-max-time", "5", mesh.address(), "list"]), "", PATIENCE);
    assert_ne!(plain.code, 0, "{plain:?}");
}
