//! Replicas that find each other.

use std::collections::BTreeSet;

use crate::harness::{Mesh, PATIENCE};

/// Each replica has a vector; rank 0 gathers them over TCP, sums them, and tells all. All must agree before any ends.
const PROGRAM: &str = r#"
import json, os, socket, time
rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
address = (os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]))
mine = [(rank + 1) * i for i in range(1000)]

def send(stream, value):
    stream.write(json.dumps(value) + "\n")
    stream.flush()

if rank == 0:
    server = socket.create_server(address, backlog=world)
    streams = [server.accept()[0].makefile("rw") for _ in range(world - 1)]
    vectors = [json.loads(s.readline()) for s in streams] + [mine]
    total = [sum(column) for column in zip(*vectors)]
    for s in streams:
        send(s, total)
    assert all(json.loads(s.readline()) == sum(total) for s in streams), "the replicas do not agree"
else:
    deadline = time.monotonic() + 30
    while True:
        try:
            stream = socket.create_connection(address, timeout=30).makefile("rw")
            break
        except ConnectionRefusedError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
    send(stream, mine)
    total = json.loads(stream.readline())
    send(stream, sum(total))
print(f"rank {rank} of {world}: {sum(total)}")
"#;

#[test]
fn four_replicas_meet_sum_a_vector_and_agree() {
    let mesh = Mesh::up(&[]);
    let cli = mesh.cli();
    let script = mesh.write("gang.py", PROGRAM);
    let flags = ["--name", "ring", "--replicas", "4", "--cpu", "0.1", "--memory", "64Mi"];
    cli.submit(&flags, &["python3", &script]);
    let logs = cli.follow(&["logs", "-f", "--prefix", "never", "ring"]).end(PATIENCE).lines();
    let sum: u64 = (1..=4u64).map(|factor| (0..1000u64).map(|i| factor * i).sum::<u64>()).sum();
    let wanted: BTreeSet<String> = (0..4).map(|rank| format!("rank {rank} of 4: {sum}")).collect();
    assert_eq!(logs.into_iter().collect::<BTreeSet<_>>(), wanted);
    let job = mesh.api().reaches("ring", crater_api::job::v1::JobState::Succeeded);
    assert_eq!((job.attempts, job.exit_code), (1, Some(0)));
}
