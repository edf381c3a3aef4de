{{/* One rule of `egress`. Takes a hole: {peers, ports}; nothing where it has no peers. */}}
{{- define "yardmaster.egress" -}}
{{- if .peers }}
- to:
    {{- toYaml .peers | nindent 4 }}
  ports:
    {{- range .ports }}
    - { protocol: TCP, port: {{ . }} }
    {{- end }}
{{- end }}
{{- end -}}

{{- define "yardmaster.dnsEgress" -}}
{{- with .Values.networkPolicy.dns }}
{{- $peers := .peers }}
{{- if .nodeLocal.enabled }}
{{- range .nodeLocal.cidrs }}
{{- $peers = append $peers (dict "ipBlock" (dict "cidr" .)) }}
{{- end }}
{{- end }}
{{- if $peers }}
- to:
    {{- toYaml $peers | nindent 4 }}
  ports:
    {{- range .ports }}
    - { protocol: UDP, port: {{ . }} }
    - { protocol: TCP, port: {{ . }} }
    {{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{/* One rule of `egress` to pods of this release. Takes (dict "root" $ "component" NAME "port" PORT). */}}
{{- define "yardmaster.egressWithin" }}
- to:
    - podSelector:
        matchLabels:
          {{- include "yardmaster.selector" . | nindent 10 }}
  ports:
    - { protocol: TCP, port: {{ .port }} }
{{- end -}}

{{- define "yardmaster.postgresEgress" -}}
{{- if eq .Values.postgres.mode "in-cluster" }}
{{- include "yardmaster.egressWithin" (dict "root" $ "component" "postgres" "port" 5432) }}
{{- else }}
{{- include "yardmaster.egress" .Values.networkPolicy.postgres }}
{{- end }}
{{- end -}}

{{- define "yardmaster.redisEgress" -}}
{{- if eq .Values.redis.mode "in-cluster" }}
{{- include "yardmaster.egressWithin" (dict "root" $ "component" "redis" "port" 6379) }}
{{- else }}
{{- include "yardmaster.egress" .Values.networkPolicy.redis }}
{{- end }}
{{- end -}}

{{/* Sidecars get their certificates and configuration from istiod. */}}
{{- define "yardmaster.meshEgress" -}}
{{- with .Values.istio }}
{{- if .enabled }}
- to:
    - namespaceSelector: { matchLabels: { kubernetes.io/metadata.name: {{ .controlPlaneNamespace }} } }
      podSelector: { matchLabels: { app: istiod } }
  ports:
    - { protocol: TCP, port: 15012 }
{{- end }}
{{- end }}
{{- end -}}

{{/* The agents' pods as a peer. */}}
{{- define "yardmaster.agentsPeer" -}}
- namespaceSelector: { matchLabels: { kubernetes.io/metadata.name: {{ include "yardmaster.agentsNamespace" . }} } }
  podSelector:
    matchLabels:
      {{- toYaml .Values.agents.podLabels | nindent 6 }}
{{- end -}}

{{/* The managers' pods as a peer. */}}
{{- define "yardmaster.managersPeer" -}}
- namespaceSelector: { matchLabels: { kubernetes.io/metadata.name: {{ .Release.Namespace }} } }
  podSelector:
    matchLabels:
      {{- include "yardmaster.selector" (dict "root" $ "component" "manager") | nindent 6 }}
{{- end -}}
