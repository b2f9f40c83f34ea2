// Package ext takes the place of one that is in Traefik's repository only: types to which others may add.
package ext

// HTTP adds nothing to the configuration of HTTP.
type HTTP struct{}

// Router adds nothing to a router.
type Router struct{}
