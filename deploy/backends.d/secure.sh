# What `up --secure` adds: certificates of an authority of its own, logins, and nothing without them. One node of each, as processes.

is_secure() { [ -f "$state/secure/password" ]; }

secure_prepare() {
    local dir=$state/secure
    command -v openssl >/dev/null || install_packages openssl
    (
        umask 077
        mkdir -p "$dir"
        cd "$dir"
        openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj '/CN=platen-backends' -keyout ca.key -out ca.pem
        openssl req -new -newkey rsa:2048 -nodes -subj '/CN=localhost' -keyout node.key -out node.csr
        openssl x509 -req -in node.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 30 -out node.crt \
            -extfile <(echo 'subjectAltName=DNS:localhost,IP:127.0.0.1')
        # What JVMs read: the key (PKCS #8), the certificate, who vouches for it.
        cat node.key node.crt ca.pem >node.pem
        openssl rand -hex 16 >password
    ) 2>"$state/secure.log" || fail "no certificates; log: $state/secure.log"
}

secure_kafka_properties() {
    cat <<END
listener.security.protocol.map=PLAINTEXT:SASL_SSL,CONTROLLER:PLAINTEXT
sasl.enabled.mechanisms=SCRAM-SHA-512
sasl.mechanism.inter.broker.protocol=SCRAM-SHA-512
listener.name.plaintext.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required username="platen" password="$(<"$state/secure/password")";
ssl.keystore.type=PEM
ssl.keystore.location=$state/secure/node.pem
ssl.truststore.type=PEM
ssl.truststore.location=$state/secure/ca.pem
END
}

# At the end of a start; by then the broker is one that clients are sent to.
secure_kafka_ready() { grep -q 'Kafka Server started' "$state/$1/log"; }

secure_cassandra_yaml() {
    cat <<END
authenticator: PasswordAuthenticator
authorizer: CassandraAuthorizer
role_manager: CassandraRoleManager
client_encryption_options:
  enabled: true
  optional: false
  require_client_auth: false
  ssl_context_factory: {class_name: org.apache.cassandra.security.PEMBasedSslContextFactory}
  keystore: "$state/secure/node.pem"
END
}

# Cassandra makes its first superuser, whose name and password everybody knows, a moment after its first start.
secure_cql_ready() {
    local dir=$state/$1
    grep -q 'Startup complete' "$dir/log" && { [ -f "$dir/log.before" ] || grep -q 'Created default superuser' "$dir/log"; }
}

secure_redis_conf() {
    cat <<END
port 0
tls-port $redis_port
tls-cert-file $state/secure/node.crt
tls-key-file $state/secure/node.key
tls-ca-cert-file $state/secure/ca.pem
tls-auth-clients no
requirepass $(<"$state/secure/password")
END
}

secure_redis_ready() {
    [ "$(REDISCLI_AUTH=$(<"$state/secure/password") redis-cli -h "$(host_of "$1")" -p "$redis_port" --tls --cacert "$state/secure/ca.pem" PING)" = PONG ]
}

secure_env() {
    local password
    password=$(<"$state/secure/password")
    echo "export PLATEN_TEST_KAFKA_CA=$state/secure/ca.pem PLATEN_TEST_KAFKA_USERNAME=platen PLATEN_TEST_KAFKA_PASSWORD=$password"
    echo "export PLATEN_TEST_CQL_CA=$state/secure/ca.pem PLATEN_TEST_CQL_USERNAME=cassandra PLATEN_TEST_CQL_PASSWORD=cassandra"
    echo "export PLATEN_TEST_REDIS_CA=$state/secure/ca.pem PLATEN_TEST_REDIS=rediss://:$password@$(address redis1)"
}
