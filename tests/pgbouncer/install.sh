#!/usr/bin/env bash
# Brings PgBouncer, and the libraries that it needs, from Debian's packages into target/pgbouncer: nothing is installed, so
# nothing is started. Does nothing when it is there.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

dir=$PWD/target/pgbouncer
[ ! -x "$dir/run" ] || exit 0
packages=(pgbouncer libc-ares2 libevent-2.1-7)
rm -rf "$dir"
mkdir -p "$dir/root"
cd "$dir"
# The lists may be none, or too old for what the mirror has. apt downloads as a user of its own, who may not write here.
apt-get -qq -o APT::Sandbox::User=root download "${packages[@]}" 2>/dev/null || {
    apt-get -qq update
    apt-get -qq -o APT::Sandbox::User=root download "${packages[@]}"
}
for package in ./*.deb; do dpkg -x "$package" root; done
libraries=$(dirname "$(find "$dir/root" -name 'libcares.so.2' | head -n 1)")
cat >run <<END
#!/bin/sh
LD_LIBRARY_PATH=$libraries exec "$dir/root/usr/sbin/pgbouncer" "\$@"
END
chmod +x run
