package main

import (
	"fmt"
	"path"

	"sigs.k8s.io/kustomize/api/resource"
	yaml "sigs.k8s.io/yaml/goyaml.v2"
)

// document is what the host receives about each object.
type document struct {
	// File from which the object was read, or the kustomization whose generator made it.
	File string `json:"file,omitempty"`
	// Generated is the kind of the generator, if a generator made the object.
	Generated string `json:"generated,omitempty"`
}

// output turns the objects of a build into documents.
type output struct {
	// folder of the build, from the repository's root.
	folder string
	// strip removes annotations that only towline asked for.
	strip bool
	// last is what was said of the last object, and for which annotation: objects of one file stand together.
	last       document
	lastOrigin string
}

// originKey is the annotation in which kustomize keeps where an object is from.
const originKey = "config.kubernetes.io/origin"

func (o *output) document(object *resource.Resource) (document, []byte, error) {
	if err := o.describe(object); err != nil {
		return document{}, nil, err
	}
	// Writing the object as JSON first, as AsYAML does, takes several times as long.
	if value, ok := resource.Plain(object.YNode()); ok {
		if o.strip {
			withoutOrigin(value)
		}
		body, err := yaml.Marshal(value)
		return o.last, body, err
	}
	if o.strip {
		if err := object.SetOrigin(nil); err != nil {
			return document{}, nil, err
		}
	}
	body, err := object.AsYAML()
	if err != nil {
		// Lines are those of the object, as kustomize writes it.
		err = fmt.Errorf("%s %s: %w", object.GetKind(), object.GetName(), err)
		if o.last.File != "" {
			err = fmt.Errorf("%s: %w", o.last.File, err)
		}
	}
	return o.last, body, err
}

// describe sets what is last said.
func (o *output) describe(object *resource.Resource) error {
	text := object.GetAnnotations(originKey)[originKey]
	if text != "" && text == o.lastOrigin {
		return nil
	}
	o.last, o.lastOrigin = document{}, text
	origin, err := object.GetOrigin()
	if err != nil || origin == nil {
		return err
	}
	o.last.File = path.Join(o.folder, origin.Path)
	if origin.ConfiguredIn != "" {
		o.last = document{File: path.Join(o.folder, origin.ConfiguredIn), Generated: origin.ConfiguredBy.Kind}
	}
	return nil
}

func withoutOrigin(object any) {
	fields, _ := object.(map[string]any)
	metadata, _ := fields["metadata"].(map[string]any)
	annotations, _ := metadata["annotations"].(map[string]any)
	delete(annotations, originKey)
	if annotations != nil && len(annotations) == 0 {
		delete(metadata, "annotations")
	}
}
