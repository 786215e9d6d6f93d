#!/usr/bin/env bash
# Everything that can fail, once each; the last line is "N passed, N failed".
set -uo pipefail
cd "$(dirname "$0")/.."
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$HOME/.cache/crater-target}
passed=0 failed=0 wrong=()

# check NAME COMMAND...: one check that passes or fails as the command does
check() {
  local name=$1 start=$SECONDS
  shift
  printf '\n== %s\n' "$name"
  if "$@"; then passed=$((passed + 1)); else failed=$((failed + 1)) wrong+=("$name"); fi
  printf '== %s: %s s\n' "$name" $((SECONDS - start))
}

# counted NAME COMMAND...: as check, and the tests that the output of cargo or node counts are added up
counted() {
  local name=$1 start=$SECONDS log status good bad
  log=$(mktemp)
  shift
  printf '\n== %s\n' "$name"
  "$@" 2>&1 | tee "$log"
  status=${PIPESTATUS[0]}
  read -r good bad < <(awk '/^test result: /{p+=$4; f+=$6} /^(#|ℹ) pass [0-9]+$/{p+=$3} /^(#|ℹ) fail [0-9]+$/{f+=$3} END{print p+0, f+0}' "$log")
  rm -f "$log"
  # it failed without a failed test (it did not compile), or nothing ran
  if [ "$bad" = 0 ] && { [ "$status" != 0 ] || [ "$good" = 0 ]; }; then bad=1; fi
  passed=$((passed + good)) failed=$((failed + bad))
  if [ "$bad" != 0 ]; then wrong+=("$name"); fi
  printf '== %s: %s s\n' "$name" $((SECONDS - start))
}

console() { (cd services/gateway/console && npm run --silent "$@"); }

check "what is needed" tests/setup.sh
counted "console" console test
counted "chart and image" "${CRATER_TOOLS:-$HOME/.cache/crater-tools}/venv/bin/python" tests/chart.py "${CRATER_TOOLS:-$HOME/.cache/crater-tools}/bin/helm"
check "build" cargo build --workspace --bins --tests --locked
check "formats, layers, generated files, contract, lints" "$CARGO_TARGET_DIR/debug/xtask" verify
# every crate's tests and, in crater-tests, those of the whole system
counted "tests" timeout --kill-after=30 1500 cargo test --workspace --locked --no-fail-fast

printf '\n'
if [ ${#wrong[@]} -gt 0 ]; then printf 'failed: %s\n' "${wrong[@]}"; fi
echo "$passed passed, $failed failed"
[ "$failed" = 0 ] && [ "$passed" -gt 0 ]
