#!/usr/bin/env bash
# Runs every fuzz target for FUZZ_SECONDS each (default 60), with the nightly toolchain.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${FUZZ_SECONDS:-60}
command -v rustup >/dev/null || {
    echo "fuzz.sh: fuzzing needs a nightly toolchain, and rustup to install it: https://rustup.rs" >&2
    exit 1
}
rustup toolchain list | grep -q '^nightly' || rustup toolchain install nightly --profile minimal
cargo +nightly fuzz --version >/dev/null 2>&1 || cargo install --locked --quiet cargo-fuzz
for folder in services/libs/*/fuzz services/*/fuzz; do
    [ -f "$folder/Cargo.toml" ] || continue
    for target in $(cd "$folder/.." && cargo +nightly fuzz list); do
        echo "== $folder: $target for $seconds s"
        (cd "$folder/.." && cargo +nightly fuzz run "$target" -- -max_total_time="$seconds" -rss_limit_mb=4096)
    done
done
