#!/usr/bin/env bash
# procrastinate's schema, as its wheel carries it.
set -euo pipefail
version=3.10.0
python3 -m pip download --disable-pip-version-check --no-deps --only-binary :all: --dest . "procrastinate==$version"
python3 - <<'PY'
import glob, zipfile
with zipfile.ZipFile(glob.glob("procrastinate-*.whl")[0]) as wheel, open("install.sql", "wb") as out:
    out.write(wheel.read("procrastinate/sql/schema.sql"))
PY
echo "$version" >version
