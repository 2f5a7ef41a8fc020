//! Caps that keep a hostile text harmless.

use serde::{Deserialize, Serialize};

/// Caps on one text. Each has a setting of the same name in the `[limits]` table of the configuration, and the error
/// that a cap leads to names it.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Size of the text in bytes.
    pub bytes: usize,
    /// Nesting of lists and maps.
    pub depth: usize,
    /// Scalars, lists and maps, after aliases are followed.
    pub nodes: usize,
    /// Uses of aliases and merge keys.
    pub aliases: usize,
    /// Bytes of text after aliases are followed, and again after interpolation and after a matrix is applied.
    pub expanded_bytes: usize,
    /// Jobs of one text, every step that is no command being one (`spec/pipeline.md` 1.21).
    pub jobs: usize,
    /// Jobs of one matrix (`spec/pipeline.md` 1.6).
    pub matrix_jobs: usize,
    /// Dimensions of a matrix.
    pub matrix_dimensions: usize,
    /// Values of one dimension of a matrix.
    pub matrix_values: usize,
    /// Bytes of one value of a matrix.
    pub matrix_value_bytes: usize,
    /// Adjustments of a matrix.
    pub matrix_adjustments: usize,
    /// Bytes of one condition.
    pub condition_bytes: usize,
    /// Nesting of a condition or of an interpolation.
    pub expression_depth: usize,
    /// Steps that a regular expression may take back, per match.
    pub regex_backtracks: usize,
    /// Bytes of one glob or branch pattern.
    pub pattern_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            bytes: 1 << 20,
            depth: 64,
            nodes: 100_000,
            aliases: 10_000,
            expanded_bytes: 4 << 20,
            jobs: 500,
            matrix_jobs: 50,
            matrix_dimensions: 6,
            matrix_values: 25,
            matrix_value_bytes: 128,
            matrix_adjustments: 12,
            condition_bytes: 8 << 10,
            expression_depth: 64,
            regex_backtracks: 100_000,
            pattern_bytes: 1 << 10,
        }
    }
}

impl Limits {
    /// The most that each cap may be set to: what still leaves the stack of a thread and the memory of a machine
    /// whole. Also for whoever reads a text without knowing the configuration that will judge it.
    pub const CEILING: Self = Self {
        bytes: 16 << 20,
        depth: 256,
        nodes: 4_000_000,
        aliases: 1_000_000,
        expanded_bytes: 256 << 20,
        jobs: 10_000,
        matrix_jobs: 10_000,
        matrix_dimensions: 64,
        matrix_values: 10_000,
        matrix_value_bytes: 64 << 10,
        matrix_adjustments: 10_000,
        condition_bytes: 256 << 10,
        expression_depth: 256,
        regex_backtracks: 100_000_000,
        pattern_bytes: 64 << 10,
    };

    /// How to raise a cap, for the help line of the error it led to.
    pub(crate) fn raise(setting: &str) -> String {
        format!("the cap is `{setting}` in the `[limits]` table of the configuration")
    }
}
