{{/* The name of everything: the release's, with the chart's where it does not hold it. */}}
{{- define "doorward.name" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{ .Release.Name | trunc 63 | trimSuffix "-" }}
{{- else -}}
{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 63 | trimSuffix "-" }}
{{- end -}}
{{- end -}}

{{/* What tells these pods from all others. */}}
{{- define "doorward.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "doorward.labels" -}}
{{ include "doorward.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{/* What values must not say together. */}}
{{- define "doorward.verify" -}}
{{- if and (gt (int .Values.replicas) 1) .Values.persistence.size -}}
{{ fail "persistence.size is for one gate whose store is a file: set replicas to 1, or leave it out" }}
{{- end -}}
{{- if and (gt (int .Values.replicas) 1) (not .Values.vaultSecret) -}}
{{ fail "several gates need one vault: set vaultSecret" }}
{{- end -}}
{{- if eq (int .Values.ports.public) (int .Values.ports.operations) -}}
{{ fail "ports.public and ports.operations are the same" }}
{{- end -}}
{{- end -}}
