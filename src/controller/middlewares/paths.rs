//! Middlewares that change the path for the backend.

use std::sync::Arc;

use super::{Fields, Making, Problem};
use crate::routing::{Edit, EncodedCharacters, GoPattern, PathEdit, RequestStep, path};

impl Making<'_> {
    pub(super) fn add_prefix(&mut self, mut fields: Fields<'_>) -> Result<(), Problem> {
        let prefix = fields.needed("prefix")?;
        let prefix = normal(&fields, "prefix", prefix)?;
        fields.finish()?;
        self.edit(Edit::AddPrefix(prefix));
        Ok(())
    }

    pub(super) fn strip_prefix(&mut self, mut fields: Fields<'_>) -> Result<(), Problem> {
        let prefixes = fields.texts("prefixes")?.into_iter();
        let prefixes = prefixes.map(|prefix| prefix.trim().into()).collect();
        if fields.flag("forceSlash")? {
            self.note(
                &fields.field("forceSlash"),
                "a path begins with a slash without it",
            );
        }
        fields.finish()?;
        self.edit(Edit::StripPrefix(prefixes));
        Ok(())
    }

    pub(super) fn strip_prefix_regex(&mut self, mut fields: Fields<'_>) -> Result<(), Problem> {
        let patterns = fields.texts("regex")?.into_iter();
        let patterns = patterns.map(|text| pattern(&fields, "regex", text));
        let patterns = patterns.collect::<Result<_, _>>()?;
        fields.finish()?;
        self.edit(Edit::StripPattern(patterns));
        Ok(())
    }

    pub(super) fn replace_path(&mut self, mut fields: Fields<'_>) -> Result<(), Problem> {
        let path = fields.needed("path")?;
        let path = normal(&fields, "path", path)?;
        fields.finish()?;
        self.edit(Edit::Replace(path));
        Ok(())
    }

    pub(super) fn replace_path_regex(&mut self, mut fields: Fields<'_>) -> Result<(), Problem> {
        let text = fields.needed("regex")?;
        let pattern = pattern(&fields, "regex", text)?;
        let by = fields.text("replacement")?.unwrap_or_default().trim();
        fields.finish()?;
        self.edit(Edit::ReplacePattern(pattern, by.into()));
        Ok(())
    }

    pub(super) fn encoded_characters(&mut self, mut fields: Fields<'_>) -> Result<(), Problem> {
        const NUL: &str = "allowEncodedNullCharacter";
        let mut denied = Vec::new();
        for (name, character) in [
            ("allowEncodedSlash", b'/'),
            ("allowEncodedBackSlash", b'\\'),
            ("allowEncodedSemicolon", b';'),
            ("allowEncodedPercent", b'%'),
            ("allowEncodedQuestionMark", b'?'),
            ("allowEncodedHash", b'#'),
        ] {
            if !fields.flag(name)? {
                denied.push(character);
            }
        }
        if fields.flag(NUL)? {
            self.note(&fields.field(NUL), "a path with one is 400 before any step");
        }
        fields.finish()?;

        let from = self.from();
        let denied = denied.into();
        self.step(RequestStep::EncodedCharacters(Arc::new(
            EncodedCharacters { from, denied },
        )));
        Ok(())
    }

    fn edit(&mut self, change: Edit) {
        let from = self.from();
        let edit = PathEdit { from, change };
        self.step(RequestStep::EditPath(Arc::new(edit)));
    }
}

/// Returns a path in its normal form. One with dot segments or a query is refused.
fn normal(fields: &Fields<'_>, name: &str, text: &str) -> Result<Box<str>, Problem> {
    if !text.starts_with('/') || text.contains(['?', '#']) {
        return Err(fields.invalid(name, "it is not a path that begins with a slash"));
    }
    let normal = path::normalize(text);
    let normal = normal.map_err(|error| fields.invalid(name, error.to_string()))?;
    if normal.split('/').count() != text.split('/').count() {
        return Err(fields.invalid(name, "it has dot segments"));
    }
    Ok(normal.into())
}

/// Compiles a regular expression.
pub(super) fn pattern(fields: &Fields<'_>, name: &str, text: &str) -> Result<GoPattern, Problem> {
    GoPattern::parse(text.trim()).map_err(|error| fields.invalid(name, error.to_string()))
}
