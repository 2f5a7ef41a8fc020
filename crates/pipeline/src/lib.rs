//! The pipeline language: from a file to a job graph, with diagnostics.
