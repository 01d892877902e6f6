// Renders Jsonnet for towline: an example of a renderer of your own.
//
// The path of the Sync is a file, or a folder with main.jsonnet. Imports are looked up beside the file that imports
// them, then in the folder vendor at the root of the repository. Each parameter of the Sync is an external variable
// (std.extVar). The result is an object of Kubernetes, or an array or an object of such results.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"

	"github.com/google/go-jsonnet"

	"towline.dev/renderers/guest"
)

// request is what towline asks.
type request struct {
	Path       string            `json:"path"`
	Parameters map[string]string `json:"parameters"`
}

// document is what towline is told about a document.
type document struct {
	File string `json:"file"`
}

// The compiler takes a snapshot after this, so that no render starts from nothing.
func init() {
	if _, err := jsonnet.MakeVM().EvaluateAnonymousSnippet("warm-up", "std.length([])"); err != nil {
		panic(err)
	}
}

func main() {}

//go:wasmexport render
func render() {
	var r request
	guest.Serve(&r, r.render)
}

func (r *request) render() error {
	file := guest.Abs(r.Path)
	info, err := guest.Stat(file)
	if err != nil {
		return err
	}
	if info.IsFolder {
		file = path.Join(file, "main.jsonnet")
	}
	vm := jsonnet.MakeVM()
	vm.Importer(&importer{read: map[string]jsonnet.Contents{}})
	for name, value := range r.Parameters {
		vm.ExtVar(name, value)
	}
	text, err := vm.EvaluateFile(file)
	if err != nil {
		return err
	}
	var result any
	if err := json.Unmarshal([]byte(text), &result); err != nil {
		return err
	}
	return emit(guest.Relative(file), "the result", result)
}

// emit passes on what is an object of Kubernetes, and looks for such objects in all else.
func emit(file, place string, value any) error {
	switch value := value.(type) {
	case []any:
		for i, item := range value {
			if err := emit(file, fmt.Sprintf("%s[%d]", place, i), item); err != nil {
				return err
			}
		}
		return nil
	case map[string]any:
		if value["apiVersion"] != nil && value["kind"] != nil {
			body, err := json.Marshal(value)
			if err != nil {
				return err
			}
			return guest.Emit(document{File: file}, body)
		}
		// In the same order each time.
		names := make([]string, 0, len(value))
		for name := range value {
			names = append(names, name)
		}
		slices.Sort(names)
		for _, name := range names {
			if err := emit(file, place+"."+name, value[name]); err != nil {
				return err
			}
		}
		return nil
	default:
		return fmt.Errorf("%s: %s is no object of Kubernetes: it has no apiVersion and kind", file, place)
	}
}

// importer reads the files of the repository.
type importer struct {
	// Jsonnet asks for the same contents each time that a file is imported.
	read map[string]jsonnet.Contents
}

func (i *importer) Import(from, name string) (jsonnet.Contents, string, error) {
	places := []string{name}
	if !path.IsAbs(name) {
		places = []string{path.Join(path.Dir(from), name), guest.Abs(path.Join("vendor", name))}
	}
	for _, place := range places {
		if contents, ok := i.read[place]; ok {
			return contents, place, nil
		}
		text, err := guest.Read(place)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return jsonnet.Contents{}, "", err
		}
		i.read[place] = jsonnet.MakeContentsRaw(text)
		return i.read[place], place, nil
	}
	return jsonnet.Contents{}, "", fmt.Errorf("%q is neither beside %s nor in the folder vendor", name, guest.Relative(from))
}
