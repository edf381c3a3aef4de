{{/* Lists and numbers as JSON, which is how the manager reads them; toString would write 1048576 as 1.048576e+06. */}}
{{- define "yardmaster.text" -}}
{{- if kindIs "string" . -}}{{ . }}{{- else -}}{{ toJson . }}{{- end -}}
{{- end -}}

{{/* The ConfigMap's data. */}}
{{- define "yardmaster.settings" -}}
{{- with .Values -}}
YARD_DATA_DIR: /data
YARD_DISPATCH_GRACE_S: {{ .manager.dispatchGraceS | toJson | quote }}
YARD_SCALING_MANAGER_URL: {{ include "yardmaster.managerUrl" $ }}
YARD_HTTP_PUBLIC_METRICS: {{ .metrics.public | quote }}
YARD_TELEMETRY_LOG_LEVEL: {{ .telemetry.logLevel }}
YARD_TELEMETRY_LOG_FORMAT: json
{{- with .telemetry.otlpEndpoint }}
YARD_TELEMETRY_OTLP_ENDPOINT: {{ . }}
{{- end }}
YARD_KUBERNETES_MODE: {{ ternary "in_cluster" "off" .agents.kubernetes | quote }}
{{- if .agents.kubernetes }}
YARD_KUBERNETES_NAMESPACE: {{ include "yardmaster.agentsNamespace" $ }}
YARD_KUBERNETES_INSTANCE: {{ include "yardmaster.fullname" $ }}
YARD_KUBERNETES_MAX_REPLICAS: {{ .agents.maxReplicas | toJson | quote }}
{{- with .agents.existingSecret }}
YARD_KUBERNETES_AGENT_SECRET: {{ . }}
{{- end }}
{{- with .agents.allowedSecrets }}
YARD_KUBERNETES_ALLOWED_SECRETS: {{ toJson . | quote }}
{{- end }}
{{- end }}
{{- range $name, $value := .settings }}
{{ $name }}: {{ include "yardmaster.text" $value | quote }}
{{- end }}
{{- end -}}
{{- end -}}

{{- define "yardmaster.secret" -}}
{{ include "yardmaster.fullname" . }}-secrets
{{- end -}}

{{/* One variable from a Secret. Takes (dict "variable" NAME "secret" NAME "key" KEY). */}}
{{- define "yardmaster.fromSecret" -}}
- name: {{ .variable }}
  valueFrom: { secretKeyRef: { name: {{ .secret }}, key: {{ .key }} } }
{{- end -}}

{{/* One variable from the user's own Secret, else from ours. Takes (dict "root" $ "variable" NAME "existing" {name, key}). */}}
{{- define "yardmaster.fromEitherSecret" -}}
{{- if .existing.name -}}
{{ include "yardmaster.fromSecret" (dict "variable" .variable "secret" .existing.name "key" .existing.key) }}
{{- else -}}
{{ include "yardmaster.fromSecret" (dict "variable" .variable "secret" (include "yardmaster.secret" .root) "key" .variable) }}
{{- end -}}
{{- end -}}

{{/* The managers' environment that is secret. */}}
{{- define "yardmaster.secretEnvironment" -}}
{{ include "yardmaster.fromEitherSecret" (dict "root" $ "variable" "YARD_DATABASE_URL" "existing" .Values.postgres.existingSecret) }}
{{ include "yardmaster.fromEitherSecret" (dict "root" $ "variable" "YARD_REDIS_URL" "existing" .Values.redis.existingSecret) }}
{{ include "yardmaster.fromEitherSecret" (dict "root" $ "variable" "YARD_AUTH_PEPPER" "existing" .Values.auth.existingSecret) }}
{{- with .Values.slack }}
{{- if .existingSecret.name }}
{{ include "yardmaster.fromSecret" (dict "variable" "YARD_SLACK_TOKEN" "secret" .existingSecret.name "key" .existingSecret.tokenKey) }}
{{ include "yardmaster.fromSecret" (dict "variable" "YARD_SLACK_SIGNING_SECRET" "secret" .existingSecret.name "key" .existingSecret.signingSecretKey) }}
{{- else }}
{{- if .token }}
{{ include "yardmaster.fromSecret" (dict "variable" "YARD_SLACK_TOKEN" "secret" (include "yardmaster.secret" $) "key" "YARD_SLACK_TOKEN") }}
{{- end }}
{{- if .signingSecret }}
{{ include "yardmaster.fromSecret" (dict "variable" "YARD_SLACK_SIGNING_SECRET" "secret" (include "yardmaster.secret" $) "key" "YARD_SLACK_SIGNING_SECRET") }}
{{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{/*
What our own Secret holds; nothing where the user's own Secrets hold all. What is made by chance is kept from the
Secret that is there. Evaluate it once a rendering: chance differs each time.
*/}}
{{- define "yardmaster.secretData" -}}
{{- $kept := dig "data" dict (lookup "v1" "Secret" .Release.Namespace (include "yardmaster.secret" .)) -}}
{{- with .Values -}}
{{- $made := list (eq .postgres.mode "in-cluster") (eq .redis.mode "in-cluster") (not (or .auth.pepper .auth.existingSecret.name)) -}}
{{- if and (has true $made) (not $kept) -}}
{{- include "yardmaster.checkChance" $ -}}
{{- end -}}
{{- if not .auth.existingSecret.name }}
YARD_AUTH_PEPPER: {{ .auth.pepper | default (get $kept "YARD_AUTH_PEPPER" | b64dec) | default (randAlphaNum 48) | quote }}
{{- end }}
{{- if eq .postgres.mode "in-cluster" }}
{{- $password := get $kept "POSTGRES_PASSWORD" | b64dec | default (randAlphaNum 32) }}
POSTGRES_PASSWORD: {{ $password | quote }}
YARD_DATABASE_URL: postgresql://yardmaster:{{ $password }}@{{ include "yardmaster.fullname" $ }}-postgres:5432/yardmaster
{{- else if not .postgres.existingSecret.name }}
YARD_DATABASE_URL: {{ .postgres.url | quote }}
{{- end }}
{{- if eq .redis.mode "in-cluster" }}
{{- $password := get $kept "REDIS_PASSWORD" | b64dec | default (randAlphaNum 32) }}
REDIS_PASSWORD: {{ $password | quote }}
YARD_REDIS_URL: redis://:{{ $password }}@{{ include "yardmaster.fullname" $ }}-redis:6379/0
{{- else if not .redis.existingSecret.name }}
YARD_REDIS_URL: {{ .redis.url | quote }}
{{- end }}
{{- if not .slack.existingSecret.name }}
{{- with .slack.token }}
YARD_SLACK_TOKEN: {{ . | quote }}
{{- end }}
{{- with .slack.signingSecret }}
YARD_SLACK_SIGNING_SECRET: {{ . | quote }}
{{- end }}
{{- end }}
{{- end -}}
{{- end -}}
