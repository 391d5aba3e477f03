#!/usr/bin/env python3
"""Writes a container image as a tarball that `ctr images import` and `docker load` take, from directories.

The same content gives the same bytes: entries are sorted, owned by 0:0, and all times are 0.
"""

import argparse
import hashlib
import io
import json
import os
import tarfile


def normalized(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = entry.mtime = 0
    entry.uname = entry.gname = ""
    return entry


def layer_of(root: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for folder, folders, files in os.walk(root):
            folders.sort()
            links = [name for name in folders if os.path.islink(os.path.join(folder, name))]
            if folder != root:
                tar.add(folder, os.path.relpath(folder, root), recursive=False, filter=normalized)
            for name in sorted(files + links):
                path = os.path.join(folder, name)
                tar.add(path, os.path.relpath(path, root), recursive=False, filter=normalized)
    return buffer.getvalue()


def image_of(name: str, layers: list[bytes], run: dict) -> bytes:
    digests = [hashlib.sha256(layer).hexdigest() for layer in layers]
    config = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "created": "1970-01-01T00:00:00Z",
            "config": run,
            "rootfs": {"type": "layers", "diff_ids": ["sha256:" + digest for digest in digests]},
        },
        sort_keys=True,
    ).encode()
    config_file = hashlib.sha256(config).hexdigest() + ".json"
    layer_files = [digest + "/layer.tar" for digest in digests]
    manifest = [{"Config": config_file, "RepoTags": [name], "Layers": layer_files}]

    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for path, content in (
            (config_file, config),
            *zip(layer_files, layers),
            ("manifest.json", json.dumps(manifest).encode()),
        ):
            entry = tarfile.TarInfo(path)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", required=True, help="NAME:TAG")
    parser.add_argument("--root", nargs="+", required=True, help="directories, each of which becomes a layer, the lowest first")
    parser.add_argument("--output", required=True)
    parser.add_argument("--entrypoint", nargs="+", metavar="WORD")
    parser.add_argument("--command", nargs="+", metavar="WORD")
    parser.add_argument("--env", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--user", default="0")
    parser.add_argument("--stop-signal", metavar="SIGNAL", help="what ends it; default: SIGTERM")
    arguments = parser.parse_args()

    run = {
        "Entrypoint": arguments.entrypoint,
        "Cmd": arguments.command,
        "Env": arguments.env or ["PATH=/usr/local/bin:/usr/bin:/bin"],
        "User": arguments.user,
        "WorkingDir": "/",
    }
    if arguments.stop_signal:
        run["StopSignal"] = arguments.stop_signal
    image = image_of(arguments.name, [layer_of(root) for root in arguments.root], run)

    # An unchanged image keeps its file and the file's time.
    if os.path.exists(arguments.output):
        with open(arguments.output, "rb") as old:
            if old.read() == image:
                return
    with open(arguments.output + ".new", "wb") as new:
        new.write(image)
    os.replace(arguments.output + ".new", arguments.output)
    print(f"image {arguments.name}: {arguments.output}, {len(image) / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
