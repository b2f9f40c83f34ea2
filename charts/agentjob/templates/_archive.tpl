{{/* Where the archive's volume is mounted. */}}
{{- define "agentjob.archivePath" -}}
/var/lib/agentjob/archive
{{- end }}

{{/* Name of the claim whose volume the archive is on; empty where there is none. */}}
{{- define "agentjob.archiveClaim" -}}
{{- if and .Values.archive.enabled (not .Values.archive.url) -}}
{{ .Values.archive.claim.existingClaim | default (printf "%s-archive" (include "agentjob.gatewayName" .)) }}
{{- end -}}
{{- end }}

{{/* Where the gateway's Pods may run: all on one node where only one can use the volume, spread otherwise. */}}
{{- define "agentjob.gatewayScheduling" -}}
{{- $selector := dict "matchLabels" (include "agentjob.gatewaySelector" . | fromYaml) -}}
{{- if and (include "agentjob.archiveClaim" .) (eq .Values.archive.claim.accessMode "ReadWriteOnce") }}
{{- $together := dict "labelSelector" $selector "topologyKey" "kubernetes.io/hostname" }}
{{- $affinity := deepCopy .Values.gateway.affinity }}
{{- $pods := $affinity.podAffinity | default dict }}
{{- $key := "requiredDuringSchedulingIgnoredDuringExecution" }}
{{- $_ := set $pods $key (append (get $pods $key | default list) $together) }}
{{- $_ := set $affinity "podAffinity" $pods }}
{{- include "agentjob.scheduling" (set (pick .Values.gateway "nodeSelector" "tolerations") "affinity" $affinity) }}
{{- else }}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector: {{- toYaml $selector | nindent 6 }}
    # Those that are about to go do not count.
    matchLabelKeys: [pod-template-hash]
{{- include "agentjob.scheduling" .Values.gateway }}
{{- end }}
{{- end }}
