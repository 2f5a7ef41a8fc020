//! Globs of `if_changed` (`spec/pipeline.md` 1.10): `*`, `**`, `?`, `{a,b}`, `[abc]`, `[^abc]`, `\`.
//!
//! A pattern becomes a machine of states that reads a path character by character and is in many states at once, so
//! that a match costs at most the product of the two lengths, whatever the pattern.

use thiserror::Error;

/// A glob, read.
#[derive(Clone, Debug)]
pub struct Glob {
    states: Vec<State>,
    /// What every path that matches begins with: most paths are told apart by it alone.
    prefix: String,
}

/// Why a text is no glob.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum GlobError {
    /// A `{` without its `}`.
    #[error("`{{` is never closed")]
    OpenBrace,
    /// A `[` without its `]`.
    #[error("`[` is never closed")]
    OpenBracket,
    /// Braces in braces in braces, and so on.
    #[error("braces are nested more than {0} deep")]
    TooDeep(usize),
}

/// How deep braces may be nested.
const DEPTH: usize = 16;

#[derive(Clone, Debug)]
enum State {
    /// Reads one character that fits, then goes to the next state.
    One(Class),
    /// Reads any number of characters that fit, then goes to the next state.
    Many { slash: bool },
    /// Goes to each of these without reading.
    Branch(Vec<usize>),
    /// Goes there without reading.
    Jump(usize),
    /// The path matches if it ends here.
    Done,
}

#[derive(Clone, Debug)]
enum Class {
    Is(char),
    /// Any character but `/`.
    NotSlash,
    OneOf(Vec<char>),
    NoneOf(Vec<char>),
}

impl Class {
    fn fits(&self, c: char) -> bool {
        match self {
            Self::Is(wanted) => c == *wanted,
            Self::NotSlash => c != '/',
            Self::OneOf(set) => set.contains(&c),
            Self::NoneOf(set) => !set.contains(&c),
        }
    }
}

impl Glob {
    /// Reads a glob.
    ///
    /// # Errors
    ///
    /// When a brace or a bracket is not closed.
    pub fn new(pattern: &str) -> Result<Self, GlobError> {
        let mut parser =
            Parser { text: pattern.chars().collect(), at: 0, states: Vec::new(), depth: 0, slash_used: false };
        parser.sequence()?;
        parser.states.push(State::Done);
        let prefix = parser.states.iter().map_while(|state| match state {
            State::One(Class::Is(c)) => Some(*c),
            _ => None,
        });
        Ok(Self { prefix: prefix.collect(), states: parser.states })
    }

    /// Whether the whole path matches.
    pub fn matches(&self, path: &str) -> bool {
        let Some(rest) = path.strip_prefix(&self.prefix) else { return false };
        let mut now = Set::new(self.states.len());
        let mut next = Set::new(self.states.len());
        self.enter(self.prefix.chars().count(), &mut now);
        for c in rest.chars() {
            next.clear();
            for at in &now.list {
                match &self.states[*at] {
                    State::One(class) if class.fits(c) => self.enter(at + 1, &mut next),
                    State::Many { slash } if *slash || c != '/' => self.enter(*at, &mut next),
                    _ => {}
                }
            }
            if next.list.is_empty() {
                return false;
            }
            std::mem::swap(&mut now, &mut next);
        }
        now.list.iter().any(|at| matches!(self.states[*at], State::Done))
    }

    /// Adds a state and all that is reached from it without reading.
    fn enter(&self, at: usize, set: &mut Set) {
        let mut todo = vec![at];
        while let Some(at) = todo.pop() {
            if !set.add(at) {
                continue;
            }
            match &self.states[at] {
                State::Many { .. } => todo.push(at + 1),
                State::Branch(places) => todo.extend(places),
                State::Jump(place) => todo.push(*place),
                State::One(_) | State::Done => {}
            }
        }
    }
}

/// States, each once.
struct Set {
    list: Vec<usize>,
    member: Vec<bool>,
}

impl Set {
    fn new(size: usize) -> Self {
        Self { list: Vec::with_capacity(size), member: vec![false; size] }
    }

    fn add(&mut self, at: usize) -> bool {
        let new = !std::mem::replace(&mut self.member[at], true);
        if new {
            self.list.push(at);
        }
        new
    }

    fn clear(&mut self) {
        for at in self.list.drain(..) {
            self.member[at] = false;
        }
    }
}

struct Parser {
    text: Vec<char>,
    at: usize,
    states: Vec<State>,
    depth: usize,
    /// The last `/` already stands before a `**/`, so it cannot begin another.
    slash_used: bool,
}

impl Parser {
    fn peek(&self, ahead: usize) -> Option<char> {
        self.text.get(self.at + ahead).copied()
    }

    /// Up to the end, or inside braces up to a `,` or `}`.
    fn sequence(&mut self) -> Result<(), GlobError> {
        let begin = self.at;
        while let Some(c) = self.peek(0) {
            match c {
                ',' | '}' if self.depth > 0 => return Ok(()),
                '\\' if self.peek(1).is_some() => {
                    self.at += 1;
                    let c = self.text[self.at];
                    self.one(Class::Is(c));
                }
                '*' if self.peek(1) == Some('*') => {
                    // `**/` at the beginning or after a `/` stands for no directory as well.
                    let after_slash = self.at > begin && self.text[self.at - 1] == '/' && !self.slash_used;
                    let first = self.at == 0 && self.depth == 0;
                    if self.peek(2) == Some('/') && (first || after_slash) {
                        let branch = self.states.len();
                        self.states.push(State::Branch(vec![branch + 1, branch + 3]));
                        self.states.push(State::Many { slash: true });
                        self.states.push(State::One(Class::Is('/')));
                        self.at += 3;
                        self.slash_used = true;
                        continue;
                    }
                    self.states.push(State::Many { slash: true });
                    self.at += 1;
                }
                '*' => self.states.push(State::Many { slash: false }),
                '?' => self.one(Class::NotSlash),
                '{' => self.braces()?,
                '[' => self.brackets()?,
                c => self.one(Class::Is(c)),
            }
            self.slash_used = false;
            self.at += 1;
        }
        Ok(())
    }

    fn one(&mut self, class: Class) {
        self.states.push(State::One(class));
    }

    /// From a `{` to its `}`, which is left to be read.
    fn braces(&mut self) -> Result<(), GlobError> {
        if self.depth >= DEPTH {
            return Err(GlobError::TooDeep(DEPTH));
        }
        self.depth += 1;
        let branch = self.states.len();
        self.states.push(State::Branch(Vec::new()));
        let (mut begins, mut ends) = (Vec::new(), Vec::new());
        loop {
            self.at += 1;
            begins.push(self.states.len());
            self.sequence()?;
            ends.push(self.states.len());
            self.states.push(State::Jump(0));
            match self.peek(0) {
                Some(',') => {}
                Some(_) => break,
                None => return Err(GlobError::OpenBrace),
            }
        }
        self.depth -= 1;
        let after = self.states.len();
        self.states[branch] = State::Branch(begins);
        for end in ends {
            self.states[end] = State::Jump(after);
        }
        Ok(())
    }

    /// From a `[` to its `]`, which is left to be read.
    fn brackets(&mut self) -> Result<(), GlobError> {
        let negated = self.peek(1) == Some('^');
        self.at += if negated { 2 } else { 1 };
        let mut set = Vec::new();
        loop {
            match self.peek(0) {
                None => return Err(GlobError::OpenBracket),
                Some(']') => break,
                Some('\\') if self.peek(1).is_some() => {
                    self.at += 1;
                    set.push(self.text[self.at]);
                }
                Some(c) => set.push(c),
            }
            self.at += 1;
        }
        self.one(if negated { Class::NoneOf(set) } else { Class::OneOf(set) });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn globs_match_whole_paths() {
        let cases = [
            ("foo/**", "foo/a/b", true),
            ("foo/**", "foo", false),
            ("**", "a/b", true),
            ("*", "a/b", false),
            ("**/*.go", "main.go", true),
            ("**/*.go", "a/b/main.go", true),
            ("a/**/b", "a/b", true),
            ("a/**/b", "a/x/y/b", true),
            ("a/**/b", "ab", false),
            ("**.md", "docs/a.md", true),
            ("{foo,bar}/**", "bar/x", true),
            ("{foo,bar}/**", "baz/x", false),
            ("{,a}b", "b", true),
            ("{a,{b,c}}d", "cd", true),
            ("[abc]x", "bx", true),
            ("[a-c]x", "bx", false),
            ("[a-c]x", "-x", true),
            ("[^a]x", "bx", true),
            ("[^a]x", "ax", false),
            ("?", "é", true),
            ("?", "/", false),
            (r"\*", "*", true),
            (r"\*", "a", false),
            (r"{a\,b}", "a,b", true),
            ("a,b", "a,b", true),
            ("a}", "a}", true),
            ("", "", true),
            ("", "a", false),
        ];
        for (pattern, path, want) in cases {
            assert_eq!(Glob::new(pattern).unwrap().matches(path), want, "{pattern} on {path}");
        }
        assert_eq!(Glob::new("{a").unwrap_err(), GlobError::OpenBrace);
        assert_eq!(Glob::new("[a").unwrap_err(), GlobError::OpenBracket);
    }

    #[test]
    fn many_stars_stay_cheap() {
        let glob = Glob::new(&"*a".repeat(200)).unwrap();
        assert!(!glob.matches(&"a".repeat(199)));
        assert!(glob.matches(&"a".repeat(2000)));
    }
}
