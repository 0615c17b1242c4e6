#!/usr/bin/env bash
# Everything that `make test` stands for: formatting, lints, dependency policy, tests. Ends with the summary of all test binaries.
set -euo pipefail
cd "$(dirname "$0")/.."

cargo fmt --all --check
cargo clippy --locked --workspace --all-targets -- -D warnings
deploy/deny.sh

log=$(mktemp)
trap 'rm -f "$log"' EXIT
status=0
cargo test --locked --workspace --no-fail-fast -- --nocapture >"$log" 2>&1 || status=$?
# A test that lacks its data says so in one line that begins with "skipped: ".
grep -hE '^(test |test result|failures:|---- |error|skipped: )|panicked at|FAILED' "$log" || true
[ "$status" -eq 0 ] || cat "$log"

passed=$(awk '/^test result:/ {n += $4} END {print n + 0}' "$log")
failed=$(awk '/^test result:/ {n += $6} END {print n + 0}' "$log")
skipped=$(grep -cE '^skipped: ' "$log" || true)
echo "$passed passed, $failed failed, $skipped skipped"
exit "$status"
