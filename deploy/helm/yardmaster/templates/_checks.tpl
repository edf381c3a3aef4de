{{/* What the schema cannot say. Fails with all that is wrong, a line each. */}}
{{- define "yardmaster.check" -}}
{{- $wrong := list -}}
{{- with .Values -}}
{{- range $name, $store := dict "postgres" .postgres "redis" .redis -}}
{{- if eq $store.mode "external" -}}
{{- if not (or $store.url $store.existingSecret.name) -}}
{{- $wrong = append $wrong (printf "%s.mode is external: give %s.url or %s.existingSecret.name" $name $name $name) -}}
{{- else if and $store.url $store.existingSecret.name -}}
{{- $wrong = append $wrong (printf "give %s.url or %s.existingSecret.name, not both" $name $name) -}}
{{- end -}}
{{- else if or $store.url $store.existingSecret.name -}}
{{- $wrong = append $wrong (printf "%s.url and %s.existingSecret need %s.mode: external" $name $name $name) -}}
{{- end -}}
{{- end -}}
{{- if and (eq .postgres.mode "external") (not .auth.pepper) (not .auth.existingSecret.name) -}}
{{- $wrong = append $wrong "an external PostgreSQL outlives the release, and its keys need their pepper: give auth.existingSecret.name or auth.pepper" -}}
{{- end -}}
{{- if and .auth.pepper .auth.existingSecret.name -}}
{{- $wrong = append $wrong "give auth.pepper or auth.existingSecret.name, not both" -}}
{{- end -}}
{{- if and .slack.existingSecret.name (or .slack.token .slack.signingSecret) -}}
{{- $wrong = append $wrong "give slack.token and slack.signingSecret or slack.existingSecret.name, not both" -}}
{{- end -}}
{{- if and .autoscaling.enabled (lt (int .autoscaling.maxReplicas) (int .autoscaling.minReplicas)) -}}
{{- $wrong = append $wrong "autoscaling.maxReplicas is below autoscaling.minReplicas" -}}
{{- end -}}
{{- if and .ingress.enabled (not .ingress.hosts) -}}
{{- $wrong = append $wrong "ingress.enabled needs ingress.hosts" -}}
{{- end -}}
{{- if and .agents.kubernetes (not .serviceAccount.create) (not .serviceAccount.name) -}}
{{- $wrong = append $wrong "agents.kubernetes needs a service account: set serviceAccount.create or serviceAccount.name" -}}
{{- end -}}
{{- if and .metrics.serviceMonitor.enabled (not .metrics.public) (not .metrics.tokenSecret.name) -}}
{{- $wrong = append $wrong "metrics.public is false: the ServiceMonitor needs metrics.tokenSecret.name" -}}
{{- end -}}
{{- range .manager.extraEnv -}}
{{- if hasPrefix "YARD_" .name -}}
{{- $wrong = append $wrong (printf "manager.extraEnv: %s belongs into `settings`, or into the values made for it" .name) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $name := include "yardmaster.fullname" . -}}
{{- if not (regexMatch "^[a-z]([-a-z0-9]*[a-z0-9])?$" $name) -}}
{{- $wrong = append $wrong (printf "Services are named after the release, as %s: only letters, digits and -, a letter first. Choose another release name or fullnameOverride" $name) -}}
{{- end -}}
{{- with include "yardmaster.volumeChanges" . -}}
{{- $wrong = append $wrong . -}}
{{- end -}}
{{- if $wrong -}}
{{- fail (printf "\n- %s" (join "\n- " $wrong)) -}}
{{- end -}}
{{- end -}}

{{/* What is wanted of the volume of a PostgreSQL that is there already, and cannot be had: a StatefulSet's claims stay as they are. */}}
{{- define "yardmaster.volumeChanges" -}}
{{- $name := printf "%s-postgres" (include "yardmaster.fullname" .) -}}
{{- $live := dict -}}
{{- if eq .Values.postgres.mode "in-cluster" -}}
{{- $live = lookup "apps/v1" "StatefulSet" .Release.Namespace $name -}}
{{- end -}}
{{- $changed := list -}}
{{- with .Values.postgres.inCluster -}}
{{- $claims := dig "spec" "volumeClaimTemplates" (list) $live -}}
{{- if and $live (ne .persistent (not (empty $claims))) -}}
{{- $changed = append $changed (printf "postgres.inCluster.persistent (%t)" (not (empty $claims))) -}}
{{- end -}}
{{- if and .persistent $claims -}}
{{- $spec := (first $claims).spec -}}
{{- $had := dig "resources" "requests" "storage" "" $spec -}}
{{- if and (include "yardmaster.bytes" $had) (ne (include "yardmaster.bytes" $had) (include "yardmaster.bytes" .storage)) -}}
{{- $changed = append $changed (printf "postgres.inCluster.storage (%s)" $had) -}}
{{- end -}}
{{- $class := get $spec "storageClassName" -}}
{{- if ne $class .storageClass -}}
{{- $changed = append $changed (printf "postgres.inCluster.storageClass (%s)" ($class | default "the default one")) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if $changed -}}
StatefulSet {{ $name }} is there, and its volume cannot be changed: keep {{ join ", " $changed }}, or delete the StatefulSet, and with it its data, before
{{- end -}}
{{- end -}}

{{/*
Fails where a password would be made by chance at each rendering and yet be applied: as Argo CD does, which renders with
what the cluster can, but without looking anything up. A plain `helm template` knows no cluster, and may go on.
*/}}
{{- define "yardmaster.checkChance" -}}
{{- if .Capabilities.APIVersions.Has "apiregistration.k8s.io/v1" -}}
{{- if not (hasKey (lookup "apps/v1" "StatefulSet" .Release.Namespace "") "items") -}}
{{- fail "\nNothing can be looked up in the cluster here (Argo CD, helm template --validate, --dry-run=client), so passwords made by chance would be others each time: give auth.existingSecret.name, postgres.mode: external and redis.mode: external with theirs, or let Helm install it (for a trial run: --dry-run=server)" -}}
{{- end -}}
{{- end -}}
{{- end -}}
