//go:build ignore

// This file is copied into kustomize's own module, beside its test harness.

package kusttest_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"

	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/api/types"
)

var recorded atomic.Int32

// record writes the files of a case to $GOLDEN, with kustomize's result under towline's options.
func (th Harness) record(path string) {
	golden := os.Getenv("GOLDEN")
	if golden == "" || fmt.Sprintf("%T", th.fSys) != "*filesys.fsNode" {
		return
	}
	name := strings.NewReplacer("/", "_", " ", "_").Replace(th.t.Name())
	folder := filepath.Join(golden, fmt.Sprintf("%s-%d", name, recorded.Add(1)))
	write := func(name string, text []byte) {
		name = filepath.Join(folder, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o777); err != nil {
			th.t.Fatal(err)
		}
		if err := os.WriteFile(name, text, 0o666); err != nil {
			th.t.Fatal(err)
		}
	}
	err := th.fSys.Walk("/", func(file string, info os.FileInfo, err error) error {
		if err != nil || info.IsDir() {
			return err
		}
		text, err := th.fSys.ReadFile(file)
		if err == nil {
			write(filepath.Join("files", file), text)
		}
		return err
	})
	if err != nil {
		th.t.Fatal(err)
	}
	write("path", []byte(filepath.Clean("/"+path)))
	o := *krusty.MakeDefaultOptions()
	o.LoadRestrictions = types.LoadRestrictionsNone
	m, err := krusty.MakeKustomizer(&o).Run(th.fSys, path)
	if err != nil {
		write("error", []byte(err.Error()))
		return
	}
	text, err := m.AsYaml()
	if err != nil {
		th.t.Fatal(err)
	}
	write("expected.yaml", text)
}
