package main

// warmUp is a kustomization with common features. The snapshot is taken after it was rendered.
var warmUp = map[string]string{
	"/base/kustomization.yaml": `
resources: [workload.yaml]
labels: [{pairs: {app: web}, includeSelectors: true}]
configMapGenerator: [{name: settings, literals: [a=b]}]
`,
	"/base/workload.yaml": `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  template:
    spec:
      containers:
      - {name: web, image: web, envFrom: [{configMapRef: {name: settings}}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {ports: [{port: 80}]}
`,
	"/overlay/kustomization.yaml": `
namespace: prod
namePrefix: prod-
resources: [../base]
images: [{name: web, newTag: v1}]
replicas: [{name: web, count: 2}]
patches:
- patch: |
    apiVersion: apps/v1
    kind: Deployment
    metadata: {name: web}
    spec: {template: {spec: {containers: [{name: web, resources: {limits: {cpu: 1}}}]}}}
- target: {kind: Service}
  patch: '[{"op": "replace", "path": "/spec/ports/0/port", "value": 81}]'
`,
}
