// Renders a kustomization with upstream's own library, for towline's sandbox.
package main

import (
	"bytes"
	"fmt"
	"path"
	"regexp"
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
	resmap.Unmatched = r.unmatched
	return explain(r.emit(tree, guest.Emit), tree)
}

// emit builds the folder, and passes each document to `to`.
func (r *request) emit(tree filesys.FileSystem, to func(about any, body []byte) error) error {
	out := output{folder: r.Path}
	resmap.BuildMetadata = func(asked []string) []string {
		resmap.OriginsOnly = !slices.Contains(asked, types.TransformerAnnotations)
		if !r.Provenance || slices.Contains(asked, types.OriginAnnotations) {
			return asked
		}
		out.strip = true
		return append(slices.Clone(asked), types.OriginAnnotations)
	}
	objects, err := build(tree, guest.Abs(r.Path))
	if err != nil {
		return err
	}
	for _, object := range objects.Resources() {
		about, body, err := out.document(object)
		if err != nil {
			return err
		}
		if err := to(about, body); err != nil {
			return err
		}
	}
	return nil
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
	case err == nil:
		return nil
	case tree.stopped != nil:
		return tree.stopped
	case tree.refused != nil:
		return fmt.Errorf("%w: a kustomization may use every file of its repository, and none outside", tree.refused)
	}
	return err
}

func isKustomization(name string) bool {
	return slices.Contains(konfig.RecognizedKustomizationFileNames(), path.Base(name))
}

// refuse finds features that a renderer does not support before kustomize tries them.
func refuse(name string, content []byte) error {
	if !isSuspect(content) {
		return nil
	}
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

// isSuspect tells whether a kustomization may have what refuse looks for: most have not, and need not be read twice. An escape in
// YAML may be any text.
func isSuspect(content []byte) bool {
	lower := bytes.ToLower(content)
	return bytes.ContainsAny(content, `@\`) || bytes.Contains(content, []byte("://")) ||
		bytes.Contains(lower, []byte("helm")) || bytes.Contains(lower, []byte("github"))
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
