"""The figures of the design (P1 to P7), measured; `make bench` runs them all. No test asserts them."""
