# Kafka: each node is broker and controller.

kafka_prepare() {
    local node=$1 n=${1: -1} dir=$state/$1 size voters=() i
    size=$(<"$state/size")
    for i in $(seq "$size"); do voters+=("$i@127.0.0.$i:$kafka_controller_port"); done
    cat >"$dir/server.properties" <<END
process.roles=broker,controller
node.id=$n
broker.rack=rack$n
controller.quorum.voters=$(IFS=, && echo "${voters[*]}")
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://$(address "$node"),CONTROLLER://127.0.0.$n:$kafka_controller_port
advertised.listeners=PLAINTEXT://$(address "$node"),CONTROLLER://127.0.0.$n:$kafka_controller_port
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
log.dirs=$dir/data
auto.create.topics.enable=false
default.replication.factor=$size
min.insync.replicas=$((size / 2 + 1))
offsets.topic.replication.factor=$size
offsets.topic.num.partitions=6
transaction.state.log.replication.factor=$size
transaction.state.log.min.isr=$((size / 2 + 1))
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=$size
share.coordinator.state.topic.min.isr=$((size / 2 + 1))
group.initial.rebalance.delay.ms=0
# Small: hundreds of partitions of short-lived tests share this machine.
log.segment.bytes=16777216
log.index.size.max.bytes=65536
log.cleaner.dedupe.buffer.size=4194304
num.network.threads=2
num.io.threads=2
# A broker that was killed may come back once its last registration has expired.
broker.session.timeout.ms=2000
broker.heartbeat.interval.ms=500
END
    # What stands last counts.
    ! is_secure || secure_kafka_properties >>"$dir/server.properties"
}

kafka_command() {
    local dir=$state/$1 classes="$jars/kafka/*" users=()
    ! is_secure || users=(--add-scram "SCRAM-SHA-512=[name=platen,password=$(<"$state/secure/password")]")
    # The directory is formatted once, when it is new.
    if [ ! -f "$dir/data/meta.properties" ]; then
        "$java" -Xmx128m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Dlog4j2.configurationFile="$here/backends.d/kafka/log4j2.xml" -cp "$classes" \
            kafka.tools.StorageTool format --ignore-formatted --cluster-id "$kafka_cluster_id" --config "$dir/server.properties" "${users[@]}" \
            >"$dir/log.format" 2>&1 ||
            fail "$1: the data directory could not be formatted; log: $dir/log.format"
    fi
    command=("$java" -Xms256m -Xmx256m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Djava.awt.headless=true
        -Dlog4j2.configurationFile="$here/backends.d/kafka/log4j2.xml" -cp "$classes" kafka.Kafka "$dir/server.properties")
}

# Any 16 bytes, in base64.
kafka_cluster_id=UGxhdGVuQmFja2VuZHMwMQ

# The broker answers a request for metadata (version 0, of all topics), and knows as many brokers as run.
kafka_ready() {
    local node=$1 known
    known=$(
        exec 3<>"/dev/tcp/$(host_of "$node")/$(port_of "$node")" || exit 1
        #        size        key    version correlation client "up" topics: none named
        printf '\0\0\0\x10' >&3
        printf '\0\x03\0\0\0\0\0\1\0\x02up\0\0\0\0' >&3
        # size, correlation, number of brokers
        timeout 2 head -c 12 <&3 | od -An -j 8 -t u1 | awk '{print $4}'
    )
    [ "${known:-0}" -ge "$(count_alive kafka)" ]
}
