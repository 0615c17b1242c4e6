#!/usr/bin/env bash
# Runs the swarm against one process per role on the backends of deploy/backends, and prints, beside the swarm's report, the CPU that each process and
# each backend took per session, and the bytes on the log. Arguments go to `platen-swarm run idle`.
set -euo pipefail
cd "$(dirname "$0")/.."
[ -x target/release/platen ] && [ -x target/release/platen-swarm ] || {
    echo "load-distributed.sh: the programs are not built; run 'make build'" >&2
    exit 1
}
roles=(edge inventory provisioning firmware metering northbound)
dir=$(mktemp -d)
stop() {
    kill "${pids[@]}" 2>/dev/null || true
    wait "${pids[@]}" 2>/dev/null || true
    [ -z "${ours:-}" ] || deploy/backends down
    rm -rf "$dir"
}
pids=()
trap stop EXIT
if ! deploy/backends status >/dev/null; then
    ours=yes
    deploy/backends up
fi
eval "$(deploy/backends env)"
state=${PLATEN_BACKENDS_DIR:-target/backends}

# Topics and tables of this run's own.
run=load$$
cat >"$dir/platen.toml" <<TOML
[store]
kind = "cql"
[store.cql]
nodes = ["${PLATEN_TEST_CQL//,/\", \"}"]
keyspace = "$run"
replication_factor = 1
[bus]
kind = "kafka"
[bus.kafka]
brokers = ["${PLATEN_TEST_KAFKA//,/\", \"}"]
prefix = "$run."
partitions = 16
replication_factor = 1
[sessions]
kind = "redis"
[sessions.redis]
url = "$PLATEN_TEST_REDIS"
prefix = "$run:"
[files]
url = "file://$dir/files"
[keys]
file = "$dir/platen.key"
[log]
level = "warn"
[cwmp]
listen = "127.0.0.1:0"
[api]
listen = "127.0.0.1:0"
[ops]
listen = "127.0.0.1:0"
TOML
mkdir "$dir/files"
target/release/platen migrate --config "$dir/platen.toml" --admin-token-file "$dir/admin.token" >/dev/null
for role in "${roles[@]}"; do
    target/release/platen serve --config "$dir/platen.toml" --roles "$role" --ports-file "$dir/$role.json" &
    pids+=($!)
done
for at in "${!roles[@]}"; do
    until [ -s "$dir/${roles[at]}.json" ]; do
        kill -0 "${pids[at]}"
        sleep 0.1
    done
done
port() { sed -E "s/.*\"$1\":\"([^\"]+)\".*/\1/" "$dir/$2.json"; }

# User and system time of a process in clock ticks (of 10 ms), its threads included.
ticks() { sed 's/.*) //' "/proc/$1/stat" | awk '{print $12 + $13}'; }
names=("${roles[@]}")
measured=("${pids[@]}")
for node in kafka1 cql1 redis1; do
    [ ! -s "$state/$node/pid" ] || { names+=("$node"); measured+=("$(cat "$state/$node/pid")"); }
done
swarm() {
    target/release/platen-swarm run idle --url "http://$(port cwmp edge)/cwmp/default" --api "http://$(port api northbound)" \
        --token-file "$dir/admin.token" --register "$@"
}
on_log() { du -cb "$state"/kafka1/data/"$run".platen.reports.v1-* 2>/dev/null | tail -1 | cut -f1; }

# Once for installation: what is measured are idle sessions.
swarm "$@" >/dev/null
before=() bytes=$(on_log)
for pid in "${measured[@]}"; do before+=("$(ticks "$pid")"); done
swarm "$@" --installed --report "$dir/report.json"
sleep 3 # until the consumers have passed the last record
sessions=$(sed -nE 's/.*"sessions": *([0-9]+).*/\1/p' "$dir/report.json" | head -1)
echo
for at in "${!measured[@]}"; do
    awk -v name="${names[$at]}" -v ticks=$(($(ticks "${measured[$at]}") - before[at])) -v sessions="$sessions" \
        'BEGIN {printf "%-14s %7.0f µs CPU per session\n", name, ticks * 10000 / sessions}'
done
awk -v bytes=$(($(on_log) - bytes)) -v sessions="$sessions" 'BEGIN {printf "%-14s %7.0f bytes per session\n", "reports topic", bytes / sessions}'
