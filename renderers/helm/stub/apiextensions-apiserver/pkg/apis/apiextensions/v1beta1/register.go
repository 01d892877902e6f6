// Package v1beta1 stands in for apiextensions-apiserver's.
package v1beta1

import "k8s.io/client-go/kubernetes/scheme"

// AddToScheme does nothing: the list in the replaced scheme already has apiextensions.k8s.io/v1beta1.
func AddToScheme(*scheme.Versions) error { return nil }
