// Renders a kustomization with upstream's own library, for towline's sandbox.
package main

import (
	"fmt"
	"path"
	"regexp"
	"runtime"
	"slices"
	"strings"

	"sigs.k8s.io/kustomize/api/konfig"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/api/resmap"
	"sigs.k8s.io/kustomize/api/resource"
	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/filesys"

	"towline.dev/renderers/guest"
)

// request is the host's request.
type request struct {
	// Path of the folder with the kustomization, from the repository's root.
	Path string `json:"path"`
	// Kustomization replaces the file in the folder, which need not exist.
	Kustomization string `json:"kustomization"`
	// Overrides are applied to the kustomization, as Flux applies its spec.
	Overrides overrides `json:"overrides"`
	// Provenance asks for the file of each object.
	Provenance bool `json:"provenance"`
}

// document is what the host receives about each object.
type document struct {
	// File from which the object was read, or the kustomization whose generator made it.
	File string `json:"file,omitempty"`
	// Generated is the kind of the generator, if a generator made the object.
	Generated string `json:"generated,omitempty"`
}

// Prepares the state of the snapshot: kustomize parses its schema of all kinds at the first use, which
// takes longer than most renders.
func init() {
	memory := filesys.MakeFsInMemory()
	for name, content := range warmUp {
		if err := memory.WriteFile(name, []byte(content)); err != nil {
			panic(err)
		}
	}
	if _, err := build(memory, "/overlay"); err != nil {
		panic(err)
	}
	runtime.GC()
}

func main() {}

//go:wasmexport render
func render() {
	var r request
	guest.Serve(&r, func() error { return r.render() })
}

func (r *request) render() error {
	tree := &files{own: map[string][]byte{}, check: refuse}
	plan, err := r.plan(tree)
	if err != nil {
		return err
	}
	if plan.name != "" {
		tree.own[plan.name] = plan.content
	}
	resmap.OriginsOnly = !plan.transformers
	resmap.Unmatched = r.unmatched
	objects, err := build(tree, guest.Abs(r.Path))
	if err != nil {
		return explain(err, tree)
	}
	return emit(objects, r.Path, plan.strip)
}

// plain is a name that is no pattern: names of targets are regular expressions.
var plain = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`)

// unmatched warns of a patch for an object that is not there. Patches for a pattern or for all objects of a kind are often
// written for several folders, and not all of these need have such an object.
func (r *request) unmatched(in *resource.Origin, target *types.Selector, file string) {
	if !plain.MatchString(target.Name) {
		return
	}
	place := r.Path
	if in != nil {
		place = path.Join(r.Path, in.ConfiguredIn)
	}
	if slices.ContainsFunc(r.Overrides.Patches, func(p types.Patch) bool {
		return p.Target != nil && *p.Target == *target
	}) {
		place = "spec.kustomize"
	}
	if file != "" {
		file = " " + file
	}
	object := strings.TrimSpace(target.Kind + " " + target.Name)
	if target.Namespace != "" {
		object += " of namespace " + target.Namespace
	}
	guest.Warn(fmt.Sprintf("%s: the patch%s for %s changes nothing, because its target is none of the objects: "+
		"correct the target, or take the patch out", place, file, object))
}

func build(tree filesys.FileSystem, folder string) (resmap.ResMap, error) {
	options := &krusty.Options{
		Reorder: krusty.ReorderOptionNone,
		// The host refuses paths outside of the repository, so kustomize need not.
		LoadRestrictions: types.LoadRestrictionsNone,
		PluginConfig:     types.DisabledPluginConfig(),
	}
	return krusty.MakeKustomizer(options).Run(tree, folder)
}

// explain prefers the cause that kustomize's own message hides behind its attempts.
func explain(err error, tree *files) error {
	switch {
	case tree.stopped != nil:
		return tree.stopped
	case tree.refused != nil:
		return fmt.Errorf("%w: a kustomization may use every file of its repository, and none outside", tree.refused)
	}
	return err
}

func emit(objects resmap.ResMap, folder string, strip bool) error {
	for _, object := range objects.Resources() {
		var about document
		origin, err := object.GetOrigin()
		if err != nil {
			return err
		}
		if origin != nil {
			about.File = path.Join(folder, origin.Path)
			if origin.ConfiguredIn != "" {
				about.File = path.Join(folder, origin.ConfiguredIn)
				about.Generated = origin.ConfiguredBy.Kind
			}
		}
		if strip {
			if err := object.SetOrigin(nil); err != nil {
				return err
			}
		}
		body, err := object.AsYAML()
		if err != nil {
			return err
		}
		if err := guest.Emit(about, body); err != nil {
			return err
		}
	}
	return nil
}

func isKustomization(name string) bool {
	return slices.Contains(konfig.RecognizedKustomizationFileNames(), path.Base(name))
}

// refuse finds features that a renderer does not support before kustomize tries them.
func refuse(name string, content []byte) error {
	var k types.Kustomization
	if err := k.Unmarshal(content); err != nil {
		return nil // kustomize says it with line and field
	}
	k.FixKustomization()
	name = guest.Relative(name)
	if len(k.HelmCharts) > 0 {
		return fmt.Errorf("%s: helmCharts is not supported: give the chart a Sync of its own", name)
	}
	for _, reference := range references(&k) {
		if isRemote(reference) {
			return fmt.Errorf("%s: %q is not in the repository, and a renderer has no network: "+
				"copy it into the repository and name its path here", name, reference)
		}
	}
	return nil
}

// references are all paths of a kustomization that kustomize could also download.
func references(k *types.Kustomization) []string {
	all := slices.Concat(
		k.Resources, k.Components, k.Crds, k.Configurations, k.Generators, k.Transformers, k.Validators,
	)
	for _, patch := range k.Patches {
		all = append(all, patch.Path)
	}
	for _, replacement := range k.Replacements {
		all = append(all, replacement.Path)
	}
	return append(all, k.OpenAPI["path"])
}

// isRemote reports whether kustomize would clone or download the reference.
func isRemote(reference string) bool {
	if strings.Contains(reference, "\n") {
		return false // written in place
	}
	lower := strings.TrimPrefix(strings.ToLower(reference), "git::")
	for _, prefix := range []string{"http://", "https://", "ssh://", "file://", "github.com/", "github.com:"} {
		if strings.HasPrefix(lower, prefix) {
			return true
		}
	}
	user, rest, found := strings.Cut(lower, "@")
	return found && !strings.Contains(user, "/") && strings.Contains(rest, ":")
}
