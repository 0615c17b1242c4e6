#!/usr/bin/env bash
# Faults on real backends, three nodes of each: every single one, then at random for PLATEN_FAULT_SECONDS (default 1800). Arguments choose tests:
# deploy/test-faults.sh flt_13. PLATEN_FAULT_SEED repeats a random run. The nodes are this run's own, beside those of others.
set -euo pipefail
cd "$(dirname "$0")/.."

export PLATEN_BACKENDS_DIR=${PLATEN_BACKENDS_DIR:-target/backends-faults}
export PLATEN_BACKENDS_KAFKA_PORT=${PLATEN_BACKENDS_KAFKA_PORT:-18092}
export PLATEN_BACKENDS_CQL_PORT=${PLATEN_BACKENDS_CQL_PORT:-18042}
export PLATEN_BACKENDS_REDIS_PORT=${PLATEN_BACKENDS_REDIS_PORT:-18079}
export PLATEN_FAULT_SECONDS=${PLATEN_FAULT_SECONDS:-1800}
# Tests find the folder from where they are.
mkdir -p "$PLATEN_BACKENDS_DIR"
PLATEN_BACKENDS_DIR=$(cd "$PLATEN_BACKENDS_DIR" && pwd)

# Cuts of the network.
if [ ! -e /usr/sbin/nft ]; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        apt-get install --yes --quiet nftables >/dev/null
    else
        echo "test-faults.sh: without nftables some faults are skipped; Debian and Ubuntu: apt-get install nftables" >&2
    fi
fi

trap 'deploy/backends down' EXIT
deploy/backends up --cluster
eval "$(deploy/backends env)"
# One at a time: they break nodes that all of them use.
RUST_TEST_THREADS=1 MUST_RUN='PLATEN_TEST_(KAFKA|CQL|REDIS)|three nodes' \
    deploy/cargo-test.sh --test faults "$@"
