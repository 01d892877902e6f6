// Package rest stands in for client-go's.
package rest

// Config is never made: a renderer has no connection.
type Config struct{}
