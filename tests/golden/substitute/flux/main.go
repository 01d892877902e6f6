// Command flux writes what Flux makes of each case of ../cases.json to ../expected.json.
//
//	cd tests/golden/substitute/flux && go run .
//
// A case is an object and variables. The result is the object after Flux's substitution, or an error.
package main

import (
	"context"
	"encoding/json"
	"log"
	"os"

	"github.com/fluxcd/pkg/kustomize"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/kustomize/api/hasher"
	"sigs.k8s.io/kustomize/api/resource"
)

type input struct {
	Name   string            `json:"name"`
	Vars   map[string]string `json:"vars"`
	Strict bool              `json:"strict"`
	Object map[string]any    `json:"object"`
}

type output struct {
	Name   string         `json:"name"`
	Object map[string]any `json:"object,omitempty"`
	Error  string         `json:"error,omitempty"`
}

func main() {
	text, err := os.ReadFile("../cases.json")
	if err != nil {
		log.Fatal(err)
	}
	var cases []input
	if err := json.Unmarshal(text, &cases); err != nil {
		log.Fatal(err)
	}
	outputs := []output{}
	for _, c := range cases {
		outputs = append(outputs, run(c))
	}
	text, err = json.MarshalIndent(outputs, "", " ")
	if err != nil {
		log.Fatal(err)
	}
	if err := os.WriteFile("../expected.json", append(text, '\n'), 0o644); err != nil {
		log.Fatal(err)
	}
}

func run(c input) output {
	object := map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": "a"}}
	for key, value := range c.Object {
		object[key] = value
	}
	vars := map[string]any{}
	for name, value := range c.Vars {
		vars[name] = value
	}
	kustomization := unstructured.Unstructured{Object: map[string]any{
		"spec": map[string]any{"postBuild": map[string]any{"substitute": vars}},
	}}
	res, err := resource.NewFactory(&hasher.Hasher{}).FromMap(object)
	if err != nil {
		log.Fatal(c.Name, err)
	}
	out, err := kustomize.SubstituteVariables(context.Background(), nil, kustomization, res,
		kustomize.SubstituteWithDryRun(true), kustomize.SubstituteWithStrict(c.Strict),
		kustomize.SubstituteWithAlways(true))
	if err != nil {
		return output{Name: c.Name, Error: err.Error()}
	}
	if out == nil { // it opts out
		return output{Name: c.Name, Object: c.Object}
	}
	result, err := out.Map()
	if err != nil {
		return output{Name: c.Name, Error: err.Error()}
	}
	for _, key := range []string{"apiVersion", "kind"} {
		delete(result, key)
	}
	if _, own := c.Object["metadata"]; !own {
		delete(result, "metadata")
	}
	return output{Name: c.Name, Object: result}
}
