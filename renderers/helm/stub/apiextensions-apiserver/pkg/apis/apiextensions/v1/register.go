// Package v1 stands in for apiextensions-apiserver's.
package v1

import "k8s.io/client-go/kubernetes/scheme"

// AddToScheme does nothing: the stand-in's list has apiextensions.k8s.io/v1 already.
func AddToScheme(*scheme.Versions) error { return nil }
