// Package kubernetes stands in for client-go's, which Helm imports only to have it in its build info.
package kubernetes
