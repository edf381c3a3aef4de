{{/* `from` of a rule: those who have one of the namespaces, or one of the principals. Takes {namespaces, principals}. */}}
{{- define "yardmaster.sources" -}}
{{- with .namespaces }}
- source:
    namespaces:
      {{- toYaml . | nindent 6 }}
{{- end }}
{{- with .principals }}
- source:
    principals:
      {{- toYaml . | nindent 6 }}
{{- end }}
{{- end -}}
