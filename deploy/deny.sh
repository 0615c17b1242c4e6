#!/usr/bin/env bash
# Licences, banned and duplicate crates, sources: by cargo-deny, which is installed at the version below where it is missing.
set -euo pipefail
cd "$(dirname "$0")/.."
version=0.20.2
if ! cargo deny --version 2>/dev/null | grep -q " $version\$"; then
    echo "installing cargo-deny $version" >&2
    cargo install --locked --quiet "cargo-deny@$version"
fi
cargo deny --log-level error check licenses bans sources
