"""gRPC: the only place that knows it. Bytes in, a use case of `jobs` or `watch`, bytes out."""
