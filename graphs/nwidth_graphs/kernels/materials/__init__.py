"""Constitutive laws, vectorised over points and draws: strain, old state, temperature, dt -> stress, tangent, new state.

    Law                protocol   the one interface, also of laws for other physics
    LinearElastic      elastic    Hooke's law with thermal strain
    J2Plasticity       j2         von Mises plasticity; linear, Voce and kinematic hardening
    NortonKinematic    norton     Norton flow with a threshold and nonlinear kinematic hardening
    HeatConduction     conduction conductivity k(T), heat capacity c(T)

    Curve              properties a property that depends on temperature
    tangent_defect     checking   is the tangent of a law the derivative of its stress?
    law_record         records    a law as plain names and numbers, and back

`tensors` has the arithmetic of six components; `return_mapping` the backward Euler step that `j2` and `norton` share.
"""

from nwidth_graphs.kernels.materials.checking import tangent_defect
from nwidth_graphs.kernels.materials.conduction import HeatConduction
from nwidth_graphs.kernels.materials.elastic import LinearElastic
from nwidth_graphs.kernels.materials.j2 import J2Plasticity
from nwidth_graphs.kernels.materials.norton import NortonKinematic
from nwidth_graphs.kernels.materials.properties import Curve
from nwidth_graphs.kernels.materials.protocol import Law, Response, State, zero_state
from nwidth_graphs.kernels.materials.records import law_from_record, law_record
from nwidth_graphs.kernels.materials.return_mapping import IsotropicHardening, KinematicHardening
from nwidth_graphs.kernels.materials.tensors import von_mises

__all__ = [
    "Law",
    "Response",
    "State",
    "zero_state",
    "LinearElastic",
    "J2Plasticity",
    "NortonKinematic",
    "HeatConduction",
    "IsotropicHardening",
    "KinematicHardening",
    "Curve",
    "tangent_defect",
    "law_record",
    "law_from_record",
    "von_mises",
]
