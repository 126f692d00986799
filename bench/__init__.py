"""The figures of the design (P1 to P10), what waiting and working cost (I1, W1), measured. No test asserts them."""
