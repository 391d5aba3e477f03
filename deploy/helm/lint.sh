#!/usr/bin/env bash
# Lints the chart, with its defaults and with every option, and tries that bad values are refused and that alerts fire.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
helm=$(./tool.sh)
promtool=$(./prometheus.sh promtool)

lint() { "$helm" lint --strict --quiet "$@" pgbatch; }
render() { "$helm" template release pgbatch --namespace batches "$@" >/dev/null; }
count() { "$helm" template release pgbatch --namespace batches "$@" | grep -cE "$pattern" || true; }
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
# What needs the Prometheus operator comes when it is asked for only, and then with the job of the release in each selector.
pattern='^kind: (PodMonitor|PrometheusRule)$|^  pgbatch.json: '
[ "$(count --set database.existingSecret=db)" = 0 ]
[ "$(count --values every-option.yaml)" = 3 ]
pattern='job=~".+"'
[ "$(count --set database.existingSecret=db --set metrics.rules.enabled=true)" = 0 ]
pattern='pgbatch_leader\{job="batches/release-pgbatch"\}'
[ "$(count --set database.existingSecret=db --set metrics.rules.enabled=true)" = 1 ]
pattern='PGBATCH_SQL_SECRETS, value: "crm=crm-login,shop=shop-login"'
[ "$(count --values every-option.yaml)" -ge 1 ]
# The dashboard's login and token are files, and it is never open to everybody.
pattern='PGBATCH_DASHBOARD_(DATABASE_URL, value: "@/etc/pgbatch/dashboard/database-url"|TOKEN, value: "@/etc/pgbatch/dashboard-token/token"|USER_HEADER, value: "X-Forwarded-User")|secretName: "dashboard(-token)?"'
[ "$(count --set database.existingSecret=db)" = 0 ]
[ "$(count --values every-option.yaml)" = 5 ]
pattern='PGBATCH_DASHBOARD_ROLE, value: "ann@example.com=ops,bob=crm,everybody"'
[ "$(count --values every-option.yaml)" = 1 ]
pattern='PGBATCH_DASHBOARD_ROLE'
[ "$(count --set database.existingSecret=db,dashboard.enabled=true,dashboard.existingSecret=a,dashboard.tokenSecret=b)" = 0 ]

# Rights and pod security, and that what is too much is found.
may=()
secure() { "$helm" template release pgbatch --namespace batches "$@" | "${PYTHON:-python3}" security.py ${may[@]+"${may[@]}"}; }
secure --set database.existingSecret=db
secure --values every-option.yaml --set scaledJobs.readSecrets=false,dashboard.pods=false
may=(--may-read-secrets --may-read-logs)
secure --values every-option.yaml
insecure() {
    if secure "$@" 2>/dev/null; then
        echo "helm: security.py found nothing: $*" >&2
        exit 1
    fi
}
may=(--may-read-secrets)
insecure --values every-option.yaml
may=(--may-read-logs)
insecure --values every-option.yaml
may=()
insecure --set database.existingSecret=db --set-json 'extraVolumes=[{"name": "host", "hostPath": {"path": "/"}}]'

refuse
refuse --set database.existingSecret=db --set dashboard.enabled=true
refuse --set database.existingSecret=db --set dashboard.enabled=true --set dashboard.existingSecret=a
refuse --set database.existingSecret=db --set dashboard.enabled=true --set dashboard.userHeader=X-User
refuse --set database.existingSecret=db --set 'sql.secrets.a\,b=c'
refuse --set database.existingSecret=db --set replica=2
refuse --set database.existingSecret=db --set replicas=3
refuse --set database.existingSecret=db --set database.ca.secret=a --set database.ca.configMap=b
refuse --set database.existingSecret=db --set 'namespaces={Upper}'
refuse --set database.existingSecret=db --set migrate.enabled=true
refuse --set database.existingSecret=db --set migrate.wait=soon
refuse --set database.existingSecret=db --set metrics.enabled=true
refuse --set database.existingSecret=db --set metrics.podMonitor.interval=often

# The alerts are rules that Prometheus reads, and each fires.
"$promtool" check rules --lint=all --lint-fatal pgbatch/files/alerts.yaml >/dev/null
"$promtool" test rules alerts_test.yaml >/dev/null
