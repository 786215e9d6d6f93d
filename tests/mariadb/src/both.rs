//! Tests of a service on either database.

use std::path::Path;
use std::process::Command;

use crate::MariaDb;

/// Which database a service's tests use: `sqlite`, which it is unless set, or `mariadb`.
const CHOICE: &str = "CRATER_TEST_DATABASE";

/// The address of the tables that belong to a test's folder, as a configuration says it: the folder itself, or databases of the shared server,
/// the same ones each time.
pub fn database_for(folder: &Path) -> String {
    match std::env::var(CHOICE).as_deref() {
        Err(_) | Ok("sqlite") => folder.to_str().unwrap().to_owned(),
        Ok("mariadb") => {
            let note = folder.join("database-url");
            std::fs::read_to_string(&note).unwrap_or_else(|_| {
                let url = MariaDb::shared().fresh_url();
                std::fs::write(&note, &url).unwrap();
                url
            })
        }
        Ok(other) => panic!("{CHOICE}={other}: it is sqlite or mariadb"),
    }
}

/// Runs the tests of this program whose names hold one of these words once more, on MariaDB.
pub fn again_on_mariadb(words: &[&str]) {
    if std::env::var(CHOICE).is_ok() {
        // somebody chose for all of them
        return;
    }
    let mut again = Command::new(std::env::current_exe().unwrap());
    let output = again.args(words).env(CHOICE, "mariadb").output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "on MariaDB:\n{said}\n{}", String::from_utf8_lossy(&output.stderr));
    let ran = said.lines().filter(|l| l.starts_with("test ") && l.ends_with("... ok")).count();
    assert!(ran > 0, "no test is called so:\n{said}");
    println!("{ran} tests on MariaDB");
}
