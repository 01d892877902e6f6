// Package discovery stands in for client-go's.
package discovery

import (
	"errors"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
)

// DiscoveryClient is never created.
type DiscoveryClient struct{}

// NewDiscoveryClientForConfig returns an error.
func NewDiscoveryClientForConfig(*rest.Config) (*DiscoveryClient, error) {
	return nil, errors.New("a renderer has no connection to a cluster")
}

// ServerResourcesForGroupVersion returns an error.
func (*DiscoveryClient) ServerResourcesForGroupVersion(string) (*metav1.APIResourceList, error) {
	return nil, errors.New("a renderer has no connection to a cluster")
}
