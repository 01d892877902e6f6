// Package v1beta1 stands in for apiextensions-apiserver's.
package v1beta1

import "k8s.io/client-go/kubernetes/scheme"

// AddToScheme does nothing: the stand-in's list has apiextensions.k8s.io/v1beta1 already.
func AddToScheme(*scheme.Versions) error { return nil }
