"""The contract, generated from protos/jobwire/v1: messages and stubs."""
