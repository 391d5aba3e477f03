{{/* What the pods of the dispatcher, of migrate and of doctor have in common. */}}

{{- define "pgbatch.pod" -}}
{{- with .Values.image.pullSecrets -}}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{ end -}}
{{- with .Values.priorityClassName -}}
priorityClassName: {{ . }}
{{ end -}}
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  seccompProfile: {type: RuntimeDefault}
{{- with .Values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "pgbatch.container" -}}
image: {{ include "pgbatch.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
resources: {{- toYaml .Values.resources | nindent 2 }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end -}}

{{/* What says where the database is, and where Jobs go. */}}
{{- define "pgbatch.env" -}}
- {name: PGBATCH_DATABASE_URL, value: "@/etc/pgbatch/database/database-url"}
- {name: PGBATCH_NAMESPACE, value: {{ first .Values.namespaces | default .Release.Namespace | quote }}}
{{- if or .Values.sql.existingSecret .Values.sql.secrets }}
- {name: PGBATCH_SQL_IMAGE, value: {{ include "pgbatch.image" $ | quote }}}
{{- end }}
{{- with .Values.sql.existingSecret }}
- {name: PGBATCH_SQL_SECRET, value: {{ . | quote }}}
{{- end }}
{{- with .Values.sql.secrets }}
{{- $logins := list }}
{{- range $role, $secret := . }}{{ $logins = append $logins (printf "%s=%s" $role $secret) }}{{ end }}
- {name: PGBATCH_SQL_SECRETS, value: {{ join "," $logins | quote }}}
{{- end }}
{{- with .Values.extraEnv }}{{ toYaml . | nindent 0 }}{{ end }}
{{- end -}}

{{- define "pgbatch.mounts" -}}
volumeMounts:
  - {name: database, mountPath: /etc/pgbatch/database, readOnly: true}
  {{- if or .Values.database.ca.secret .Values.database.ca.configMap }}
  - {name: database-ca, mountPath: /etc/pgbatch/ca, readOnly: true}
  {{- end }}
  {{- with .Values.extraVolumeMounts }}{{ toYaml . | nindent 2 }}{{ end }}
{{- end -}}

{{/* Of a list: the root, and the Secret and its key with the connection URL. */}}
{{- define "pgbatch.volumes" -}}
{{- $root := index . 0 -}}
volumes:
  # A file and not a variable: what the Secret says when it has changed holds for the next connection.
  - {name: database, secret: {secretName: {{ index . 1 | quote }}, items: [{key: {{ index . 2 | quote }}, path: database-url}]}}
  {{- with $root.Values.database.ca.secret }}
  # Of the Secret only this: that of an operator may have the authority's private key too.
  - {name: database-ca, secret: {secretName: {{ . | quote }}, items: [{key: ca.crt, path: ca.crt}]}}
  {{- end }}
  {{- with $root.Values.database.ca.configMap }}
  - {name: database-ca, configMap: {name: {{ . | quote }}, items: [{key: ca.crt, path: ca.crt}]}}
  {{- end }}
  {{- with $root.Values.extraVolumes }}{{ toYaml . | nindent 2 }}{{ end }}
{{- end -}}
