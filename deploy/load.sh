#!/usr/bin/env bash
# Runs the swarm against a fresh server on this machine and prints its report; arguments go to `platen-swarm run idle`.
set -euo pipefail
cd "$(dirname "$0")/.."
[ -x target/release/platen ] && [ -x target/release/platen-swarm ] || {
    echo "load.sh: the programs are not built; run 'make load', which builds them first" >&2
    exit 1
}
dir=$(mktemp -d)
trap 'kill "$server" 2>/dev/null || true; wait "$server" 2>/dev/null || true; rm -rf "$dir"' EXIT

PLATEN__CWMP__LISTEN=127.0.0.1:0 PLATEN__API__LISTEN=127.0.0.1:0 PLATEN__OPS__LISTEN=127.0.0.1:0 PLATEN__LOG__LEVEL=warn \
    target/release/platen serve --data-dir "$dir/data" --ports-file "$dir/ports.json" &
server=$!
until [ -s "$dir/ports.json" ]; do
    kill -0 "$server"
    sleep 0.1
done
port() { sed -E "s/.*\"$1\":\"([^\"]+)\".*/\1/" "$dir/ports.json"; }
target/release/platen-swarm run idle \
    --url "http://$(port cwmp)/cwmp/default" --api "http://$(port api)" --token-file "$dir/data/admin.token" \
    --register --pid "$server" "$@"
