package main

import (
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"sigs.k8s.io/kustomize/api/konfig"
	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/yaml"

	"towline.dev/renderers/guest"
)

// overrides are `spec.kustomize` of a Sync. Fields and meaning are those of Flux's Kustomization, as
// fluxcd/pkg/kustomize merges them into the file.
type overrides struct {
	Namespace  string `json:"namespace"`
	NamePrefix string `json:"namePrefix"`
	NameSuffix string `json:"nameSuffix"`
	// Patches are applied after those of the file.
	Patches []types.Patch `json:"patches"`
	// Components are paths relative to the folder.
	Components              []string `json:"components"`
	IgnoreMissingComponents bool     `json:"ignoreMissingComponents"`
	// Images replace the file's values for the same image, field by field.
	Images []types.Image `json:"images"`
	// Replicas replace the file's value for the same name.
	Replicas []types.Replica `json:"replicas"`
}

// plan describes the kustomization that kustomize reads in the folder.
type plan struct {
	// name and content of the generated kustomization. Empty if the folder's own file is used.
	name    string
	content []byte
}

// plan reads the kustomization only if it is changed.
func (r *request) plan(tree *files) (plan, error) {
	if r.Kustomization == "" && r.Overrides.isEmpty() {
		return plan{}, nil
	}
	name, content := r.find(tree)
	var k types.Kustomization
	if name == "" || k.Unmarshal(content) != nil {
		// kustomize itself reports a missing, duplicate or malformed file.
		return plan{}, nil
	}
	made := plan{name: name, content: content}
	changed, err := r.Overrides.apply(&k, guest.Abs(r.Path), tree)
	if changed && err == nil {
		made.content, err = yaml.Marshal(k)
	}
	return made, err
}

// find returns the only kustomization of the folder, or an empty name.
func (r *request) find(tree *files) (string, []byte) {
	folder := guest.Abs(r.Path)
	if r.Kustomization != "" {
		return path.Join(folder, konfig.DefaultKustomizationFileName()), []byte(r.Kustomization)
	}
	var found string
	var content []byte
	for _, name := range konfig.RecognizedKustomizationFileNames() {
		text, err := tree.ReadFile(path.Join(folder, name))
		if err != nil {
			continue
		}
		if found != "" {
			return "", nil
		}
		found, content = path.Join(folder, name), text
	}
	return found, content
}

func (o *overrides) isEmpty() bool {
	return o.Namespace == "" && o.NamePrefix == "" && o.NameSuffix == "" &&
		len(o.Patches)+len(o.Components)+len(o.Images)+len(o.Replicas) == 0
}

// apply reports whether it changed anything.
func (o *overrides) apply(k *types.Kustomization, folder string, tree *files) (bool, error) {
	if o.isEmpty() {
		return false, nil
	}
	set(&k.Namespace, o.Namespace)
	set(&k.NamePrefix, o.NamePrefix)
	set(&k.NameSuffix, o.NameSuffix)
	k.Patches = append(k.Patches, o.Patches...)
	for _, component := range o.Components {
		if filepath.IsAbs(component) || isRemote(component) || strings.Contains(component, "://") {
			return false, fmt.Errorf("component %q: must be a path relative to the kustomization", component)
		}
		if o.IgnoreMissingComponents && !tree.Exists(path.Join(folder, component)) {
			continue
		}
		k.Components = append(k.Components, component)
	}
	for _, image := range o.Images {
		k.Images = mergeImage(k.Images, image)
	}
	for _, replica := range o.Replicas {
		same := func(r types.Replica) bool { return r.Name == replica.Name }
		k.Replicas = append(slices.DeleteFunc(k.Replicas, same), replica)
	}
	return true, nil
}

func set(field *string, value string) {
	if value != "" {
		*field = value
	}
}

// mergeImage keeps fields that only the file sets, as Flux does. Tag and digest together select the
// version, so setting one clears the other.
func mergeImage(images []types.Image, image types.Image) []types.Image {
	index := slices.IndexFunc(images, func(i types.Image) bool { return i.Name == image.Name })
	if index < 0 {
		return append(images, image)
	}
	set(&images[index].NewName, image.NewName)
	if image.NewTag != "" || image.Digest != "" {
		images[index].NewTag, images[index].Digest = image.NewTag, image.Digest
	}
	return images
}
