{{/* Name of everything the release owns. */}}
{{- define "agentjob.name" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{ .Release.Name | trunc 53 | trimSuffix "-" }}
{{- else -}}
{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 53 | trimSuffix "-" }}
{{- end -}}
{{- end }}

{{/* Labels by which the operator's Pod is found. */}}
{{- define "agentjob.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end }}

{{/* Labels of every object. */}}
{{- define "agentjob.labels" -}}
{{ include "agentjob.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{/* The namespaces whose jobs are run, as a JSON list. */}}
{{- define "agentjob.jobNamespaces" -}}
{{ .Values.jobNamespaces | default (list .Release.Namespace) | toJson }}
{{- end }}

{{/* An image's full name; takes a dict of `image` (repository, tag) and `root`. */}}
{{- define "agentjob.image" -}}
{{ .image.repository }}:{{ .image.tag | default .root.Chart.AppVersion }}
{{- end }}
