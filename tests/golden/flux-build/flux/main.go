// Command flux writes what Flux makes of each case of ../cases to ../expected.
//
//	cd tests/golden/flux-build/flux && go run .
//
// A case is one text: files, each after a line `-- path --`. The file `flux.yaml` is the spec of a Flux Kustomization.
// The result is every object that kustomize-controller would apply, or that Flux refuses it. The steps are those of
// `flux build kustomization`: generate the kustomization, build it, replace the variables.
package main

import (
	"context"
	"encoding/json"
	"log"
	"os"
	"path/filepath"
	"strings"

	"github.com/fluxcd/pkg/kustomize"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

type output struct {
	Objects []any `json:"objects,omitempty"`
	// Flux refuses the case. Its words depend on the machine.
	Refused bool `json:"refused,omitempty"`
}

func main() {
	cases, err := filepath.Glob("../cases/*.txt")
	if err != nil || len(cases) == 0 {
		log.Fatal("no cases: ", err)
	}
	if err := os.MkdirAll("../expected", 0o755); err != nil {
		log.Fatal(err)
	}
	for _, path := range cases {
		text, err := os.ReadFile(path)
		if err != nil {
			log.Fatal(err)
		}
		objects, err := build(string(text))
		result := output{Objects: objects}
		if err != nil {
			log.Printf("%s: %v", path, err)
			result = output{Refused: true}
		}
		text, err = json.MarshalIndent(result, "", " ")
		if err != nil {
			log.Fatal(err)
		}
		name := strings.TrimSuffix(filepath.Base(path), ".txt") + ".json"
		if err := os.WriteFile(filepath.Join("../expected", name), append(text, '\n'), 0o644); err != nil {
			log.Fatal(err)
		}
	}
}

func build(text string) ([]any, error) {
	root, err := os.MkdirTemp("", "flux-build")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(root)
	for path, content := range files(text) {
		path = filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			log.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			log.Fatal(err)
		}
	}
	spec := map[string]any{}
	if text, err := os.ReadFile(filepath.Join(root, "flux.yaml")); err == nil {
		if err := yaml.Unmarshal(text, &spec); err != nil {
			log.Fatal(err)
		}
	}
	path, _ := spec["path"].(string)
	folder := filepath.Join(root, path)
	kustomization := unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "kustomize.toolkit.fluxcd.io/v1", "kind": "Kustomization",
		"metadata": map[string]any{"name": "all", "namespace": "flux-system"}, "spec": spec,
	}}
	ignore, _ := spec["ignore"].(string)
	delete(spec, "ignore")
	if _, err := kustomize.NewGeneratorWithIgnore(root, ignore, kustomization).WriteFile(folder); err != nil {
		return nil, err
	}
	built, err := kustomize.SecureBuild(root, folder, false)
	if err != nil {
		return nil, err
	}
	objects := []any{}
	for _, resource := range built.Resources() {
		if _, found := spec["postBuild"]; found {
			replaced, err := kustomize.SubstituteVariables(context.Background(), nil, kustomization, resource,
				kustomize.SubstituteWithDryRun(true))
			if err != nil {
				return nil, err
			}
			if replaced != nil { // none where it opts out
				resource = replaced
			}
		}
		object, err := resource.Map()
		if err != nil {
			return nil, err
		}
		objects = append(objects, object)
	}
	return objects, nil
}

func files(text string) map[string]string {
	files, path := map[string]string{}, ""
	for line := range strings.Lines(text) {
		if name, found := strings.CutPrefix(line, "-- "); found && strings.HasSuffix(name, " --\n") {
			path = strings.TrimSuffix(name, " --\n")
			continue
		}
		if path != "" {
			files[path] += line
		}
	}
	return files
}
