#!/usr/bin/env bash
# river's migrations, as its Go module carries them; a comment in them stands where its client puts the name of a schema.
set -euo pipefail
version=0.51.2
printf 'module peer\n\ngo 1.24\n' >go.mod
module=$(go mod download -json "github.com/riverqueue/river/riverdriver/riverpgxv5@v$version" | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p')
sed 's#/\* TEMPLATE: schema \*/##g' "$module"/migration/main/*.up.sql >install.sql
echo "$version" >version
