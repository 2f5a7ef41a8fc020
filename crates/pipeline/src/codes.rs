//! The closed list of codes that findings carry.

macro_rules! codes {
    ($($(#[$meta:meta])* $name:ident $text:literal $about:literal,)*) => {
        /// What kind of finding it is. The text is stable; scripts may rely on it.
        #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        pub enum Code {
            $(#[doc = $about] $name,)*
        }

        impl Code {
            /// Every code.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The code as findings carry it.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }

            /// What it is about, as a sentence.
            pub const fn about(self) -> &'static str {
                match self {
                    $(Self::$name => $about,)*
                }
            }
        }
    };
}

codes! {
    // The text.
    NotUtf8 "not-utf8" "The file is not UTF-8.",
    ControlCharacter "control-character" "The file holds a NUL.",
    Syntax "syntax" "The file is not YAML.",
    EmptyFile "empty-file" "The file holds nothing.",
    ExtraDocument "extra-document" "The file holds more than one YAML document; only the first is read.",
    UnknownAnchor "unknown-anchor" "An alias refers to an anchor that is not there.",
    AliasCycle "alias-cycle" "An anchor contains an alias to itself.",
    BadMerge "bad-merge" "`<<` is given something that is no map.",
    BadKey "bad-key" "The key of a map is a list, a map or nothing.",
    DuplicateKey "duplicate-key" "A map has the same key twice.",
    // Caps.
    TooLarge "too-large" "The text is larger than the cap, as it is or after aliases, interpolation or a matrix.",
    TooDeep "too-deep" "Lists, maps or expressions are nested deeper than the cap.",
    TooManyNodes "too-many-nodes" "The file holds more values than the cap.",
    TooManyAliases "too-many-aliases" "The file uses more aliases than the cap.",
    TooManyJobs "too-many-jobs" "The file makes more jobs than the cap.",
    MatrixTooLarge "matrix-too-large" "A matrix is larger than one of its caps.",
    PatternTooLong "pattern-too-long" "A glob, a branch pattern or a condition is longer than the cap.",
    // Interpolation.
    Interpolation "interpolation" "A text with `$` cannot be interpolated.",
    RequiredVariable "required-variable" "A `${NAME?}` has no value.",
    // Shape.
    BadPipeline "bad-pipeline" "The file is neither a map with `steps` nor a list of steps.",
    NoSteps "no-steps" "The file has no steps.",
    BadStep "bad-step" "A step is neither a map nor one of the words that make one.",
    UnknownStep "unknown-step" "A step has none of the attributes that tell its kind.",
    MixedStep "mixed-step" "A step has attributes that tell two kinds.",
    NestedGroup "nested-group" "A group stands in a group.",
    EmptyGroup "empty-group" "A group has no steps.",
    NoCommand "no-command" "A command step has neither a command nor plugins.",
    BadType "bad-type" "An attribute has a value of the wrong type.",
    BadValue "bad-value" "An attribute has a value that is not allowed.",
    MissingAttribute "missing-attribute" "An attribute that the step needs is missing.",
    ConflictingAttributes "conflicting-attributes" "Two attributes exclude each other, or one needs another.",
    DuplicateAttribute "duplicate-attribute" "An attribute is given under two of its names.",
    UnknownAttribute "unknown-attribute" "An attribute is not known; it is kept and has no effect.",
    Unsupported "unsupported" "An attribute is accepted but not yet acted on.",
    // Keys and dependencies.
    BadStepKey "bad-step-key" "The key of a step is not well formed.",
    DuplicateStepKey "duplicate-step-key" "Two steps have the same key.",
    UnknownDependency "unknown-dependency" "`depends_on` names a key that no step of the file has.",
    DependencyCycle "dependency-cycle" "Steps depend on each other in a circle.",
    UselessDependency "useless-dependency" "A dependency changes nothing.",
    // Conditions.
    BadCondition "bad-condition" "A condition is malformed or does not fit its variables.",
    ConditionFailed "condition-failed" "A condition could not be evaluated.",
    ConstantCondition "constant-condition" "A condition is true or false whatever the build.",
    InvisibleVariable "invisible-variable" "A condition reads a variable that it cannot see.",
    BadPattern "bad-pattern" "A glob or a branch pattern is malformed.",
    // Matrix.
    BadMatrix "bad-matrix" "A matrix is malformed.",
    BadAdjustment "bad-adjustment" "An adjustment does not fit its matrix.",
    UnknownDimension "unknown-dimension" "A `{{matrix…}}` names a dimension that is not there.",
    UnusedDimension "unused-dimension" "A dimension of a matrix is used nowhere, so jobs are equal.",
    MatrixNotReplaced "matrix-not-replaced" "A `{{matrix}}` stands where it is not replaced.",
    LargeMatrix "large-matrix" "A matrix makes many jobs.",
    // Traps.
    EatenDollar "eaten-dollar" "A `$` is replaced when the file is read, where the shell was meant to see it.",
    Reformatted "reformatted" "A number is not kept as it was written.",
    RetryNeverMatches "retry-never-matches" "A retry rule cannot match.",
    BoolLikeText "bool-like-text" "A text looks like a boolean and is none, or the other way round.",
    IgnoredWait "ignored-wait" "A `wait` next to a `block` is ignored.",
    BranchPattern "branch-pattern" "A branch filter cannot match as written.",
    AgentsReplaced "agents-replaced" "A step's `agents` replace the whole default block.",
    MoreFindings "more-findings" "There are more findings than are listed.",
    OpenPoint "open-point" "The meaning is not settled elsewhere; our decision applies.",
}

impl std::fmt::Display for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}
