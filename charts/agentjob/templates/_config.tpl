{{/* The operator's configuration file: the settings of agentjob_operator/settings.py as JSON. */}}
{{- define "agentjob.config" -}}
{{- $runner := dict
      "image" (include "agentjob.image" (dict "image" .Values.image.runner "root" .))
      "imagePullPolicy" .Values.image.runner.pullPolicy
      "resources" .Values.runner.resources
      "env" .Values.runner.env
      "unreachableSeconds" .Values.runner.unreachableSeconds -}}
{{- with .Values.model.default }}{{ $_ := set $runner "model" . }}{{ end -}}
{{- with .Values.model.baseURL }}{{ $_ := set $runner "modelBaseURL" . }}{{ end -}}
{{- if .Values.model.apiKeySecret.name }}{{ $_ := set $runner "modelApiKeySecret" .Values.model.apiKeySecret }}{{ end -}}
{{- $namespaces := include "agentjob.jobNamespaces" . | fromJsonArray -}}
{{- range $name, $_ := .Values.limits.namespaces }}
{{- if not (has $name $namespaces) }}
{{- fail (printf "limits.namespaces.%s: no job namespace; there are: %s" $name (join ", " $namespaces)) }}
{{- end }}
{{- end -}}
{{- dict
      "namespaces" $namespaces
      "runner" $runner
      "limits" .Values.limits
      "podTTLSeconds" .Values.podTTLSeconds
      "archives" (and .Values.gateway.enabled .Values.archive.enabled)
      "lease" (dict "namespace" .Release.Namespace "name" (include "agentjob.name" .) "seconds" .Values.operator.leaseSeconds)
      "workers" .Values.workers
      "logLevel" .Values.logLevel
      "port" 8080
    | toPrettyJson -}}
{{- end }}

{{/* The gateway's: the settings of agentjob_gateway/settings.py as JSON. */}}
{{- define "agentjob.gatewayConfig" -}}
{{- $settings := dict
      "namespaces" (include "agentjob.jobNamespaces" . | fromJsonArray)
      "keysDirectory" "/etc/agentjob/keys"
      "kubernetesTokens" .Values.gateway.kubernetesTokens
      "limits" .Values.gateway.limits
      "queueDepth" .Values.gateway.queueDepth
      "maxBodyBytes" .Values.gateway.maxBodyBytes
      "corsOrigins" .Values.gateway.corsOrigins
      "drainSeconds" .Values.gateway.drainSeconds
      "logLevel" .Values.logLevel
      "peers" (dict "namespace" .Release.Namespace "service" (include "agentjob.gatewayName" .))
      "port" 8080
      "metricsPort" 8081 -}}
{{- if .Values.archive.enabled }}
{{- $url := .Values.archive.url | default (printf "file://%s" (include "agentjob.archivePath" .)) }}
{{- $_ := set $settings "archive" (dict "url" $url "partSeconds" .Values.archive.partSeconds) }}
{{- end }}
{{- toPrettyJson $settings -}}
{{- end }}
