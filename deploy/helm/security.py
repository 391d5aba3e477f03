#!/usr/bin/env python3
"""Checks what the chart renders, on standard input: security.py [--may-read-secrets] [--may-read-logs]

- Rights: a Role with these verbs and no more, no ClusterRole, no Secret, no wildcard.
- Pods: what the level "restricted" of Kubernetes' Pod Security Standards asks for
  (https://kubernetes.io/docs/concepts/security/pod-security-standards/), and a file system that nobody writes to.
"""
import sys

import yaml

RIGHTS = {
    ("batch", "jobs"): {"create", "delete", "get", "list", "watch"},
    ("", "pods"): {"list", "watch"},
    ("", "events"): {"create", "watch"},
    ("keda.sh", "scaledjobs"): {"get", "list", "watch"},
    ("keda.sh", "scaledjobs/status"): {"patch"},
    ("keda.sh", "triggerauthentications"): {"get", "list", "watch"},
}
# What is there only if it was asked for.
MORE = {
    "--may-read-secrets": {("", "secrets"): {"get"}},
    "--may-read-logs": {("", "pods/log"): {"get"}, ("", "events"): {"list"}},
}
VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}


def rights(role, flags):
    for rule in role.get("rules") or []:
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                allowed = set(RIGHTS.get((group, resource), ()))
                for flag, more in MORE.items():
                    if flag in flags:
                        allowed |= more.get((group, resource), set())
                excess = set(rule["verbs"]) - allowed
                if excess or "*" in (group, resource):
                    yield f"may {', '.join(sorted(excess))} {resource} of group {group!r}"


def pod(spec):
    for field in ("hostNetwork", "hostPID", "hostIPC", "hostUsers"):
        if spec.get(field):
            yield f"{field} is set"
    for volume in spec.get("volumes") or []:
        kinds = set(volume) - {"name"}
        if not kinds <= VOLUMES:
            yield f"volume {volume['name']} is {kinds}"
    of_pod = spec.get("securityContext") or {}
    for container in (spec.get("containers") or []) + (spec.get("initContainers") or []):
        own = container.get("securityContext") or {}
        both = {**of_pod, **own}
        wanted = {
            "runAsNonRoot": both.get("runAsNonRoot") is True and both.get("runAsUser") != 0,
            "seccompProfile": (both.get("seccompProfile") or {}).get("type") in ("RuntimeDefault", "Localhost"),
            "allowPrivilegeEscalation": own.get("allowPrivilegeEscalation") is False,
            "privileged": not own.get("privileged"),
            "capabilities": (own.get("capabilities") or {}).get("drop") == ["ALL"] and not own["capabilities"].get("add"),
            "readOnlyRootFilesystem": own.get("readOnlyRootFilesystem") is True,
            "hostPort": not any("hostPort" in port for port in container.get("ports") or []),
        }
        for field, is_right in wanted.items():
            if not is_right:
                yield f"container {container['name']}: {field}"


def problems(document, flags):
    kind = document["kind"]
    if kind.startswith("ClusterRole"):
        yield "is for the whole cluster"
    if kind in ("Role", "ClusterRole"):
        yield from rights(document, flags)
    if kind == "Pod":
        yield from pod(document["spec"])
    template = (document.get("spec") or {}).get("template")
    if template:
        yield from pod(template["spec"])


def main():
    documents = [document for document in yaml.safe_load_all(sys.stdin) if document]
    kinds = {document["kind"] for document in documents}
    if not {"Role", "Deployment"} <= kinds:
        sys.exit(f"security: nothing to check in {sorted(kinds)}")
    found = [f"{document['kind']} {document['metadata']['name']} {problem}"
             for document in documents for problem in problems(document, sys.argv[1:])]
    if found:
        sys.exit("security: " + "\nsecurity: ".join(found))


main()
