#!/usr/bin/env bash
# graphile-worker: its schema is made by its own command, which also notes its version for the worker.
set -euo pipefail
version=0.18.0
echo '{"private": true}' >package.json
npm install --no-fund --no-audit --save-exact "graphile-worker@$version"
cat >install <<'SH'
#!/bin/sh
exec "$(dirname "$0")/node_modules/.bin/graphile-worker" --schema-only --connection "$1"
SH
chmod +x install
echo "$version" >version
