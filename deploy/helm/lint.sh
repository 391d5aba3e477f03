#!/usr/bin/env bash
# Lints the chart, with its defaults and with every option, and tries that bad values are refused.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
helm=$(./tool.sh)

lint() { "$helm" lint --strict --quiet "$@" pgbatch; }
render() { "$helm" template release pgbatch --namespace batches "$@" >/dev/null; }
refuse() {
    if render "$@" 2>/dev/null; then
        echo "helm: not refused: $*" >&2
        exit 1
    fi
}

lint --set database.existingSecret=db
lint --values every-option.yaml
render --set database.existingSecret=db
render --values every-option.yaml
render --values every-option.yaml --set migrate.hook=false
refuse
refuse --set database.existingSecret=db --set replica=2
refuse --set database.existingSecret=db --set replicas=3
refuse --set database.existingSecret=db --set database.ca.secret=a --set database.ca.configMap=b
refuse --set database.existingSecret=db --set 'namespaces={Upper}'
refuse --set database.existingSecret=db --set migrate.enabled=true
refuse --set database.existingSecret=db --set migrate.wait=soon
