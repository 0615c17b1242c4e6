# Nodes as processes of this user, from Maven Central's and Debian's packages.

packages_install() {
    local missing=() kind
    java=$(find_java) || missing+=(openjdk-17-jre-headless)
    command -v redis-server >/dev/null || missing+=(redis-server)
    for kind in kafka cassandra; do
        jars_there "$kind" || { command -v mvn >/dev/null || missing+=(maven); }
    done
    if [ "${#missing[@]}" -gt 0 ]; then
        mapfile -t missing < <(printf '%s\n' "${missing[@]}" | sort -u)
        install_packages "${missing[@]}"
        java=$(find_java) || fail "Java 17 is installed, and not found; set JAVA_HOME to it"
    fi
    for kind in kafka cassandra; do
        if ! jars_there "$kind"; then fetch_jars "$kind"; fi
    done
}

install_packages() {
    local command="apt-get install -y --no-install-recommends $*"
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || fail "missing: $*. On Debian and Ubuntu: sudo $command"
    say "$command"
    {
        apt-get update -q && DEBIAN_FRONTEND=noninteractive $command
    } >"$state/install.log" 2>&1 || fail "'$command' failed; its log: $state/install.log"
}

# Cassandra 5.0 runs on Java 17 and on nothing newer.
find_java() {
    local candidate
    for candidate in "${JAVA_HOME:-/nonexistent}/bin/java" "$(command -v java || true)" /usr/lib/jvm/*17*/bin/java; do
        [ -x "$candidate" ] || continue
        if [[ $("$candidate" -version 2>&1) == *'version "17.'* ]]; then
            echo "$candidate"
            return
        fi
    done
    return 1
}

# The POM beside the jars is a copy of the one that named them: another version of it is another download.
jars_there() { cmp -s "$here/backends.d/$1/pom.xml" "$jars/$1/pom.xml"; }

# Nodes of several state directories share the jars: whoever comes second finds them there.
fetch_jars() {
    local kind=$1 dir=$jars/$1 downloads
    mkdir -p "$dir"
    exec {downloads}>"$jars/lock"
    flock "$downloads"
    if ! jars_there "$kind"; then
        say "downloading $kind by Maven"
        find "$dir" -mindepth 1 -delete
        mvn -q -B -f "$here/backends.d/$kind/pom.xml" dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$dir" \
            >"$state/maven.log" 2>&1 || fail "Maven could not download $kind; its log: $state/maven.log"
        cp "$here/backends.d/$kind/pom.xml" "$dir/pom.xml"
    fi
    exec {downloads}>&-
}

packages_start() {
    local node=$1 dir=$state/$1
    [ -n "${java:-}" ] || packages_install
    if [ -f "$dir/log" ]; then mv "$dir/log" "$dir/log.before"; fi
    command_of "$node"
    # A session of its own: an interrupt at this terminal is not the node's. Nor is the lock: it would be held for the node's life.
    (
        exec {lock}>&-
        cd "$dir" || exit
        exec setsid "${command[@]}" </dev/null >"$dir/log" 2>&1
    ) &
    echo $! >"$dir/pid"
}

# Sets `command`, which runs the node in the foreground. Each has the node's directory among its arguments: packages_alive looks for it.
command_of() { "$(kind_of "$1")_command" "$1"; }

packages_pid() { cat "$state/$1/pid" 2>/dev/null; }

# A pid alone proves nothing: after a restart of the machine it may be anybody's. A process that nobody has waited for has no arguments.
packages_alive() {
    local pid
    pid=$(packages_pid "$1") && [[ $(tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline") == *"$state/$1/"* ]]
}

packages_signal() {
    packages_alive "$1" || fail "$1 does not run"
    kill -s "$2" "$(packages_pid "$1")"
}

packages_gone() {
    local deadline=$((SECONDS + 60))
    while packages_alive "$1"; do
        [ "$SECONDS" -lt "$deadline" ] || fail "$1 (process $(packages_pid "$1")) does not end"
        sleep 0.05
    done
    rm -f "$state/$1/pid"
}

# Asks all to end, and ends those that take longer than half a minute. What stands still is continued: it could not end.
packages_end() {
    local node deadline=$((SECONDS + 30))
    for node in "$@"; do
        if packages_alive "$node"; then kill -s CONT "$(packages_pid "$node")" && kill -s TERM "$(packages_pid "$node")"; fi 2>/dev/null || true
    done
    for node in "$@"; do
        while packages_alive "$node" && [ "$SECONDS" -lt "$deadline" ]; do sleep 0.05; done
        if packages_alive "$node"; then
            say "$node does not end by itself; killed"
            kill -s KILL "$(packages_pid "$node")" 2>/dev/null || true
        fi
        packages_gone "$node"
    done
}

packages_log() { echo "$state/$1/log"; }
