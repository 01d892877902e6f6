// Renders a chart with Helm's own loader and engine, for towline's sandbox.
package main

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand"
	"path"
	"regexp"
	"runtime"
	"slices"
	"sort"
	"strconv"
	"strings"

	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	"helm.sh/helm/v4/pkg/chart/loader/archive"
	chart "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	chartutil "helm.sh/helm/v4/pkg/chart/v2/util"
	"helm.sh/helm/v4/pkg/engine"
	"helm.sh/helm/v4/pkg/ignore"
	release "helm.sh/helm/v4/pkg/release/v1"
	releaseutil "helm.sh/helm/v4/pkg/release/v1/util"
	"sigs.k8s.io/yaml"

	"towline.dev/renderers/guest"
)

// request is the host's request.
type request struct {
	// Path of the chart, from the repository's root.
	Path string `json:"path"`
	// Release is the value of .Release in templates.
	Release releaseValues `json:"release"`
	// Values in the order in which they are merged. Later ones have precedence.
	Values []values `json:"values"`
	// KubeVersion and APIVersions of the cluster. If they are empty, Helm's defaults are used.
	KubeVersion string   `json:"kubeVersion"`
	APIVersions []string `json:"apiVersions"`
	// Seed of the random functions.
	Seed int64 `json:"seed"`
	// SkipSchemaValidation and SkipTests have the meaning of Helm's flags.
	SkipSchemaValidation bool `json:"skipSchemaValidation"`
	// SubNotes also asks for the notes of sub-charts.
	SubNotes bool `json:"subNotes"`
}

type releaseValues struct {
	Name      string `json:"name"`
	Namespace string `json:"namespace"`
	Revision  int    `json:"revision"`
	IsUpgrade bool   `json:"isUpgrade"`
}

// values come from a file of the tree, or from the request itself.
type values struct {
	File string `json:"file"`
	// Optional allows the file to be absent.
	Optional bool `json:"optional"`
	// Name is the origin of inline text, for messages.
	Name string `json:"name"`
	Text string `json:"text"`
}

// document is what the host receives about each document of the chart.
type document struct {
	// Kind is manifest, hook, unknownHook, crd, notes or chart.
	Kind string `json:"kind"`
	// File is the template, as a path that begins with the chart's name.
	File string `json:"file,omitempty"`
	Hook *hook  `json:"hook,omitempty"`
}

type hook struct {
	Events            []string `json:"events"`
	Weight            int      `json:"weight"`
	DeletePolicies    []string `json:"deletePolicies,omitempty"`
	OutputLogPolicies []string `json:"outputLogPolicies,omitempty"`
}

func main() {}

// The snapshot is taken after one chart was rendered.
func init() {
	chrt, err := loader.LoadFiles(warmUp)
	if err != nil {
		panic(err)
	}
	r := &request{Release: releaseValues{Name: "warm", Namespace: "up"}}
	if _, err := r.files(chrt, map[string]any{}); err != nil {
		panic(err)
	}
	runtime.GC()
}

//go:wasmexport render
func render() {
	var r request
	guest.Serve(&r, func() error { return r.render() })
}

func (r *request) render() error {
	// Random functions use crypto/rand, which the host seeds, or math/rand, whose state would otherwise come
	// from the snapshot. A setting in go.mod allows seeding math/rand.
	rand.Seed(r.Seed)
	if err := chartutil.ValidateReleaseName(r.Release.Name); err != nil {
		return fmt.Errorf("release name %q: %w", r.Release.Name, err)
	}
	chrt, err := load(r.Path)
	if err != nil {
		return fmt.Errorf("%s: %w", r.Path, err)
	}
	merged, err := r.merged()
	if err != nil {
		return err
	}
	if err := installable(chrt); err != nil {
		return err
	}
	files, err := r.files(chrt, merged)
	if err != nil {
		return err
	}
	return r.emit(chrt, files)
}

// installable makes the checks of the chart itself that `helm install` makes.
func installable(chrt *chart.Chart) error {
	if kind := chrt.Metadata.Type; kind != "" && kind != "application" {
		return fmt.Errorf("chart %s is of type %q, which cannot be installed", chrt.Name(), kind)
	}
	if chrt.Metadata.Deprecated {
		guest.Warn(fmt.Sprintf("chart %s is deprecated", chrt.Name()))
	}
	var missing []string
	for _, wanted := range chrt.Metadata.Dependencies {
		if !slices.ContainsFunc(chrt.Dependencies(), func(c *chart.Chart) bool { return c.Name() == wanted.Name }) {
			missing = append(missing, wanted.Name)
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("chart %s: dependencies in Chart.yaml are missing in charts/: %s. "+
			"Run `helm dependency update` and commit charts/", chrt.Name(), strings.Join(missing, ", "))
	}
	return nil
}

// merged returns the request's values, merged in Helm's order.
func (r *request) merged() (map[string]any, error) {
	merged := map[string]any{}
	for _, source := range r.Values {
		name, text := source.Name, []byte(source.Text)
		if source.File != "" {
			name = source.File
			var err error
			text, err = guest.Read(guest.Abs(source.File))
			if err != nil && source.Optional {
				continue
			}
			if err != nil {
				return nil, fmt.Errorf("values: %w", err)
			}
		}
		values, err := loader.LoadValues(bytes.NewReader(text))
		if err != nil {
			return nil, fmt.Errorf("values of %s: %w", name, err)
		}
		merged = loader.MergeMaps(merged, values)
	}
	return merged, nil
}

// files renders all templates. The result is keyed by template name.
func (r *request) files(chrt *chart.Chart, merged map[string]any) (map[string]string, error) {
	if err := chartutil.ProcessDependencies(chrt, merged); err != nil {
		return nil, fmt.Errorf("dependencies of chart %s: %w", chrt.Name(), err)
	}
	capabilities, err := r.capabilities()
	if err != nil {
		return nil, err
	}
	if wanted := chrt.Metadata.KubeVersion; wanted != "" && !chartutil.IsCompatibleRange(wanted, capabilities.KubeVersion.String()) {
		return nil, fmt.Errorf("chart %s requires Kubernetes %s, and the cluster is %s",
			chrt.Name(), wanted, capabilities.KubeVersion.Version)
	}
	options := common.ReleaseOptions{
		Name:      r.Release.Name,
		Namespace: r.Release.Namespace,
		Revision:  max(r.Release.Revision, 1),
		IsInstall: !r.Release.IsUpgrade,
		IsUpgrade: r.Release.IsUpgrade,
	}
	top, err := util.ToRenderValuesWithSchemaValidation(chrt, merged, options, capabilities, r.SkipSchemaValidation)
	if err != nil {
		return nil, err
	}
	templates := engine.Engine{CustomTemplateFuncs: map[string]any{
		"lookup":        lookups(chrt),
		"genPrivateKey": genPrivateKey,
	}}
	return templates.Render(chrt, top)
}

func (r *request) capabilities() (*common.Capabilities, error) {
	capabilities := common.DefaultCapabilities.Copy()
	if r.KubeVersion != "" {
		version, err := common.ParseKubeVersion(r.KubeVersion)
		if err != nil {
			return nil, fmt.Errorf("version %q of Kubernetes: %w", r.KubeVersion, err)
		}
		capabilities.KubeVersion = *version
	}
	if len(r.APIVersions) > 0 {
		capabilities.APIVersions = r.APIVersions
	}
	return capabilities, nil
}

var callsLookup = regexp.MustCompile(`\blookup\b`)

// lookups asks the host. The engine does not say which template calls the function. So the host receives
// the names of all templates that contain the lookup, which is usually one.
func lookups(chrt *chart.Chart) func(apiVersion, kind, namespace, name string) (map[string]any, error) {
	var callers []string
	return func(apiVersion, kind, namespace, name string) (map[string]any, error) {
		if callers == nil {
			callers = templatesWith(chrt, callsLookup)
		}
		found, err := guest.Lookup(map[string]any{
			"apiVersion": apiVersion, "kind": kind, "namespace": namespace, "name": name, "templates": callers,
		})
		if found == nil {
			found = map[string]any{}
		}
		return found, err
	}
}

func templatesWith(chrt *chart.Chart, pattern *regexp.Regexp) []string {
	var names []string
	for _, template := range chrt.Templates {
		if pattern.Match(template.Data) {
			names = append(names, path.Join(chrt.ChartFullPath(), template.Name))
		}
	}
	for _, dependency := range chrt.Dependencies() {
		names = append(names, templatesWith(dependency, pattern)...)
	}
	return names
}

const notesFile = "NOTES.txt"

func (r *request) emit(chrt *chart.Chart, files map[string]string) error {
	names := make([]string, 0, len(files))
	for name := range files {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		if !strings.HasSuffix(name, notesFile) {
			continue
		}
		if r.SubNotes || name == path.Join(chrt.Name(), "templates", notesFile) {
			if err := guest.Emit(document{Kind: "notes", File: name}, []byte(files[name])); err != nil {
				return err
			}
		}
		delete(files, name)
	}
	for _, crd := range chrt.CRDObjects() {
		if err := guest.Emit(document{Kind: "crd", File: crd.Filename}, crd.File.Data); err != nil {
			return err
		}
	}
	hooks, manifests, err := releaseutil.SortManifests(files, nil, releaseutil.InstallOrder)
	if err != nil {
		return err
	}
	for _, manifest := range manifests {
		// Helm ends each manifest of a release with one more line, which a block scalar may keep (`|+`). It reads a hook
		// without one.
		text := manifest.Content + "\n"
		if err := guest.Emit(document{Kind: "manifest", File: manifest.Name}, []byte(text)); err != nil {
			return err
		}
	}
	for _, h := range hooks {
		about := hook{Weight: h.Weight}
		for _, event := range h.Events {
			about.Events = append(about.Events, event.String())
		}
		for _, policy := range h.DeletePolicies {
			about.DeletePolicies = append(about.DeletePolicies, string(policy))
		}
		for _, policy := range h.OutputLogPolicies {
			about.OutputLogPolicies = append(about.OutputLogPolicies, string(policy))
		}
		if err := guest.Emit(document{Kind: "hook", File: h.Path, Hook: &about}, []byte(h.Manifest)); err != nil {
			return err
		}
	}
	return misspelt(files)
}

// events of hooks that Helm knows. Helm's own list is private.
var events = map[string]bool{
	release.HookPreInstall.String(): true, release.HookPostInstall.String(): true,
	release.HookPreDelete.String(): true, release.HookPostDelete.String(): true,
	release.HookPreUpgrade.String(): true, release.HookPostUpgrade.String(): true,
	release.HookPreRollback.String(): true, release.HookPostRollback.String(): true,
	release.HookTest.String(): true, "test-success": true,
}

// misspelt emits each object with a hook event that Helm does not know, and only such events. Helm leaves out the object and
// says nothing, so that a typing mistake switches a hook off. SortManifests has read all files before.
func misspelt(files map[string]string) error {
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if strings.HasPrefix(path.Base(name), "_") || !strings.Contains(files[name], release.HookAnnotation) {
			continue
		}
		entries := releaseutil.SplitManifests(files[name])
		keys := slices.Collect(maps.Keys(entries))
		sort.Sort(releaseutil.BySplitManifestsOrder(keys))
		for _, key := range keys {
			unknown, weight := odd(entries[key])
			if weight != "" {
				guest.Warn(fmt.Sprintf("%s: the annotation %s %q is no number: Helm takes 0", name, release.HookWeightAnnotation, weight))
			}
			if len(unknown) == 0 {
				continue
			}
			about := document{Kind: "unknownHook", File: name, Hook: &hook{Events: unknown}}
			if err := guest.Emit(about, []byte(entries[key])); err != nil {
				return err
			}
		}
	}
	return nil
}

// odd returns the events of a hook that Helm does not know, and a weight that is no number.
func odd(manifest string) (unknown []string, weight string) {
	var head releaseutil.SimpleHead
	if err := yaml.Unmarshal([]byte(manifest), &head); err != nil || head.Metadata == nil {
		return nil, ""
	}
	annotations := head.Metadata.Annotations
	all, isHook := annotations[release.HookAnnotation]
	if !isHook {
		return nil, ""
	}
	for event := range strings.SplitSeq(all, ",") {
		event = strings.ToLower(strings.TrimSpace(event))
		if !events[event] {
			unknown = append(unknown, event)
		}
	}
	if _, err := strconv.Atoi(annotations[release.HookWeightAnnotation]); err != nil {
		weight = annotations[release.HookWeightAnnotation]
	}
	return unknown, weight
}

var utf8bom = []byte{0xEF, 0xBB, 0xBF}

// load does what Helm's LoadDir does, with the host's tree.
func load(folder string) (*chart.Chart, error) {
	root := guest.Abs(folder)
	info, err := guest.Stat(root)
	if err != nil {
		return nil, err
	}
	if !info.IsFolder {
		text, err := guest.Read(root)
		if err != nil {
			return nil, err
		}
		return loader.LoadArchive(bytes.NewReader(text))
	}
	rules := ignore.Empty()
	if text, err := guest.Read(path.Join(root, ignore.HelmIgnore)); err == nil {
		rules, err = ignore.Parse(bytes.NewReader(text))
		if err != nil {
			return nil, err
		}
	} else if errors.Is(err, guest.ErrOutside) {
		return nil, err
	}
	rules.AddDefaults()
	var files []*archive.BufferedFile
	budget := archive.MaxDecompressedChartSize
	if err := walk(root, "", rules, &budget, &files); err != nil {
		return nil, err
	}
	return loader.LoadFiles(files)
}

func walk(root, folder string, rules *ignore.Rules, budget *int64, files *[]*archive.BufferedFile) error {
	entries, err := guest.List(path.Join(root, folder))
	if err != nil {
		return err
	}
	for _, entry := range entries {
		name := path.Join(folder, entry.Name)
		if rules.Ignore(name, named{entry}) {
			continue
		}
		if entry.IsFolder {
			if err := walk(root, name, rules, budget, files); err != nil {
				return err
			}
			continue
		}
		data, err := guest.Read(path.Join(root, name))
		if err != nil {
			return err
		}
		if *budget -= int64(len(data)); *budget < 0 {
			return fmt.Errorf("the chart's files are larger than %d MiB together", archive.MaxDecompressedChartSize>>20)
		}
		*files = append(*files, &archive.BufferedFile{Name: name, Data: bytes.TrimPrefix(data, utf8bom)})
	}
	return nil
}
