// Package kubernetes stands in for client-go's. Helm imports it only for the version in its build info.
package kubernetes
