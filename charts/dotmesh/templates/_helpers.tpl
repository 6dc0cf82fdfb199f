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

{{/*
Refuses what could not work with VolumeSnapshots, as far as the server can be asked: `helm template` asks none.
The namespace kube-system is everywhere, so where it is not found there is no server.
*/}}
{{- define "dotmesh.snapshots.check" -}}
{{- if lookup "v1" "Namespace" "" "kube-system" }}
{{- if .Values.snapshotController.enabled }}
{{- with include "dotmesh.snapshots.others" . }}
{{- fail (printf "snapshotController.enabled: the cluster has a snapshot-controller already, and two would disturb each other: %s. Install with snapshotController.enabled=false. If it runs no more, delete what is left of it first." .) }}
{{- end }}
{{- end }}
{{- if or .Values.snapshotController.enabled .Values.csiSnapshotter.enabled }}
{{- include "dotmesh.snapshots.crds" (dict "root" . "group" "snapshot.storage.k8s.io" "kind" "VolumeSnapshot") }}
{{- end }}
{{- if and .Values.csiSnapshotter.enabled .Values.csiSnapshotter.groups }}
{{- include "dotmesh.snapshots.crds" (dict "root" . "group" "groupsnapshot.storage.k8s.io" "kind" "VolumeGroupSnapshot") }}
{{- end }}
{{- end }}
{{- end }}

{{/* Refuses when the cluster does not know the kind. */}}
{{- define "dotmesh.snapshots.crds" -}}
{{- if not (.root.Capabilities.APIVersions.Has (printf "%s/v1/%s" .group .kind)) }}
{{- fail (printf "the cluster has no CustomResourceDefinitions of %s. First: kubectl apply -k 'https://github.com/kubernetes-csi/external-snapshotter//client/config/crd?ref=%s'" .group .root.Values.csiSnapshotter.image.tag) }}
{{- end }}
{{- end }}

{{/*
Snapshot-controllers that are not of this release: Deployments and StatefulSets by their image or their usual names, and
whoever holds the Lease that they lead by, for those that run where nobody sees them.
*/}}
{{- define "dotmesh.snapshots.others" -}}
{{- $root := . }}
{{- $others := list }}
{{- range $kind := list "Deployment" "StatefulSet" }}
{{- range (lookup "apps/v1" $kind "" "").items }}
{{- $ours := and (eq .metadata.namespace $root.Release.Namespace) (eq .metadata.name "dotmesh-snapshot-controller") }}
{{- $is := has .metadata.name (list "snapshot-controller" "csi-snapshot-controller") }}
{{- range .spec.template.spec.containers }}
{{- $is = or $is (regexMatch "(^|[/-])snapshot-controller([:@]|$)" .image) }}
{{- end }}
{{- if and $is (not $ours) (ne (toString .spec.replicas) "0") }}
{{- $others = append $others (printf "%s %s/%s" $kind .metadata.namespace .metadata.name) }}
{{- end }}
{{- end }}
{{- end }}
{{- range (lookup "coordination.k8s.io/v1" "Lease" "" "").items }}
{{- if and (eq .metadata.name "snapshot-controller-leader") (ne .metadata.namespace $root.Release.Namespace) .spec.holderIdentity }}
{{- $others = append $others (printf "Lease %s/%s of %s" .metadata.namespace .metadata.name .spec.holderIdentity) }}
{{- end }}
{{- end }}
{{- join ", " $others }}
{{- end }}
