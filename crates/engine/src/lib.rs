//! Ports, actors and flows of Tidegate, over any adapter.
