// Package guest is the contract between a renderer and towline: files in, documents out.
//
// A renderer is a WASI reactor (GOOS=wasip1, -buildmode=c-shared) that exports `render`. The host calls
// `render` once on a new instance. Every function below calls the host. The host records each path that
// the renderer asks for, including absent ones. These answers are the key of the render.
package guest

import (
	"encoding/json"
	"errors"
	"io/fs"
	"path"
	"runtime/debug"
	"strings"
	"unsafe"
)

// Root is the folder of the tree of files. It is not "/", because a path that climbs above the tree must
// be refused, and ".." of "/" is "/".
const Root = "/repository"

//go:wasmimport towline request
func hostRequest() uint32

// The size of the resolved path, shifted left by one, and 1 for a folder.
//
//go:wasmimport towline stat
func hostStat(path string) int64

//go:wasmimport towline read
func hostRead(path string) int64

//go:wasmimport towline list
func hostList(path string) int64

//go:wasmimport towline lookup
func hostLookup(query string) int64

//go:wasmimport towline prime
func hostPrime(bits uint32) int64

//go:wasmimport towline take
func hostTake(to unsafe.Pointer, size uint32)

//go:wasmimport towline emit
func hostEmit(meta string, body unsafe.Pointer, bodySize uint32)

//go:wasmimport towline warn
func hostWarn(text string)

//go:wasmimport towline fail
func hostFail(text string)

// Error codes that the host returns in place of a size.
const (
	absent   = -1
	outside  = -2
	isFolder = -3
	isFile   = -4
)

// ErrOutside is the answer to a path, or a symbolic link, that leads out of the tree.
var ErrOutside = errors.New("the path, or a symbolic link in it, leads out of the repository or nowhere")

// ErrIsFolder is the answer to reading a folder.
var ErrIsFolder = errors.New("is a directory")

// ErrIsFile is the answer to listing a file.
var ErrIsFile = errors.New("is not a directory")

func failure(op, name string, code int64) error {
	cause := error(fs.ErrNotExist)
	switch code {
	case outside:
		cause = ErrOutside
	case isFolder:
		cause = ErrIsFolder
	case isFile:
		cause = ErrIsFile
	}
	return &fs.PathError{Op: op, Path: name, Err: cause}
}

func take(size uint32) []byte {
	if size == 0 {
		return []byte{}
	}
	answer := make([]byte, size)
	hostTake(unsafe.Pointer(&answer[0]), size)
	return answer
}

// Info describes the file or folder at a path.
type Info struct {
	// IsFolder is false for a file.
	IsFolder bool
	// Path has all symbolic links resolved.
	Path string
}

// Stat describes an absolute path. It follows symbolic links.
func Stat(name string) (Info, error) {
	code := hostStat(name)
	if code < 0 {
		return Info{}, failure("stat", name, code)
	}
	return Info{IsFolder: code&1 == 1, Path: string(take(uint32(code >> 1)))}, nil
}

// Read returns the content of a file.
func Read(name string) ([]byte, error) {
	size := hostRead(name)
	if size < 0 {
		return nil, failure("open", name, size)
	}
	return take(uint32(size)), nil
}

// Entry is a name in a folder.
type Entry struct {
	Name     string
	IsFolder bool
}

// List returns what is in a folder, sorted by name.
func List(name string) ([]Entry, error) {
	size := hostList(name)
	if size < 0 {
		return nil, failure("open", name, size)
	}
	text := string(take(uint32(size)))
	var entries []Entry
	for text != "" {
		var line string
		line, text, _ = strings.Cut(text, "\x00")
		trimmed := strings.TrimSuffix(line, "/")
		entries = append(entries, Entry{Name: trimmed, IsFolder: trimmed != line})
	}
	return entries, nil
}

// Lookup asks for an object of the cluster. The answer is nil if the host has none.
func Lookup(query any) (map[string]any, error) {
	text, err := json.Marshal(query)
	if err != nil {
		return nil, err
	}
	size := hostLookup(string(text))
	if size <= 0 {
		return nil, nil
	}
	var answer map[string]any
	err = json.Unmarshal(take(uint32(size)), &answer)
	return answer, err
}

// Prime is a random prime with so many bits, of which the first two are set. It is big-endian. The host finds it many times
// quicker than Go does in WebAssembly.
func Prime(bits uint32) []byte { return take(uint32(hostPrime(bits))) }

// Emit passes one document to the host.
func Emit(meta any, body []byte) error {
	text, err := json.Marshal(meta)
	if err != nil {
		return err
	}
	hostEmit(string(text), unsafe.Pointer(unsafe.SliceData(body)), uint32(len(body)))
	return nil
}

// Warn reports a problem that users should know, although the render succeeds.
func Warn(text string) { hostWarn(Relative(text)) }

// Abs is the absolute path of a path from the root of the tree.
func Abs(name string) string { return path.Join(Root, name) }

// Relative removes Root from a text for users.
func Relative(text string) string {
	text = strings.ReplaceAll(text, Root+"/", "")
	return strings.ReplaceAll(text, Root, ".")
}

// Limits are part of every request, in addition to the renderer's own fields.
type Limits struct {
	// Memory in bytes that the garbage collector tries not to exceed.
	Memory int64 `json:"memory"`
}

// Decode reads a request as Serve does. A renderer calls it before the snapshot, so that the decoder knows the type.
func Decode(text []byte, request any) error {
	_, err := decode(text, request)
	return err
}

func decode(text []byte, request any) (Limits, error) {
	var limits struct {
		Limits Limits `json:"limits"`
	}
	if err := json.Unmarshal(text, &limits); err != nil {
		return Limits{}, err
	}
	return limits.Limits, json.Unmarshal(text, request)
}

// Serve runs one render: it reads the request into `request` and reports the error of `render`.
func Serve(request any, render func() error) {
	limits, err := decode(take(hostRequest()), request)
	if err != nil {
		hostFail("the request: " + err.Error())
		return
	}
	if limits.Memory > 0 {
		debug.SetMemoryLimit(limits.Memory)
	}
	// Most renders end before the first collection. The memory limit bounds those that grow.
	debug.SetGCPercent(400)
	if err := render(); err != nil {
		hostFail(Relative(err.Error()))
	}
}
