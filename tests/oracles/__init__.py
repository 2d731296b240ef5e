"""Independent one-machine references, written for reading: dense, slow, and sharing no code with what they judge.

- `pod`: dense POD in any SPD inner product, and matrices of known spectrum
- `mass`: consistent mass matrices by scikit-fem, in VTK point order

The closed-form cube, a high-fidelity solver of its own, is `tests.cube`.
"""
