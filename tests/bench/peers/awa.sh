#!/usr/bin/env bash
# awa: its schema is made by its own command.
set -euo pipefail
version=0.6.9
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check "awa-pg==$version"
cat >install <<'SH'
#!/bin/sh
exec "$(dirname "$0")/venv/bin/python" -m awa --database-url "$1" migrate
SH
chmod +x install
echo "$version" >version
