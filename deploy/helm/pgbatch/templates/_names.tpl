{{- define "pgbatch.name" -}}
{{- printf "%s-pgbatch" .Release.Name | replace "pgbatch-pgbatch" "pgbatch" | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{- define "pgbatch.selector" -}}
app.kubernetes.io/name: pgbatch
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: dispatcher
{{- end -}}

{{/* Not managed-by=pgbatch: that is what the dispatcher's Jobs say of themselves. */}}
{{- define "pgbatch.labels" -}}
{{ include "pgbatch.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "pgbatch.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- .Values.serviceAccount.name | default (include "pgbatch.name" .) -}}
{{- else -}}
{{- .Values.serviceAccount.name | default "default" -}}
{{- end -}}
{{- end -}}

{{- define "pgbatch.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}

{{- define "pgbatch.migrate.selector" -}}
{{ include "pgbatch.selector" . | replace "component: dispatcher" "component: migrate" }}
{{- end -}}

{{- define "pgbatch.migrate.labels" -}}
{{ include "pgbatch.labels" . | replace "component: dispatcher" "component: migrate" }}
{{- end -}}
