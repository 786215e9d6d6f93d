#!/usr/bin/env bash
# Start-up time and idle memory of `crater up`: medians of five, as a table for docs/benchmarks.md.
# CRATER names the program; it should be the release build, on a machine that does nothing else.
set -euo pipefail
exec python3 - "${CRATER:?names the crater program}" <<'PYTHON'
import os, re, select, shutil, signal, statistics, subprocess, sys, tempfile, time

CRATER, ROUNDS, IDLE = sys.argv[1], 5, 10
SHAPES = [("demo nodes, played", []), ("this machine, `--run-local`", ["--run-local"]), ("`--nodes 1000x8:A100`", ["--nodes", "1000x8:A100"])]
environment = {k: v for k, v in os.environ.items() if not k.startswith("CRATER_")} | {"CRATER_ADMIN_PASSWORD": "bench-password"}


def start(data, flags):
    """Seconds from the start of the process to the banner, and the process."""
    command = [CRATER, "up", "--data", data, "--listen", "127.0.0.1:0", "--kube-listen", "127.0.0.1:0", *flags]
    begin = time.monotonic()
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    while True:
        if not select.select([process.stdout], [], [], 60)[0]:
            sys.exit(f"{' '.join(command)}: no banner after 60 s")
        line = process.stdout.readline()
        if not line:
            sys.exit(f"{' '.join(command)}: it ended without a banner")
        if b"Crater is up." in line:
            return time.monotonic() - begin, process


def stop(process):
    process.send_signal(signal.SIGTERM)
    if process.wait(30) != 0:
        sys.exit(f"SIGTERM: it left with {process.returncode}")


def memory(pid):
    """Resident and proportional set size, MiB."""
    text = open(f"/proc/{pid}/smaps_rollup").read()
    return [int(re.search(rf"^{name}: *(\d+) kB", text, re.M)[1]) / 1024 for name in ("Rss", "Pss")]


def row(flags):
    fresh, again, rss, pss = [], [], [], []
    for _ in range(ROUNDS):
        data = tempfile.mkdtemp(prefix="crater-bench-")
        try:
            seconds, process = start(data, flags)
            fresh.append(seconds)
            time.sleep(IDLE)
            r, p = memory(process.pid)
            rss.append(r), pss.append(p)
            stop(process)
            seconds, process = start(data, flags)
            again.append(seconds)
            stop(process)
        finally:
            shutil.rmtree(data, ignore_errors=True)
    spread = lambda values, form: f"{statistics.median(values):{form}} ({min(values):{form}}–{max(values):{form}})"
    return spread(fresh, ".2f"), spread(again, ".2f"), spread(rss, ".0f"), spread(pss, ".0f")


model = re.search(r"model name\s*: (.*)", open("/proc/cpuinfo").read())
memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
print(f"{time.strftime('%Y-%m-%d')}, {os.cpu_count()} CPUs ({model[1] if model else 'unknown'}), {memory_gib:.0f} GiB, Linux {os.uname().release.split('-')[0]}, "
      f"load {os.getloadavg()[0]:.1f} at the start; {os.path.getsize(CRATER) / 2**20:.1f} MiB program")
print()
print("| cluster | start, fresh folder, s | start, same folder, s | RSS after 10 s, MiB | PSS after 10 s, MiB |")
print("|---|---|---|---|---|")
for name, flags in SHAPES:
    print(f"| {name} | {' | '.join(row(flags))} |", flush=True)
PYTHON
