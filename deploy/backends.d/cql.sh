# CQL: Cassandra as a process, ScyllaDB as a container.

cql_prepare() {
    local node=$1 n=${1: -1} dir=$state/$1
    printf 'dc=dc1\nrack=rack%s\n' "$n" >"$dir/cassandra-rackdc.properties"
    # `batch`: a write is synced before it is acknowledged, so that a node that is killed loses none.
    cat >"$dir/cassandra.yaml" <<END
cluster_name: platen-backends
partitioner: org.apache.cassandra.dht.Murmur3Partitioner
num_tokens: 4
endpoint_snitch: GossipingPropertyFileSnitch
auto_bootstrap: false
seed_provider:
  - class_name: org.apache.cassandra.locator.SimpleSeedProvider
    parameters: [{seeds: "127.0.0.1:$cql_storage_port"}]
listen_address: 127.0.0.$n
rpc_address: 127.0.0.$n
storage_port: $cql_storage_port
native_transport_port: $cql_port
data_file_directories: ["$dir/data"]
commitlog_directory: "$dir/commitlog"
saved_caches_directory: "$dir/caches"
hints_directory: "$dir/hints"
cdc_raw_directory: "$dir/cdc"
commitlog_sync: batch
commitlog_segment_size: 16MiB
memtable_heap_space: 32MiB
memtable_offheap_space: 32MiB
file_cache_size: 32MiB
networking_cache_size: 16MiB
key_cache_size: 0MiB
concurrent_reads: 8
concurrent_writes: 8
concurrent_counter_writes: 4
concurrent_compactors: 1
native_transport_max_threads: 16
auto_snapshot: false
# Patient: the machine may be compiling, and clients have deadlines of their own.
read_request_timeout: 10s
range_request_timeout: 10s
write_request_timeout: 10s
cas_contention_timeout: 10s
END
    ! is_secure || secure_cassandra_yaml >>"$dir/cassandra.yaml"
}

cql_command() {
    local dir=$state/$1 classes=$jars/cassandra
    command=("$java" "@$here/backends.d/cassandra/jvm.options" -Xms256m -Xmx256m -javaagent:"$(echo "$classes"/jamm-*.jar)"
        -Dcassandra.config="file://$dir/cassandra.yaml" -Dcassandra.storagedir="$dir" -Dcassandra.logdir="$dir/logs" -Dcassandra-foreground=yes
        -Dcassandra.skip_wait_for_gossip_to_settle=0 -Dcassandra.superuser_setup_delay_ms=0
        -Dlogback.configurationFile="$here/backends.d/cassandra/logback.xml" -cp "$dir:$classes/*" org.apache.cassandra.service.CassandraDaemon)
}

# It answers a query. Where all of several nodes run, they also see each other: Cassandra reads a table that has three replicas at consistency
# ALL; ScyllaDB is asked for what it sees.
cql_ready() {
    local size
    size=$(<"$state/size")
    cql_answers "$1" 1 'SELECT key FROM system.local' || return 1
    if [ "$size" = 1 ] || [ "$(count_alive cql)" -lt "$size" ]; then return; fi
    case "$form" in
        packages) cql_answers "$1" 5 'SELECT keyspace_name FROM system_distributed.view_build_status' ;;
        containers) [ "$(containers_cql_up "$1")" = "$size" ] ;;
    esac
}

# cql_answers NODE CONSISTENCY QUERY: whether the answer is a result. The native protocol, version 4.
cql_answers() {
    local query=$3 opcode
    opcode=$(
        exec 3<>"/dev/tcp/$(host_of "$1")/$(port_of "$1")" || exit 1
        # STARTUP {"CQL_VERSION": "3.0.0"}, which READY (nine bytes) answers
        printf '\4\0\0\1\1\0\0\0\x16\0\1\0\x0bCQL_VERSION\0\x053.0.0' >&3
        [ "$(timeout 2 head -c 9 <&3 | od -An -t u1 | awk '{print $5}')" = 2 ] || exit 1
        # QUERY: length of the body, length of the query, query, consistency, no flags
        printf "\\4\\0\\0\\2\\7$(int "$((4 + ${#query} + 3))")$(int "${#query}")%s\\0\\$2\\0" "$query" >&3
        timeout 8 head -c 9 <&3 | od -An -t u1 | awk '{print $5}'
    )
    [ "$opcode" = 8 ]
}

# Four bytes, as escapes for printf.
int() { printf '\\x%02x\\x%02x\\x%02x\\x%02x' $(($1 >> 24 & 255)) $(($1 >> 16 & 255)) $(($1 >> 8 & 255)) $(($1 & 255)); }
