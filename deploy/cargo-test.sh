#!/usr/bin/env bash
# Runs `cargo test` on the whole workspace with the arguments given, and ends with the summary of all test binaries: "N passed, N failed, N skipped".
# A test that lacks what it needs says so in one line that begins with "skipped: ". Where MUST_RUN (a regular expression) matches such a line, it is
# a failure: the run was there to make that very test.
set -euo pipefail
cd "$(dirname "$0")/.."

# With one test at a time, the runner has begun a line by then.
skip='^(test .* \.\.\. )?skipped: '
log=$(mktemp)
trap 'rm -f "$log"' EXIT
status=0
cargo test --locked --workspace --no-fail-fast "$@" -- --nocapture >"$log" 2>&1 || status=$?
grep -hE '^(test |test result|failures:|---- |error|skipped: )|panicked at|FAILED' "$log" || true
if [ "$status" -ne 0 ]; then
    cat "$log"
    # Once more at the end, which is what is seen of a long log.
    echo '--- what failed:'
    grep -hE -A12 'panicked at' "$log" | cut -c1-500 || true
    grep -hE '^test .*FAILED' "$log" || true
fi

passed=$(awk '/^test result:/ {n += $4} END {print n + 0}' "$log")
failed=$(awk '/^test result:/ {n += $6} END {print n + 0}' "$log")
skipped=$(grep -cE "$skip" "$log" || true)
if [ -n "${MUST_RUN:-}" ]; then
    refused=$(grep -E "$skip" "$log" | grep -cE "$MUST_RUN" || true)
    if [ "$refused" -gt 0 ]; then
        echo "$refused test(s) skipped that were to run; see the lines 'skipped: ' above" >&2
        failed=$((failed + refused)) passed=$((passed - refused)) skipped=$((skipped - refused)) status=1
    fi
fi
if [ "$passed" -eq 0 ] && [ "$status" -eq 0 ]; then
    echo "no test has run" >&2
    status=1
fi
echo "$passed passed, $failed failed, $skipped skipped"
exit "$status"
