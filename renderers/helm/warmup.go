package main

import "helm.sh/helm/v4/pkg/chart/loader/archive"

// warmUp is a chart with common features. The snapshot is taken after it was rendered.
var warmUp = []*archive.BufferedFile{
	{Name: "Chart.yaml", Data: []byte("apiVersion: v2\nname: warm\nversion: 0.1.0\n")},
	{Name: "values.yaml", Data: []byte("a: {b: c}\n")},
	{Name: "values.schema.json", Data: []byte(`{"type": "object", "properties": {"a": {"type": "object"}}}`)},
	{Name: "templates/_helpers.tpl", Data: []byte(`{{- define "name" -}}{{ .Release.Name | trunc 63 | trimSuffix "-" }}{{- end -}}`)},
	{Name: "templates/all.yaml", Data: []byte(`apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ include "name" . }}
  labels: {{- toYaml .Values.a | nindent 4 }}
data: {{ tpl "{{ .Values.a | toJson | quote }}" . }}
`)},
}
