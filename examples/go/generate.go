// Package jobwire holds two programs that speak to jobwire; see README.md. The code below gen is made by `go generate`.
package jobwire

//go:generate buf generate ../../protos
