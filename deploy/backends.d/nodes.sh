# Which nodes there are, where, and how one waits for them. What starts and ends them is the form's: packages.sh, containers.sh.

say() { echo "backends: $*"; }

# fail MESSAGE [EXIT CODE]
fail() {
    echo "backends: $1" >&2
    exit "${2:-1}"
}

seconds_since() {
    local now=$EPOCHREALTIME
    awk -v from="${1/,/.}" -v to="${now/,/.}" 'BEGIN {printf "%.1f", to - from}'
}

# Every node of what is up, one a line.
nodes() {
    local n kind size
    size=$(<"$state/size")
    for kind in kafka cql redis sentinel; do
        [ "$kind$size" != sentinel1 ] || continue
        for n in $(seq "$size"); do echo "$kind$n"; done
    done
}

kind_of() { echo "${1%[0-9]}"; }
host_of() { echo "127.0.0.${1: -1}"; }

port_of() {
    case "$1" in
        kafka*) echo "$kafka_port" ;;
        cql*) echo "$cql_port" ;;
        redis*) echo "$redis_port" ;;
        sentinel*) echo "$sentinel_port" ;;
    esac
}

address() { echo "$(host_of "$1"):$(port_of "$1")"; }

# addresses KIND: of all its nodes, with commas.
addresses() {
    local node
    for node in $(nodes); do
        [ "$(kind_of "$node")" != "$1" ] || address "$node"
    done | paste -sd ,
}

# count_alive KIND: how many of its nodes run.
count_alive() {
    local node count=0
    for node in $(nodes); do
        if [ "$(kind_of "$node")" = "$1" ] && form_alive "$node"; then count=$((count + 1)); fi
    done
    echo "$count"
}

# Writes the configuration of a new node. Later it is the node's own: Sentinel and Redis keep there who leads.
prepare() {
    [ ! -f "$state/$1/prepared" ] || return 0
    mkdir -p "$state/$1"
    "$(kind_of "$1")_prepare" "$1"
    touch "$state/$1/prepared"
}

# Whether the node serves, as its own protocol tells. An open port is not enough.
ready() {
    if is_secure; then "secure_$(kind_of "$1")_ready" "$1"; else "$(kind_of "$1")_ready" "$1"; fi 2>/dev/null
}

# start NODE...: all, then waits for each: they come up side by side, and the nodes of a cluster need each other.
start() {
    local node
    for node in "$@"; do
        form_alive "$node" && continue
        ! taken "$node" || fail "$(address "$node") is taken by another server; end it, or choose another port (deploy/backends help)"
        prepare "$node"
        form_start "$node"
    done
    for node in "$@"; do await "$node"; done
}

await() {
    local node=$1 deadline=$((SECONDS + ready_seconds))
    until ready "$node"; do
        form_alive "$node" || fail "$node has ended; its log: $(form_log "$node")"
        [ "$SECONDS" -lt "$deadline" ] || fail "$node does not serve after $ready_seconds s; its log: $(form_log "$node")"
        sleep 0.1
    done
    say "$node serves at $(address "$node")"
}

# Whether somebody listens at the node's address.
taken() { (exec 3<>"/dev/tcp/$(host_of "$1")/$(port_of "$1")") 2>/dev/null; }

remove_data() {
    local dir
    rm -rf "$state/secure"
    for dir in "$state"/{kafka,cql,redis,sentinel}[1-3]; do
        [ -d "$dir" ] || continue
        find "$dir" -mindepth 1 -maxdepth 1 ! -name 'log*' -exec rm -rf {} +
    done
}

# The form of what is up; of nothing, none yet.
use_form() {
    form=
    [ ! -f "$state/form" ] || form=$(<"$state/form")
    form_functions
}

choose_form() {
    if [ -z "$form" ]; then
        form=${PLATEN_BACKENDS:-}
        if [ -z "$form" ]; then
            form=packages
            if containers_usable; then form=containers; fi
        fi
        form_functions
    fi
}

# form_X is X of the form in use.
form_functions() {
    case "$form" in
        '' | packages | containers) ;;
        *) fail "PLATEN_BACKENDS is 'containers' or 'packages', not '$form'" 2 ;;
    esac
}
form_install() { "${form}_install"; }
form_start() { "${form}_start" "$1"; }
form_signal() { "${form}_signal" "$1" "$2"; }
form_alive() { "${form}_alive" "$1"; }
form_gone() { "${form}_gone" "$1"; }
form_end() { "${form}_end" "$@"; }
form_log() { "${form}_log" "$1"; }
