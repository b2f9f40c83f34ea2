{{/* A NetworkPolicy's rule for the cluster's own DNS. */}}
{{- define "agentjob.dnsEgress" -}}
- to:
    - namespaceSelector:
        matchLabels:
          kubernetes.io/metadata.name: kube-system
      podSelector:
        matchLabels:
          k8s-app: kube-dns
  ports:
    - { protocol: UDP, port: 53 }
    - { protocol: TCP, port: 53 }
{{- end }}

{{/* A NetworkPolicy's rule for the API server. */}}
{{- define "agentjob.apiServerEgress" -}}
- ports:
    {{- range .Values.operator.networkPolicy.apiServerPorts }}
    - { protocol: TCP, port: {{ . }} }
    {{- end }}
{{- end }}
