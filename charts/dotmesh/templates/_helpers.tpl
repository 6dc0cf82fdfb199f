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
{{- if .image.digest -}}
{{ .image.repository }}@{{ .image.digest }}
{{- else -}}
{{ .image.repository }}:{{ .image.tag | default .root.Chart.AppVersion }}
{{- end -}}
{{- end }}
