"""Independent one-machine references, written for reading: dense, slow, and sharing no code with what they judge.

- `elastoviscoplastic`: the closed-form elastoviscoplastic cube, snapshots of displacement, stress and plastic strain
- `cube_grid`: its mesh, integration points and operators
- `pod`: dense POD in any SPD inner product, and matrices of known spectrum
- `mass`: consistent mass matrices by scikit-fem, in VTK point order
"""
