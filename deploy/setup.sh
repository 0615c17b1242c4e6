#!/usr/bin/env bash
# Checks that this machine can build Platen; installs what rustup has of the pinned toolchain, and as root what apt has of the rest.
set -euo pipefail
cd "$(dirname "$0")/.."

missing() {
    echo "platen: $1 is missing. $2" >&2
    exit 1
}

command -v cc >/dev/null || missing "a C compiler" "Debian and Ubuntu: apt-get install build-essential"
command -v cargo >/dev/null || missing "Rust" "Install rustup (https://rustup.rs), or your system's rustup package"

# The client of Kafka is linked with OpenSSL.
if [ -z "${OPENSSL_DIR:-}" ] && ! pkg-config --exists openssl 2>/dev/null; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends libssl-dev pkg-config; } >&2
    else
        missing "what programs that use OpenSSL are built with" "Debian and Ubuntu: apt-get install libssl-dev pkg-config"
    fi
fi

wanted=$(sed -n 's/^channel = "\(.*\)"/\1/p' rust-toolchain.toml)
if command -v rustup >/dev/null; then
    # Components of the pinned toolchain; quiet and quick when they are there.
    rustup component list --toolchain "$wanted" --installed 2>/dev/null | grep -q '^clippy' &&
        rustup component list --toolchain "$wanted" --installed 2>/dev/null | grep -q '^rustfmt' ||
        rustup toolchain install "$wanted" --profile minimal --component rustfmt --component clippy >&2
else
    have=$(cargo --version | cut -d' ' -f2)
    [ "$(printf '%s\n%s\n' "$wanted" "$have" | sort -V | head -1)" = "$wanted" ] ||
        missing "Rust $wanted or newer (found $have)" "Install rustup (https://rustup.rs)"
fi
