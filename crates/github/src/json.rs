//! Members of a JSON object, without a tree of the whole.
//!
//! A push may be 25 MiB, nearly all of it lists of files that nobody here reads. [`members`] walks over an object once and keeps
//! the source text of the members asked for; everything else is checked and skipped. It is as tolerant as JSON itself: any
//! order, members twice (the last one counts), any type anywhere, and escapes that are no characters (lone surrogates).

use std::borrow::Cow;
use std::fmt;

use serde::Deserializer as _;
use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The source text of the members called `names`, in that order; `None` when `text` is another JSON value than an object.
///
/// # Errors
/// `text` is not one JSON value.
pub(crate) fn members<'de, const N: usize>(
    text: &'de str,
    names: [&str; N],
) -> Result<Option<[Option<&'de str>; N]>, serde_json::Error> {
    if kind(text) != Kind::Object {
        serde_json::from_str::<IgnoredAny>(text)?;
        return Ok(None);
    }
    let mut json = serde_json::Deserializer::from_str(text);
    let found = json.deserialize_map(Members { names })?;
    json.end()?;
    Ok(Some(found))
}

struct Members<'n, const N: usize> {
    names: [&'n str; N],
}

impl<'de, const N: usize> Visitor<'de> for Members<'_, N> {
    type Value = [Option<&'de str>; N];

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = [None; N];
        while let Some(index) = map.next_key_seed(Name { names: &self.names })? {
            match index {
                Some(index) => found[index] = Some(map.next_value::<&RawValue>()?.get()),
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(found)
    }
}

/// Finds a key among names. Keys are read as bytes because only then serde_json lets lone surrogates pass.
struct Name<'n> {
    names: &'n [&'n str],
}

impl<'de> DeserializeSeed<'de> for Name<'_> {
    type Value = Option<usize>;

    fn deserialize<D: serde::Deserializer<'de>>(self, key: D) -> Result<Self::Value, D::Error> {
        key.deserialize_bytes(self)
    }
}

impl Visitor<'_> for Name<'_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_bytes<E>(self, key: &[u8]) -> Result<Self::Value, E> {
        Ok(self.names.iter().position(|name| name.as_bytes() == key))
    }
}

/// What a JSON value is, by its first character.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    Null,
    Boolean,
    Number,
    Text,
    Array,
    Object,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Null => "null",
            Kind::Boolean => "a boolean",
            Kind::Number => "a number",
            Kind::Text => "a text",
            Kind::Array => "an array",
            Kind::Object => "an object",
        })
    }
}

/// The kind of a JSON value.
pub(crate) fn kind(text: &str) -> Kind {
    match text.trim_start().as_bytes().first() {
        Some(b'{') => Kind::Object,
        Some(b'[') => Kind::Array,
        Some(b'"') => Kind::Text,
        Some(b't' | b'f') => Kind::Boolean,
        Some(b'n') => Kind::Null,
        _ => Kind::Number,
    }
}

/// The text, if the value is one. Lone surrogates become U+FFFD.
pub(crate) fn text(raw: &str) -> Option<Cow<'_, str>> {
    if kind(raw) != Kind::Text {
        return None;
    }
    serde_json::Deserializer::from_str(raw).deserialize_bytes(Lossy).ok()
}

struct Lossy;

impl<'de> Visitor<'de> for Lossy {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_borrowed_bytes<E>(self, bytes: &'de [u8]) -> Result<Self::Value, E> {
        Ok(String::from_utf8_lossy(bytes))
    }

    fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Self::Value, E> {
        if let Ok(text) = std::str::from_utf8(bytes) {
            return Ok(Cow::Owned(text.to_owned()));
        }
        // A lone surrogate comes as the three bytes that UTF-8 would have for it: one replacement for all three.
        let mut fixed = bytes.to_vec();
        let mut at = 0;
        while at + 2 < fixed.len() {
            if fixed[at] == 0xed && fixed[at + 1] >= 0xa0 {
                fixed[at..at + 3].copy_from_slice("\u{fffd}".as_bytes());
                at += 3;
            } else {
                at += 1;
            }
        }
        Ok(Cow::Owned(String::from_utf8_lossy(&fixed).into_owned()))
    }
}

/// The source texts of the first `most` elements of an array; nothing of another value.
pub(crate) fn items(raw: &str, most: usize) -> Vec<&str> {
    struct Items(usize);

    impl<'de> Visitor<'de> for Items {
        type Value = Vec<&'de str>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an array")
        }

        fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
            let mut found = Vec::new();
            while found.len() < self.0 {
                match seq.next_element::<&RawValue>()? {
                    Some(item) => found.push(item.get()),
                    None => return Ok(found),
                }
            }
            while seq.next_element::<IgnoredAny>()?.is_some() {}
            Ok(found)
        }
    }

    if kind(raw) != Kind::Array {
        return Vec::new();
    }
    serde_json::Deserializer::from_str(raw).deserialize_seq(Items(most)).unwrap_or_default()
}

/// The number, if the value is a whole one from 0 on.
pub(crate) fn number(raw: &str) -> Option<u64> {
    raw.trim().parse().ok()
}

/// The boolean, if the value is one.
pub(crate) fn boolean(raw: &str) -> Option<bool> {
    match raw.trim() {
        "true" => Some(true),
        "false" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

    use super::*;

    #[test]
    fn members_are_found_in_any_order_and_the_last_of_two_counts() {
        let found = members(r#" {"b":[1,{"a":2}],"a":1,"\u0061":"x","c":{"a":9}} "#, ["a", "b", "z"]);
        assert_eq!(found.unwrap().unwrap(), [Some("\"x\""), Some("[1,{\"a\":2}]"), None]);
    }

    #[test]
    fn what_is_no_object_has_no_members_and_what_is_no_json_is_an_error() {
        for other in ["null", "3", "[{\"a\":1}]", "\"a\"", " true "] {
            assert_eq!(members(other, ["a"]).unwrap(), None, "{other}");
        }
        for bad in [
            "",
            " ",
            "{",
            "{}x",
            "{\"a\":}",
            "{\"a\":1,}",
            "{\"a\":\"\n\"}",
            "nul",
            "01",
            "{\"b\":01}",
            "{\"b\":\"\\x\"}",
            "{'a':1}",
        ] {
            assert!(members(bad, ["a"]).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn of_an_array_the_first_elements_are_kept() {
        assert_eq!(items(r#" [1, {"a":[2]}, "x"] "#, 2), ["1", r#"{"a":[2]}"#]);
        assert_eq!(items("[1]", 2), ["1"]);
        for other in ["[]", "{}", "null", "3", "\"[1]\""] {
            assert_eq!(items(other, 9), [""; 0], "{other}");
        }
    }

    #[test]
    fn lone_surrogates_are_replaced_one_by_one() {
        for (json, expected) in [
            (r#""\ud800""#, "\u{fffd}"),
            (r#""a\udc00\ud800b""#, "a\u{fffd}\u{fffd}b"),
            (r#""\ud83d\ude00""#, "\u{1f600}"),
            (r#""\ud800\n""#, "\u{fffd}\n"),
            (r#""\uffff""#, "\u{ffff}"),
            (r#""\ud7ff""#, "\u{d7ff}"),
        ] {
            assert_eq!(text(json).as_deref(), Some(expected), "{json}");
        }
        let found = members(r#"{"\ud800":1,"x":"\udfff","a":2}"#, ["a"]);
        assert_eq!(found.unwrap().unwrap(), [Some("2")]);
    }

    #[test]
    fn deep_nesting_neither_fails_nor_overflows_the_stack() {
        let depth = 1_000_000;
        let deep = format!("{{\"x\":{}{},\"a\":1}}", "[".repeat(depth), "]".repeat(depth));
        assert_eq!(members(&deep, ["a"]).unwrap().unwrap(), [Some("1")]);
        assert_eq!(members(&deep, ["x"]).unwrap().unwrap()[0].map(str::len), Some(2 * depth));
    }
}
