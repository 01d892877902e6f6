// Package dynamic stands in for client-go's.
package dynamic

import (
	"context"
	"errors"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
)

// ResourceInterface declares the methods that Helm's lookup calls.
type ResourceInterface interface {
	Get(ctx context.Context, name string, options metav1.GetOptions, subresources ...string) (*unstructured.Unstructured, error)
	List(ctx context.Context, options metav1.ListOptions) (*unstructured.UnstructuredList, error)
}

// NamespaceableResourceInterface declares the methods that Helm's lookup calls.
type NamespaceableResourceInterface interface {
	Namespace(string) ResourceInterface
	ResourceInterface
}

// DynamicClient is never created.
type DynamicClient struct{}

// NewForConfig returns an error.
func NewForConfig(*rest.Config) (*DynamicClient, error) {
	return nil, errors.New("a renderer has no connection to a cluster")
}

// Resource returns nothing.
func (*DynamicClient) Resource(schema.GroupVersionResource) NamespaceableResourceInterface {
	return nil
}
