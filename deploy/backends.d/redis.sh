# Redis: redis1 stands alone. In a cluster, redis2 leads redis3 under three Sentinels, which make a replica the primary when the primary is gone.

redis_prepare() {
    local node=$1 n=${1: -1} dir=$state/$1
    cat >"$dir/redis.conf" <<END
bind 127.0.0.$n
port $redis_port
dir $dir
save ""
appendonly no
maxmemory 128mb
maxmemory-policy noeviction
repl-diskless-sync-delay 0
replica-announce-ip 127.0.0.$n
set-proc-title no
END
    ! is_secure || secure_redis_conf >>"$dir/redis.conf"
    if [ "$node" = redis3 ]; then echo "replicaof $(address redis2 | tr : ' ')" >>"$dir/redis.conf"; fi
}

redis_command() { command=(redis-server "$state/$1/redis.conf"); }

redis_ready() {
    [[ $(redis_ask "$1" PING) == +PONG* ]]
}

sentinel_prepare() {
    local n=${1: -1} dir=$state/$1
    cat >"$dir/sentinel.conf" <<END
bind 127.0.0.$n
port $sentinel_port
dir $dir
sentinel announce-ip 127.0.0.$n
set-proc-title no
sentinel monitor platen $(address redis2 | tr : ' ') 2
sentinel down-after-milliseconds platen 1000
sentinel failover-timeout platen 5000
END
}

# A Sentinel writes what it learns into its configuration.
sentinel_command() { command=(redis-server "$state/$1/sentinel.conf" --sentinel); }

# It knows all others, so that it can choose a new primary.
sentinel_ready() {
    [[ $(redis_ask "$1" INFO sentinel) == *slaves=1,sentinels=3* ]]
}

# redis_ask NODE WORD...: the inline form of the protocol. The answer ends where that to PING begins, which is sent behind it.
redis_ask() {
    local node=$1
    shift
    (
        exec 3<>"/dev/tcp/$(host_of "$node")/$(port_of "$node")" || exit 1
        printf '%s\r\nPING\r\n' "$*" >&3
        timeout 2 sed -u '/^+PONG/q' <&3
    ) 2>/dev/null
}
