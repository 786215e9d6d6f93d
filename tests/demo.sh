#!/usr/bin/env bash
# The main job, step by step, on a fresh folder and free ports. CRATER names the program.
set -euo pipefail
crater=${CRATER:?names the crater program}
tools=${CRATER_TOOLS:-$HOME/.cache/crater-tools}
export PATH=$tools/bin:$PATH
for name in $(compgen -e CRATER_ || true); do unset "$name"; done
folder=$(mktemp -d "${TMPDIR:-/tmp}/crater-demo-XXXXXX")
mesh=
finish() {
  local code=$?
  if [ "$code" != 0 ] && [ -f "$folder/log" ]; then echo "the demo stopped; the end of the mesh's log:"; tail -n 30 "$folder/log"; fi
  if [ -n "$mesh" ]; then kill "$mesh" 2>/dev/null && wait "$mesh" || true; fi
  rm -rf "$folder"
  exit "$code"
}
trap finish EXIT

# a terminal gets colours, a file does not
if [ -t 1 ]; then bold=$'\e[1m' dim=$'\e[2m' plain=$'\e[0m'; else bold='' dim='' plain=''; fi
tell() { printf '\n%s%s%s\n' "$bold" "$*" "$plain"; }
show() { printf '%s$ %s%s\n' "$dim" "$*" "$plain"; }
run() { show "$*"; "$@"; }
# waits until a command does what it is asked
until_ok() {
  local deadline=$((SECONDS + 60))
  until "$@" >/dev/null 2>&1; do
    [ $SECONDS -lt $deadline ] || { echo "waited 60 s in vain: $*" >&2; return 1; }
    sleep 0.1
  done
}
# the functions stand for the programs, so that what is shown can be typed
crater() { command "$crater" "$@"; }

tell "1. The whole of Crater in one process: 2 pretend servers of 8 A100s, jobs really run on this machine"
show "crater up --run-local --nodes 2x8:A100"
export CRATER_ADMIN_PASSWORD=demo-password
"$crater" up --run-local --nodes 2x8:A100 --data "$folder/data" --listen 127.0.0.1:0 --kube-listen 127.0.0.1:0 \
  >"$folder/banner" 2>"$folder/log" &
mesh=$!
ready() { kill -0 "$mesh" || exit 1; grep -q -- --kubeconfig "$folder/banner"; }
until_ok ready
cat "$folder/banner"
url=$(sed -n 's/^ *console *\([^ ]*[^ /]\)\/* *$/\1/p' "$folder/banner")
kubeconfig=$folder/data/kubeconfig
export XDG_CONFIG_HOME=$folder/config

tell "2. Sign in"
show "crater login --server $url --user admin --password-stdin"
echo "$CRATER_ADMIN_PASSWORD" | crater login --server "$url" --user admin --password-stdin
run crater nodes

tell "3. A Python program with one GPU: its output is followed while it runs"
cat >"$folder/train.py" <<'PYTHON'
import os, time
print("this replica sees GPU", os.environ["CUDA_VISIBLE_DEVICES"])
loss = 4.0
for step in range(1, 9):
    loss *= 0.8
    print(f"step {step}: loss {loss:.3f}")
    time.sleep(0.4)
PYTHON
run crater submit --name train --gpu 1 -- python3 "$folder/train.py"
run crater logs -f train
run crater get train

tell "4. A gang: 4 replicas with 2 GPUs each start together, meet over TCP and agree on a sum"
cat >"$folder/gang.py" <<'PYTHON'
import os, socket, time
rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
address = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
if rank == 0:
    with socket.create_server(address) as server:
        peers = [server.accept()[0].makefile("rw") for _ in range(world - 1)]
    total = sum(int(peer.readline()) for peer in peers) + 1
    for peer in peers:
        print(total, file=peer, flush=True)
else:
    deadline = time.monotonic() + 30
    while True:
        try:
            peer = socket.create_connection(address).makefile("rw")
            break
        except ConnectionRefusedError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
    print((rank + 1) ** 2, file=peer, flush=True)
    total = int(peer.readline())
print(f"rank {rank} of {world}, GPUs {os.environ['CUDA_VISIBLE_DEVICES']}: the sum of squares is {total}")
PYTHON
run crater submit --name gang --replicas 4 --gpu 2 -- python3 "$folder/gang.py"
run crater logs -f gang

tell "5. More than there is: a job that must wait, and why"
crater submit --name holder --replicas 2 --gpu 8 -- sleep 600
crater submit --name patient --gpu 4 -- echo "my turn"
running() { crater get holder -o json | grep -q RUNNING; }
until_ok running
waits() { crater why patient | grep -qi gpu; }
until_ok waits
run crater why patient
run crater queue

tell "6. The same from Kubernetes' side"
run kubectl --kubeconfig "$kubeconfig" get aijobs,allocations,pods,nodes -A

tell "7. The waiting job starts by itself once there is room"
run crater cancel holder
run crater logs -f patient

tell "8. A job's exit code is the exit code of submit --wait"
show "crater submit --wait -- sh -c 'exit 7'"
code=0
crater submit --wait -- sh -c 'exit 7' || code=$?
echo "it left with $code"
[ "$code" = 7 ]
run crater ls

tell "9. The same from any gRPC client"
run grpcurl -plaintext "${url#http://}" list
token=$(grpcurl -plaintext -d "{\"user_id\": \"admin\", \"password\": \"$CRATER_ADMIN_PASSWORD\"}" "${url#http://}" \
  crater.user.v1.AuthService/Login | sed -n 's/.*"accessToken": "\([^"]*\)".*/\1/p')
show 'grpcurl -plaintext -H "authorization: Bearer $TOKEN"' "${url#http://} crater.user.v1.AuthService/WhoAmI"
grpcurl -plaintext -H "authorization: Bearer $token" "${url#http://}" crater.user.v1.AuthService/WhoAmI

tell "10. The end: SIGTERM drains"
kill -TERM "$mesh"
wait "$mesh"
mesh=
echo "done. Run it yourself with: make up"
