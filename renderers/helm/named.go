package main

import (
	"io/fs"
	"time"

	"towline.dev/renderers/guest"
)

// named is a file for `.helmignore` rules, which read only the name and the kind.
type named struct{ entry guest.Entry }

func (n named) Name() string       { return n.entry.Name }
func (n named) Size() int64        { return 0 }
func (n named) ModTime() time.Time { return time.Time{} }
func (n named) IsDir() bool        { return n.entry.IsFolder }
func (n named) Sys() any           { return nil }
func (n named) Mode() fs.FileMode {
	if n.entry.IsFolder {
		return fs.ModeDir | 0o755
	}
	return 0o644
}
