{{/* The chart is installed once per cluster: its CSI driver, CRDs and addresses are cluster-wide, so names are fixed. */}}

{{/* Labels of every object. Call with (dict "root" $ "component" "operator"). */}}
{{- define "dotmesh.labels" -}}
{{ include "dotmesh.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end }}

{{/* Labels that pods are selected by; the operator finds csi-node pods with them. */}}
{{- define "dotmesh.selector" -}}
app.kubernetes.io/name: dotmesh
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{/* Full name of an image. Call with (dict "root" $ "image" .Values.operator.image). */}}
{{- define "dotmesh.image" -}}
{{- with .root.Values.imageRegistry | default .image.registry }}{{ . }}/{{ end -}}
{{ .image.repository }}
{{- if .image.digest }}@{{ .image.digest }}{{ else }}:{{ .image.tag | default .root.Chart.AppVersion }}{{ end -}}
{{- end }}

{{/* Where a program's pods run, and how much they matter. Call with .Values.operator or .Values.csiNode. */}}
{{- define "dotmesh.scheduling" -}}
{{- $parts := dict }}
{{- range $name := list "priorityClassName" "nodeSelector" "tolerations" "affinity" }}
{{- with get $ $name }}{{ $_ := set $parts $name . }}{{ end }}
{{- end }}
{{- with $parts }}{{ toYaml . }}{{ end }}
{{- end }}

{{/* Pods that pass the profile `restricted`: of the pod, and of each container. */}}
{{- define "dotmesh.restricted.pod" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "dotmesh.restricted.container" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}
