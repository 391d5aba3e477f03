# Facts and helpers shared by the scripts in this folder; to be sourced, never run.
# shellcheck shell=bash disable=SC2034
# A broker is a folder: its settings, certificates, data and log. PGBATCH_KAFKA_DIR names another one than target/kafka,
# and PGBATCH_KAFKA_PORTS its five ports: a second broker beside the first; PGBATCH_KAFKA_ADDRESS is where it listens. With
# PGBATCH_KAFKA_JOINS, the controller's port of the first, it is broker 2 of the same cluster.
# The jars serve all of them.

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
REPO=$(cd "$HERE/../.." && pwd)
K=${PGBATCH_KAFKA_DIR:-$REPO/target/kafka}
# Of these dependencies, so that others are not mixed in.
LIBS=$REPO/target/kafka/libs-$(sha256sum "$HERE/pom.xml" | cut -c1-8)
read -r PLAIN TLS SASL_TLS SASL CONTROLLER <<<"${PGBATCH_KAFKA_PORTS:-29092 29093 29094 29095 29096}"
ADDRESS=${PGBATCH_KAFKA_ADDRESS:-127.0.0.1}
JAVA=(java -Xms64m -Xmx256m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -XX:+PerfDisableSharedMem
    "-Dlog4j2.configurationFile=$HERE/log4j2.properties" -cp "$LIBS/*")

die() { echo "kafka: $*" >&2; exit 1; }

# certificate NAME SUBJECT-ALTERNATIVE-NAMES: its key and certificate, signed by the CA of this folder.
certificate() {
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout "$1.key" -out "$1.csr" -subj "/CN=$1"
    openssl x509 -req -in "$1.csr" -CA ca.crt -CAkey ca.key -CAcreateserial -days 3650 -out "$1.crt" \
        -extfile <(printf 'subjectAltName=%s\nextendedKeyUsage=serverAuth,clientAuth\n' "$2")
    cat "$1.key" "$1.crt" >"$1.pem"
}

certificates() {
    mkdir -p "$K/certs"
    (
        cd "$K/certs"
        openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 3650 -keyout ca.key -out ca.crt \
            -subj /CN=pgbatch-test-ca
        certificate broker DNS:localhost,IP:127.0.0.1
        certificate client DNS:client
        openssl pkcs8 -topk8 -v2 aes256 -in client.key -out client-encrypted.key -passout pass:key-secret
    ) >"$K/openssl.log" 2>&1 || { tail "$K/openssl.log" >&2; die "openssl failed"; }
}

# prepare: an empty broker in $K, with the users of server.properties.
prepare() {
    rm -rf "$K/data" "$K/certs"
    mkdir -p "$K/data"
    certificates
    sed -e "s#@DIR@#$K#g; s#@ADDRESS@#$ADDRESS#g; s#@PLAIN@#$PLAIN#g; s#@TLS@#$TLS#g; s#@SASL_TLS@#$SASL_TLS#g; s#@SASL@#$SASL#g" \
        -e "s#@CONTROLLER@#${PGBATCH_KAFKA_JOINS:-$CONTROLLER}#g" "$HERE/server.properties" >"$K/run.properties"
    if [ -n "${PGBATCH_KAFKA_JOINS:-}" ]; then
        sed -i -e 's/^process.roles=.*/process.roles=broker/; s/^node.id=.*/node.id=2/' \
            -e '/^listeners=/s/,CONTROLLER:.*//' "$K/run.properties"
    fi
    "${JAVA[@]}" kafka.tools.StorageTool format --config "$K/run.properties" --cluster-id AAAAAAAAAAAAAAAAAAAAAA \
        --add-scram 'SCRAM-SHA-256=[name=admin,password=admin-secret]' \
        --add-scram 'SCRAM-SHA-512=[name=admin,password=admin-secret]' \
        --add-scram 'SCRAM-SHA-256=[name=dispatcher,password=dispatcher-secret]' \
        --add-scram 'SCRAM-SHA-512=[name=dispatcher,password=dispatcher-secret]' >"$K/format.log" 2>&1 ||
        { tail "$K/format.log" >&2; die "formatting failed"; }
}

listens() { (exec 3<>"/dev/tcp/$ADDRESS/$PLAIN") 2>/dev/null; }

# The broker's process: the recorded one, if it is still the broker of this folder and not another one of its number.
pid() {
    local pid
    pid=$(cat "$K/pid" 2>/dev/null) && grep -qsF "$K/run.properties" "/proc/$pid/cmdline" && echo "$pid"
}
