{{/* Name of everything the release owns, and the beginning of the gateway's names. */}}
{{- define "agentjob.name" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{ .Release.Name | trunc 53 | trimSuffix "-" }}
{{- else -}}
{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 53 | trimSuffix "-" }}
{{- end -}}
{{- end }}

{{/* Name of all that is the gateway's. */}}
{{- define "agentjob.gatewayName" -}}
{{ include "agentjob.name" . }}-gateway
{{- end }}

{{/* Name of the Secret with the hashes of the API keys. */}}
{{- define "agentjob.keysSecret" -}}
{{ .Values.gateway.keysSecret | default (printf "%s-keys" (include "agentjob.name" .)) }}
{{- end }}

{{/* Labels by which a component's Pods are found; takes a dict of `component` and `root`. */}}
{{- define "agentjob.componentSelector" -}}
app.kubernetes.io/name: {{ .root.Chart.Name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{/* Labels by which the operator's Pod is found. */}}
{{- define "agentjob.selector" -}}
{{ include "agentjob.componentSelector" (dict "component" "operator" "root" .) }}
{{- end }}

{{/* Labels by which the gateway's Pods are found. */}}
{{- define "agentjob.gatewaySelector" -}}
{{ include "agentjob.componentSelector" (dict "component" "gateway" "root" .) }}
{{- end }}

{{/* Labels by which the Pod of `helm test` is found. */}}
{{- define "agentjob.testSelector" -}}
{{ include "agentjob.componentSelector" (dict "component" "test" "root" .) }}
{{- end }}

{{/* Labels of every object that is not the gateway's. */}}
{{- define "agentjob.labels" -}}
{{ include "agentjob.selector" . }}
{{ include "agentjob.releaseLabels" . }}
{{- end }}

{{/* Labels of every object of the gateway's. */}}
{{- define "agentjob.gatewayLabels" -}}
{{ include "agentjob.gatewaySelector" . }}
{{ include "agentjob.releaseLabels" . }}
{{- end }}

{{/* Labels that say what an object was installed by. */}}
{{- define "agentjob.releaseLabels" -}}
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
