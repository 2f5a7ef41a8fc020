//! What a person fills in to open a block or input step (`spec/pipeline.md` 1.5).

use crate::plan::{Field, FieldInput, ManualStep};

/// Most fields of a form: their values are written in one transaction.
pub const MAX_FIELDS: usize = 90;
/// Largest value of a field in bytes: that of meta-data (`spec/pipeline.md` 1.19).
const MAX_VALUE: usize = 100 * 1024;

impl ManualStep {
    /// Checks what a person filled in, and adds the defaults: the meta-data to write, a value a field. A field that is
    /// not required and has no value is written empty; several choices are joined by newlines.
    /// `matches` says whether a value as a whole matches a regular expression.
    ///
    /// # Errors
    /// Everything that is wrong, each in a sentence that names the field.
    pub fn fill_in(
        &self,
        given: &[(String, String)],
        matches: impl Fn(&str, &str) -> bool,
    ) -> Result<Vec<(String, String)>, Vec<String>> {
        let mut wrong = Vec::new();
        for (place, (key, _)) in given.iter().enumerate() {
            let first = !given[..place].iter().any(|(other, _)| other == key);
            if first && !self.fields.iter().any(|field| field.key == *key) {
                let keys: Vec<&str> = self.fields.iter().map(|field| field.key.as_str()).collect();
                wrong.push(match keys.as_slice() {
                    [] => format!("there is no field `{key}`: the step has no fields"),
                    keys => format!("there is no field `{key}`: the fields are `{}`", keys.join("`, `")),
                });
            }
        }
        if self.fields.len() > MAX_FIELDS {
            wrong.push(format!("the step has {} fields; at most {MAX_FIELDS} can be filled in", self.fields.len()));
        }
        let mut values = Vec::with_capacity(self.fields.len());
        for field in &self.fields {
            let own: Vec<&str> = given.iter().filter(|(key, _)| *key == field.key).map(|(_, v)| v.as_str()).collect();
            match field.value(&own, &matches) {
                Ok(value) => values.push((field.key.clone(), value)),
                Err(why) => wrong.push(why),
            }
        }
        if wrong.is_empty() { Ok(values) } else { Err(wrong) }
    }
}

impl Field {
    /// The value of this field, or what is wrong with what was given.
    fn value(&self, given: &[&str], matches: impl Fn(&str, &str) -> bool) -> Result<String, String> {
        let key = &self.key;
        let several = matches!(self.input, FieldInput::Select { multiple: true, .. });
        if given.len() > 1 && !several {
            return Err(format!("`{key}` was given {} times, and takes one value", given.len()));
        }
        let chosen: Vec<&str> = match given {
            [] => self.default.iter().map(String::as_str).collect(),
            given if several => given.iter().flat_map(|value| value.lines()).collect(),
            given => given.to_vec(),
        };
        let chosen: Vec<&str> = chosen.into_iter().filter(|value| !value.is_empty()).collect();
        if chosen.is_empty() && self.required {
            return Err(match &self.input {
                FieldInput::Select { options, .. } => format!("`{key}` is required: choose from {}", list(options)),
                FieldInput::Text { .. } => format!("`{key}` is required"),
            });
        }
        match &self.input {
            FieldInput::Select { options, .. } => {
                if let Some(unknown) = chosen.iter().find(|c| !options.iter().any(|(_, value)| value == *c)) {
                    return Err(format!("`{unknown}` is no option of `{key}`: choose from {}", list(options)));
                }
            }
            FieldInput::Text { format: Some(format) } => {
                if let Some(value) = chosen.first().filter(|value| !matches(format, value)) {
                    return Err(format!("`{value}` does not match the format of `{key}`, `{format}`"));
                }
            }
            FieldInput::Text { format: None } => {}
        }
        let value = chosen.join("\n");
        if value.len() > MAX_VALUE {
            return Err(format!("the value of `{key}` has {} bytes; at most {MAX_VALUE} are kept", value.len()));
        }
        Ok(value)
    }
}

fn list(options: &[(String, String)]) -> String {
    let values: Vec<String> = options.iter().map(|(_, value)| format!("`{value}`")).collect();
    values.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(key: &str, required: bool, default: &[&str], format: Option<&str>) -> Field {
        let default = default.iter().map(|d| (*d).to_owned()).collect();
        let input = FieldInput::Text { format: format.map(str::to_owned) };
        Field { key: key.into(), label: None, hint: None, required, default, input }
    }

    fn select(key: &str, required: bool, default: &[&str], multiple: bool) -> Field {
        let options = [("Europe", "eu"), ("America", "us")];
        let options = options.iter().map(|(l, v)| ((*l).to_owned(), (*v).to_owned())).collect();
        Field { input: FieldInput::Select { options, multiple }, ..text(key, required, default, None) }
    }

    /// Stands for the regular expressions: everything in lower case.
    fn lower(_: &str, value: &str) -> bool {
        value.chars().all(|c| c.is_ascii_lowercase())
    }

    #[test]
    fn table() {
        type Row = (&'static str, Field, &'static [&'static str], Result<&'static str, &'static str>);
        let rows: Vec<Row> = vec![
            ("a value", text("f", true, &[], None), &["x"], Ok("x")),
            ("the default", text("f", true, &["d"], None), &[], Ok("d")),
            ("a value beats the default", text("f", true, &["d"], None), &["x"], Ok("x")),
            ("required", text("f", true, &[], None), &[], Err("`f` is required")),
            ("required, given empty", text("f", true, &["d"], None), &[""], Err("`f` is required")),
            ("not required: written empty", text("f", false, &[], None), &[], Ok("")),
            ("given empty on purpose", text("f", false, &["d"], None), &[""], Ok("")),
            ("format", text("f", true, &[], Some("[a-z]+")), &["abc"], Ok("abc")),
            (
                "format not met",
                text("f", true, &[], Some("[a-z]+")),
                &["aBc"],
                Err("`aBc` does not match the format of `f`, `[a-z]+`"),
            ),
            ("no value, no format", text("f", false, &[], Some("[a-z]+")), &[], Ok("")),
            ("twice", text("f", true, &[], None), &["a", "b"], Err("`f` was given 2 times, and takes one value")),
            ("an option", select("f", true, &[], false), &["eu"], Ok("eu")),
            (
                "a label is no option",
                select("f", true, &[], false),
                &["Europe"],
                Err("`Europe` is no option of `f`: choose from `eu`, `us`"),
            ),
            ("nothing chosen", select("f", true, &[], false), &[], Err("`f` is required: choose from `eu`, `us`")),
            ("nothing to choose", select("f", false, &[], false), &[], Ok("")),
            (
                "two of one",
                select("f", true, &[], false),
                &["eu", "us"],
                Err("`f` was given 2 times, and takes one value"),
            ),
            ("several", select("f", true, &[], true), &["us", "eu"], Ok("us\neu")),
            ("several in one", select("f", true, &[], true), &["us\neu"], Ok("us\neu")),
            ("several defaults", select("f", true, &["eu", "us"], true), &[], Ok("eu\nus")),
        ];
        for (name, field, given, want) in rows {
            let step = ManualStep { fields: vec![field], ..ManualStep::default() };
            let given: Vec<_> = given.iter().map(|v| ("f".to_owned(), (*v).to_owned())).collect();
            let want = want.map(|v| vec![("f".to_owned(), v.to_owned())]).map_err(|e| vec![e.to_owned()]);
            assert_eq!(step.fill_in(&given, lower), want, "{name}");
        }
    }

    #[test]
    fn everything_that_is_wrong_is_said_at_once() {
        let fields = vec![text("why", true, &[], None), select("where", true, &[], false)];
        let step = ManualStep { fields, ..ManualStep::default() };
        let given = [("wy".to_owned(), "x".to_owned()), ("wy".to_owned(), "y".to_owned())];
        let said = step.fill_in(&given, lower).err().unwrap_or_default();
        assert_eq!(
            said,
            [
                "there is no field `wy`: the fields are `why`, `where`",
                "`why` is required",
                "`where` is required: choose from `eu`, `us`"
            ]
        );
        let plain = ManualStep::default().fill_in(&given[..1], lower).err().unwrap_or_default();
        assert_eq!(plain, ["there is no field `wy`: the step has no fields"]);
    }
}
