#!/usr/bin/env python3
"""A CycloneDX 1.5 SBOM of a crate, from `cargo metadata`: what is linked into it for this target, without what only builds or tests it.

usage: sbom.py PACKAGE TARGET > FILE"""
import json
import subprocess
import sys


def component(package, kind):
    purl = f"pkg:cargo/{package['name']}@{package['version']}"
    found = {"type": kind, "bom-ref": purl, "name": package["name"], "version": package["version"], "purl": purl}
    if package.get("license"):
        found["licenses"] = [{"expression": package["license"].replace("/", " OR ")}]
    return found


def main():
    if len(sys.argv) != 3:
        sys.exit("usage: sbom.py PACKAGE TARGET")
    name, target = sys.argv[1:]
    metadata = json.loads(subprocess.check_output(
        ["cargo", "metadata", "--format-version", "1", "--locked", "--filter-platform", target]))
    packages = {package["id"]: package for package in metadata["packages"]}
    root = next(key for key, package in packages.items() if package["name"] == name)
    needs = {node["id"]: sorted({dependency["pkg"] for dependency in node["deps"]
                                 if any(kind["kind"] is None for kind in dependency["dep_kinds"])})
             for node in metadata["resolve"]["nodes"]}
    linked, ahead = set(), [root]
    while ahead:
        key = ahead.pop()
        if key not in linked:
            linked.add(key)
            ahead += needs[key]

    def reference(key):
        return component(packages[key], "library")["bom-ref"]

    json.dump({
        "bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1,
        "metadata": {"component": component(packages[root], "application")},
        "components": sorted((component(packages[key], "library") for key in linked - {root}), key=lambda c: c["bom-ref"]),
        "dependencies": sorted(({"ref": reference(key), "dependsOn": [reference(need) for need in needs[key]]}
                                for key in linked), key=lambda d: d["ref"]),
    }, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
