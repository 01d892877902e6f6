// Package rest stands in for client-go's.
package rest

// Config is never created: a renderer has no connection.
type Config struct{}
