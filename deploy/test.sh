#!/usr/bin/env bash
# Everything that `make test` stands for: formatting, lints, dependency policy, tests.
set -euo pipefail
cd "$(dirname "$0")/.."

cargo fmt --all --check
cargo clippy --locked --workspace --all-targets -- -D warnings
deploy/deny.sh
exec deploy/cargo-test.sh
