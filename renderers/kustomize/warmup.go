package main

import (
	"encoding/json"

	"sigs.k8s.io/kustomize/kyaml/filesys"

	"towline.dev/renderers/guest"
)

// Prepares the state of the snapshot. At their first use, kustomize parses its schema of all kinds, which takes longer than most
// renders, and decoders take apart the types that they fill.
func init() {
	tree := filesys.MakeFsInMemory()
	for name, content := range warmUp {
		if err := tree.WriteFile(guest.Abs(name), []byte(content)); err != nil {
			panic(err)
		}
	}
	var r request
	if err := guest.Decode([]byte(`{"path": "overlay", "provenance": true, "limits": {}}`), &r); err != nil {
		panic(err)
	}
	err := r.emit(tree, func(about any, _ []byte) error {
		_, err := json.Marshal(about)
		return err
	})
	if err != nil {
		panic(err)
	}
	guest.Settle()
}

// warmUp is a kustomization with common features. The snapshot is taken after it was rendered.
var warmUp = map[string]string{
	"base/kustomization.yaml": `
resources: [workload.yaml]
labels: [{pairs: {app: web}, includeSelectors: true}]
configMapGenerator: [{name: settings, literals: [a=b]}]
`,
	"base/workload.yaml": `
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
	"overlay/kustomization.yaml": `
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
