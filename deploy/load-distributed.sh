#!/usr/bin/env bash
# Runs the swarm against one process per role on the backends of deploy/backends, and prints, beside the swarm's report, the CPU that each process and
# each backend took per session, what each takes while nothing happens, and the bytes on the log; then the same for each role while the others do
# not run: the edge with the whole machine, and each consumer with a backlog. Arguments go to `platen-swarm run idle`.
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
# Starts the role at a place of the list.
start() {
    rm -f "$dir/${roles[$1]}.json"
    target/release/platen serve --config "$dir/platen.toml" --roles "${roles[$1]}" --ports-file "$dir/${roles[$1]}.json" &
    pids[$1]=$!
}
started() {
    until [ -s "$dir/${roles[$1]}.json" ]; do
        kill -0 "${pids[$1]}"
        sleep 0.1
    done
}
for at in "${!roles[@]}"; do start "$at"; done
for at in "${!roles[@]}"; do started "$at"; done
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
idle_seconds=10
sleep 3 # until the consumers have passed the last record
idle=()
for pid in "${measured[@]}"; do idle+=("$(ticks "$pid")"); done
sleep "$idle_seconds"
for at in "${!measured[@]}"; do idle[at]=$(($(ticks "${measured[$at]}") - idle[at])); done
before=() bytes=$(on_log)
for pid in "${measured[@]}"; do before+=("$(ticks "$pid")"); done
swarm "$@" --installed --report "$dir/report.json"
sleep 3 # as above
sessions_of() { sed -nE 's/.*"sessions": *([0-9]+).*/\1/p' "$1" | head -1; }
sessions=$(sessions_of "$dir/report.json")
echo
for at in "${!measured[@]}"; do
    awk -v name="${names[$at]}" -v ticks=$(($(ticks "${measured[$at]}") - before[at])) -v sessions="$sessions" \
        -v idle="${idle[at]}" -v seconds="$idle_seconds" \
        'BEGIN {printf "%-14s %7.0f µs CPU per session, %5.1f ms per second of rest\n", name, ticks * 10000 / sessions, idle * 10 / seconds}'
done
awk -v bytes=$(($(on_log) - bytes)) -v sessions="$sessions" 'BEGIN {printf "%-14s %7.0f bytes per session\n", "reports topic", bytes / sessions}'

# Ticks of a process until it comes to rest: until it takes less than a tenth of a second per second, twice in a row.
ticks_until_rest() {
    local calm=0 last now
    last=$(ticks "$1")
    while [ "$calm" -lt 2 ]; do
        sleep 1
        now=$(ticks "$1")
        if [ $((now - last)) -lt 10 ]; then calm=$((calm + 1)); else calm=0; fi
        last=$now
    done
    echo "$last"
}
end() {
    kill "${pids[$1]}"
    wait "${pids[$1]}" || true
}
echo
for at in "${!roles[@]}"; do [ "$at" -eq 0 ] || end "$at"; done
edge=$(ticks "${pids[0]}")
target/release/platen-swarm run idle --url "http://$(port cwmp edge)/cwmp/default" "$@" --installed --report "$dir/apart.json"
edge=$(($(ticks "${pids[0]}") - edge))
sessions=$(sessions_of "$dir/apart.json")
apart() {
    awk -v name="$1" -v ticks="$2" -v sessions="$sessions" 'BEGIN {printf "%-14s %7.0f µs CPU per session, by itself\n", name, ticks * 10000 / sessions}'
}
apart edge "$edge"
end 0
for at in "${!roles[@]}"; do
    # The edge has been measured; an API process follows the log from its end, so a backlog is nothing to it.
    case ${roles[at]} in edge | northbound) continue ;; esac
    # Twice: with the backlog, and without, which is what a start takes.
    start "$at"
    started "$at"
    backlog=$(ticks_until_rest "${pids[$at]}")
    end "$at"
    start "$at"
    started "$at"
    alone=$(ticks_until_rest "${pids[$at]}")
    end "$at"
    apart "${roles[at]}" $((backlog - alone))
done
