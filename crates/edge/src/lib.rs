//! The machine-facing HTTP routes: webhook and gate.
