{{/* The name of the installed objects. It leaves room for `-webhook` and `-metrics`: a Service's name has at most 63 characters. */}}
{{- define "towline.fullname" -}}
{{- $chart := default .Chart.Name .Values.nameOverride -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 55 | trimSuffix "-" -}}
{{- else if contains $chart .Release.Name -}}
{{- .Release.Name | trunc 55 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $chart | trunc 55 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* Labels that only this release's pods have. They must never change, because a Deployment's selector cannot be changed. */}}
{{- define "towline.selector" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{/* The labels of every installed object. The argument is a list: the release's context, then more labels. */}}
{{- define "towline.labelsWith" -}}
{{- $release := first . -}}
{{- $own := dict
  "app.kubernetes.io/version" $release.Chart.AppVersion
  "app.kubernetes.io/managed-by" $release.Release.Service
  "helm.sh/chart" (printf "%s-%s" $release.Chart.Name $release.Chart.Version | replace "+" "_")
-}}
{{- $fixed := include "towline.selector" $release | fromYaml -}}
{{- merge $fixed (default dict (last .)) $release.Values.commonLabels $own | toYaml -}}
{{- end -}}

{{- define "towline.labels" -}}
{{- include "towline.labelsWith" (list . dict) -}}
{{- end -}}

{{- define "towline.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "towline.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "towline.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end -}}

{{/* The subjects of a binding: the release's ServiceAccount. */}}
{{- define "towline.subjects" -}}
- kind: ServiceAccount
  name: {{ include "towline.serviceAccount" . }}
  namespace: {{ .Release.Namespace }}
{{- end -}}

{{/* Fails for settings that are valid alone but do not work together. */}}
{{- define "towline.validate" -}}
{{- if and .Values.rbac.rules .Values.rbac.applyAnything (not .Values.rbac.tenantsOnly) -}}
{{- fail "rbac.rules names rights that rbac.applyAnything gives anyway: set rbac.applyAnything to false, or take the rules out" -}}
{{- end -}}
{{- if and .Values.rbac.rules .Values.rbac.tenantsOnly -}}
{{- fail "rbac.rules gives towline rights of its own, and with rbac.tenantsOnly only ServiceAccounts have any: set one of the two" -}}
{{- end -}}
{{- if and .Values.webhook.ingress.enabled (not .Values.webhook.service.enabled) -}}
{{- fail "webhook.ingress needs webhook.service.enabled" -}}
{{- end -}}
{{- if and .Values.webhook.ingress.enabled (not .Values.webhook.ingress.hosts) -}}
{{- fail "webhook.ingress.hosts is empty: name the host that Git servers call" -}}
{{- end -}}
{{- if and .Values.metrics.serviceMonitor.enabled (not .Values.metrics.service.enabled) -}}
{{- fail "metrics.serviceMonitor needs metrics.service.enabled" -}}
{{- end -}}
{{- $monitor := .Values.metrics.serviceMonitor -}}
{{- $start := now -}}
{{- if and $monitor.enabled (($start | dateModify $monitor.interval).Before ($start | dateModify $monitor.scrapeTimeout)) -}}
{{- fail "metrics.serviceMonitor.scrapeTimeout is longer than its interval: Prometheus takes no such target" -}}
{{- end -}}
{{- if and (gt (int .Values.replicas) 1) (not .Values.leaderElection.enabled) -}}
{{- fail "several replicas need leaderElection.enabled: without it all of them would write" -}}
{{- end -}}
{{- if and (eq .Values.cache.type "persistentVolumeClaim") (gt (int .Values.replicas) 1) -}}
{{- fail "cache.type persistentVolumeClaim is for one replica, since each needs a cache of its own: use ephemeral" -}}
{{- end -}}
{{- end -}}
