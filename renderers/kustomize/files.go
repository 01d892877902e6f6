package main

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"sigs.k8s.io/kustomize/kyaml/filesys"

	"towline.dev/renderers/guest"
)

// files gives kustomize the host's tree as a file system, with some generated files in place of the
// tree's.
type files struct {
	// own holds generated files by absolute path: a kustomization that the folder lacks, or one with the
	// request's overrides.
	own map[string][]byte
	// check reads every kustomization before kustomize does.
	check func(name string, content []byte) error
	// stopped is the first error of check. kustomize would treat a file that cannot be read as absent.
	stopped error
	// refused is the first path that was refused. kustomize's own error may hide it behind others.
	refused error
}

var errReadOnly = errors.New("the repository is read-only to a renderer")

func (f *files) absolute(name string) string {
	if !path.IsAbs(name) {
		name = path.Join(guest.Root, name)
	}
	return path.Clean(name)
}

func (f *files) remember(err error) error {
	if f.refused == nil && errors.Is(err, guest.ErrOutside) {
		f.refused = err
	}
	return err
}

func (f *files) stat(name string) (guest.Info, error) {
	name = f.absolute(name)
	if _, ok := f.own[name]; ok {
		return guest.Info{Path: name}, nil
	}
	info, err := guest.Stat(name)
	return info, f.remember(err)
}

func (f *files) Exists(name string) bool {
	_, err := f.stat(name)
	return err == nil
}

func (f *files) IsDir(name string) bool {
	info, err := f.stat(name)
	return err == nil && info.IsFolder
}

func (f *files) CleanedAbs(name string) (filesys.ConfirmedDir, string, error) {
	info, err := f.stat(name)
	if err != nil {
		return "", "", err
	}
	if info.IsFolder {
		return filesys.ConfirmedDir(info.Path), "", nil
	}
	return filesys.ConfirmedDir(path.Dir(info.Path)), path.Base(info.Path), nil
}

func (f *files) ReadFile(name string) ([]byte, error) {
	name = f.absolute(name)
	content, ok := f.own[name]
	if !ok {
		var err error
		content, err = guest.Read(name)
		if err != nil {
			return nil, f.remember(err)
		}
	}
	if f.check != nil && isKustomization(name) {
		if err := f.check(name, content); err != nil {
			f.stopped = cmp.Or(f.stopped, err)
			return nil, err
		}
	}
	return content, nil
}

func (f *files) ReadDir(name string) ([]string, error) {
	entries, err := guest.List(f.absolute(name))
	if err != nil {
		return nil, f.remember(err)
	}
	names := make([]string, 0, len(entries))
	for _, entry := range entries {
		names = append(names, entry.Name)
	}
	return names, nil
}

// Glob supports patterns in the last part of the path, where users write them. A pattern in a folder's
// name is matched one folder at a time.
func (f *files) Glob(pattern string) ([]string, error) {
	if _, err := path.Match(pattern, ""); err != nil {
		return nil, err
	}
	absolute := f.absolute(pattern)
	found := []string{"/"}
	for _, part := range strings.Split(strings.TrimPrefix(absolute, "/"), "/") {
		var next []string
		for _, folder := range found {
			next = append(next, f.matches(folder, part)...)
		}
		found = next
	}
	return found, nil
}

func (f *files) matches(folder, pattern string) []string {
	if !strings.ContainsAny(pattern, `*?[\`) {
		name := path.Join(folder, pattern)
		if name == guest.Root || f.Exists(name) {
			return []string{name}
		}
		return nil
	}
	names, err := f.ReadDir(folder)
	if err != nil {
		return nil
	}
	var found []string
	for _, name := range names {
		if ok, _ := path.Match(pattern, name); ok {
			found = append(found, path.Join(folder, name))
		}
	}
	return found
}

func (f *files) Walk(root string, visit filepath.WalkFunc) error {
	info, err := f.stat(root)
	if err != nil {
		return visit(root, nil, err)
	}
	err = f.walk(root, info.IsFolder, visit)
	if errors.Is(err, filepath.SkipDir) || errors.Is(err, filepath.SkipAll) {
		return nil
	}
	return err
}

func (f *files) walk(name string, isFolder bool, visit filepath.WalkFunc) error {
	if err := visit(name, named{path.Base(name), isFolder}, nil); err != nil || !isFolder {
		return err
	}
	entries, err := guest.List(f.absolute(name))
	if err != nil {
		return visit(name, named{path.Base(name), isFolder}, f.remember(err))
	}
	for _, entry := range entries {
		err := f.walk(path.Join(name, entry.Name), entry.IsFolder, visit)
		if errors.Is(err, filepath.SkipDir) {
			if entry.IsFolder {
				continue
			}
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (f *files) Open(name string) (filesys.File, error) {
	content, err := f.ReadFile(name)
	if err != nil {
		return nil, err
	}
	memory := filesys.MakeFsInMemory()
	if err := memory.WriteFile(name, content); err != nil {
		return nil, err
	}
	return memory.Open(name)
}

func (f *files) Create(string) (filesys.File, error) { return nil, errReadOnly }
func (f *files) Mkdir(string) error                  { return errReadOnly }
func (f *files) MkdirAll(string) error               { return errReadOnly }
func (f *files) RemoveAll(string) error              { return nil }
func (f *files) WriteFile(string, []byte) error      { return errReadOnly }

// named is the file information of a walk.
type named struct {
	name     string
	isFolder bool
}

func (n named) Name() string       { return n.name }
func (n named) Size() int64        { return 0 }
func (n named) ModTime() time.Time { return time.Time{} }
func (n named) IsDir() bool        { return n.isFolder }
func (n named) Sys() any           { return nil }
func (n named) Mode() fs.FileMode {
	if n.isFolder {
		return fs.ModeDir | 0o755
	}
	return 0o644
}

var _ os.FileInfo = named{}
var _ filesys.FileSystem = &files{}

func (f *files) String() string { return fmt.Sprintf("tree at %s", guest.Root) }
