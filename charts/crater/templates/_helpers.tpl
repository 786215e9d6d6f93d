{{- define "crater.fullname" -}}
{{- if contains "crater" .Release.Name }}{{ .Release.Name | trunc 40 | trimSuffix "-" }}{{ else }}{{ printf "%s-crater" .Release.Name | trunc 40 | trimSuffix "-" }}{{ end }}
{{- end }}

{{/* where the programs keep their Lease and the last limits; they know no other place */}}
{{- define "crater.system" -}}crater-system{{- end }}

{{/* (list $ "gateway") */}}
{{- define "crater.part" -}}{{ include "crater.fullname" (index . 0) }}-{{ index . 1 }}{{- end }}

{{- define "crater.selector" -}}
app.kubernetes.io/name: crater
app.kubernetes.io/instance: {{ (index . 0).Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{- define "crater.common" -}}
app.kubernetes.io/name: crater
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "crater.labels" -}}
{{ include "crater.common" (index . 0) }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{- define "crater.image" -}}
{{- $v := (index . 0).Values.image -}}
{{ $v.registry }}/{{ index . 1 }}:{{ $v.tag | default (index . 0).Chart.AppVersion }}
{{- end }}

{{- define "crater.meshSecret" -}}{{ .Values.mesh.existingSecret | default (printf "%s-mesh" (include "crater.fullname" .)) }}{{- end }}
{{- define "crater.adminSecret" -}}{{ .Values.admin.existingSecret | default (printf "%s-admin" (include "crater.fullname" .)) }}{{- end }}

{{/* the part of every program's file that says how it listens */}}
{{- define "crater.server" -}}
[server]
listen = "0.0.0.0:{{ index . 1 }}"
{{- end }}

{{- define "crater.ports" -}}
gateway: 8080
user: 7001
quota: 7002
job: 7003
scheduler: 7004
controller: 7005
{{- end }}

{{/* The restricted Pod Security Standard, and a root that nobody writes to */}}
{{- define "crater.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end }}
{{- define "crater.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}
