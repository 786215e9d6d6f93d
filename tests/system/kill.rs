//! The mesh is killed with jobs waiting and running.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crater_api::job::v1::JobState;

use crate::harness::{Mesh, PATIENCE, is_alive, processes_of, until};

/// Takes a lock of its job, so that a second run at the same time is seen; says when it starts and when it is done.
const PROGRAM: &str = r#"
import fcntl, os, sys, time
journal, job = sys.argv[1], sys.argv[2]

def say(what):
    # one write of one short line: appended whole
    fd = os.open(journal, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(fd, f"{what} {job} {os.getpid()}\n".encode())

lock = open(f"{journal}.{job}", "w")
try:
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
    say("twice")
    sys.exit(9)
say("start")
time.sleep(1.2)
say("done")
"#;

struct Journal(std::path::PathBuf);

impl Journal {
    /// What was said, by whom: (word, job, process).
    fn lines(&self) -> Vec<(String, String, i32)> {
        let text = std::fs::read_to_string(&self.0).unwrap_or_default();
        let words = |line: &str| {
            let [what, job, pid] = line.split(' ').collect::<Vec<_>>()[..] else { panic!("{line:?}") };
            (what.to_owned(), job.to_owned(), pid.parse().unwrap())
        };
        text.lines().map(words).collect()
    }

    /// Processes that started and are not done.
    fn running(&self) -> Vec<i32> {
        let mut open = BTreeMap::new();
        for (what, _, pid) in self.lines() {
            if what == "start" {
                open.insert(pid, ())
            } else {
                open.remove(&pid)
            };
        }
        open.into_keys().collect()
    }
}

#[test]
fn after_a_sigkill_every_accepted_job_ends_and_none_runs_twice_at_once() {
    let mut mesh = Mesh::up(&["--nodes", "1x3:A100"]);
    let journal = Journal(mesh.file("journal"));
    let script = mesh.write("work.py", PROGRAM);
    let path = journal.0.to_str().unwrap().to_owned();
    let flags =
        |name: &str| ["--name", name, "--gpu", "1", "--cpu", "0.1", "--memory", "64Mi"].map(str::to_owned);
    let submit = |cli: &crate::harness::Cli, name: &str| {
        let flags = flags(name);
        let mut args = vec!["submit".to_owned()];
        args.extend(flags);
        args.extend(["--", "python3", &script, &path, name].map(str::to_owned));
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        cli.run(&args)
    };

    let cli = mesh.cli();
    let mut accepted: Vec<String> = (0..8).map(|i| format!("early-{i}")).collect();
    for name in &accepted {
        submit(&cli, name).ok();
    }
    // others are being submitted when the mesh dies: whatever was answered counts
    let stop = AtomicBool::new(false);
    let late = std::thread::scope(|scope| {
        let submitter = scope.spawn(|| {
            let mut accepted = Vec::new();
            for i in 0..6 {
                let name = format!("late-{i}");
                let ended = submit(&cli, &name);
                if ended.code == 0 {
                    accepted.push(name);
                }
                if stop.load(Ordering::SeqCst) {
                    break;
                }
            }
            accepted
        });
        until("two running jobs and one done", PATIENCE, || {
            let done = journal.lines().iter().any(|(what, ..)| what == "done");
            (done && journal.running().len() >= 2).then_some(())
        });
        mesh.kill();
        stop.store(true, Ordering::SeqCst);
        submitter.join().unwrap()
    });
    accepted.extend(late);
    let survivors = journal.running();
    for &pid in &survivors {
        until("the end of what the killed mesh ran", Duration::from_secs(5), || {
            (!is_alive(pid)).then_some(())
        });
    }
    until("nothing of the old run is left", Duration::from_secs(5), || {
        processes_of(&mesh.data()).is_empty().then_some(())
    });

    // once more, as soon as something runs again
    mesh.start();
    let before = journal.lines().len();
    until("a job starts over", PATIENCE, || (journal.lines().len() > before).then_some(()));
    mesh.kill();
    mesh.start();
    let api = mesh.api();
    for name in &accepted {
        let job = api.reaches(name, JobState::Succeeded);
        assert_eq!(job.exit_code, Some(0), "{job:#?}");
    }
    let lines = journal.lines();
    let twice: Vec<_> = lines.iter().filter(|(what, ..)| what == "twice").collect();
    assert!(twice.is_empty(), "ran twice at once: {twice:?}\n{lines:#?}");
    for name in &accepted {
        assert!(
            lines.iter().any(|(what, job, _)| what == "done" && job == name),
            "{name} was not run to its end"
        );
    }
    assert_eq!(journal.running().iter().filter(|pid| is_alive(**pid)).count(), 0);
}
