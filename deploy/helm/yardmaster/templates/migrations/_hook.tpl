{{/*
Before the release's own objects. Only a PostgreSQL that the release brings itself, and that is not there yet, cannot be
waited for (the first installation, one after another that failed early, a change from an external one): then these are
objects like others, and managers start again until the schema is there.
*/}}
{{- define "yardmaster.hooked" -}}
{{- $postgres := printf "%s-postgres" (include "yardmaster.fullname" .) -}}
{{- if or (eq .Values.postgres.mode "external") (lookup "apps/v1" "StatefulSet" .Release.Namespace $postgres) -}}yes{{- end -}}
{{- end -}}

{{/*
Without hooks each revision has a Job of its own: the template of a Job cannot be changed, and what a failed hook left
behind has the name without a number.
*/}}
{{- define "yardmaster.migrations" -}}
{{ include "yardmaster.fullname" . }}-migrations{{ if not (include "yardmaster.hooked" .) }}-{{ .Release.Revision }}{{ end }}
{{- end -}}

{{/* Takes (dict "root" $ "weight" N). */}}
{{- define "yardmaster.hook" -}}
{{- if include "yardmaster.hooked" .root }}
annotations:
  helm.sh/hook: pre-install,pre-upgrade
  helm.sh/hook-weight: {{ .weight | quote }}
  helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
{{- end }}
{{- end -}}
