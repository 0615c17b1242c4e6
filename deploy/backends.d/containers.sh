# Nodes as containers, by Docker Compose.

# Whether a daemon answers, and Compose is there to speak to it.
containers_usable() {
    command -v docker >/dev/null && timeout 10 docker info >/dev/null 2>&1 && docker compose version >/dev/null 2>&1
}

containers_compose() {
    STATE=$state OWNER="$(id -u):$(id -g)" KAFKA_CLUSTER_ID=$kafka_cluster_id CQL_PORT=$cql_port CQL_STORAGE_PORT=$cql_storage_port \
        docker compose --progress quiet -f "$here/backends.d/compose.yaml" "$@"
}

containers_install() {
    containers_usable || fail "PLATEN_BACKENDS is 'containers', and no container daemon answers 'docker info', or there is no 'docker compose'"
}

containers_start() { containers_compose up --detach --no-deps "$1"; }

containers_alive() {
    [ "$(containers_compose ps --quiet --status running --status paused "$1" 2>/dev/null)" != "" ]
}

containers_signal() {
    containers_alive "$1" || fail "$1 does not run"
    case "$2" in
        STOP) containers_compose pause "$1" ;;
        CONT) containers_compose unpause "$1" ;;
        *) containers_compose kill --signal "$2" "$1" ;;
    esac
}

containers_gone() {
    local deadline=$((SECONDS + 60))
    while containers_alive "$1"; do
        [ "$SECONDS" -lt "$deadline" ] || fail "$1 does not end"
        sleep 0.2
    done
}

# Ends all and removes them, with their volumes: ScyllaDB's data lies there.
containers_end() { containers_compose down --volumes --timeout 30; }

containers_log() { echo "docker compose -p platen-backends logs $1"; }

# How many nodes of ScyllaDB this one sees up.
containers_cql_up() {
    containers_compose exec -T "$1" nodetool -h "$(host_of "$1")" status | grep -c '^UN'
}
