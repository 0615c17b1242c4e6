#!/usr/bin/env bash
# Everything that `make test` stands for: formatting, lints, dependency policy, tests.
set -euo pipefail
cd "$(dirname "$0")/.."

cargo fmt --all --check
cargo clippy --locked --workspace --all-targets -- -D warnings
deploy/deny.sh
# What Platen writes is checked against the published schemas where these are (see services/libs/cwmp/tests/schema.rs).
if [ -d "${PLATEN_TEST_DATA:-../shared/data}/cwmp-xsd" ] && ! command -v xmllint >/dev/null &&
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    DEBIAN_FRONTEND=noninteractive apt-get install --yes --quiet --no-install-recommends libxml2-utils >/dev/null ||
        echo "test.sh: xmllint cannot be installed; its tests are skipped" >&2
fi
exec deploy/cargo-test.sh
