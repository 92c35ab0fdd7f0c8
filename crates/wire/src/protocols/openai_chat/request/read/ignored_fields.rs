//! The members of a caller's messages and tools without a place in a canonical request: found by name, in one
//! pass over the text of each.

use canon::Losses;

use crate::json::{Kind, Scanner, Syntax, Text, text_of};

/// The kind of object.
#[derive(Clone, Copy)]
pub(super) enum ObjectKind {
    Message,
    Tool,
    Part,
    Function,
}

impl ObjectKind {
    /// The fields that are read.
    fn knows(self, name: &str) -> bool {
        let known: &[&str] = match self {
            Self::Message => &[
                "role",
                "content",
                "name",
                "tool_calls",
                "function_call",
                "tool_call_id",
                "refusal",
                "reasoning",
                "reasoning_content",
                "reasoning_details",
                "cache_control",
            ],
            Self::Part => {
                &["type", "text", "refusal", "image_url", "video_url", "input_audio", "file", "cache_control"]
            }
            Self::Tool => &["type", "function", "custom", "cache_control"],
            Self::Function => &["name", "description", "parameters", "strict"],
        };
        known.contains(&name)
    }

    /// True unless the object passes whole, as tools do that are neither functions nor free-text tools.
    pub(super) fn is_read(self, raw: &str) -> bool {
        #[derive(serde::Deserialize)]
        struct Kind<'a> {
            #[serde(rename = "type", borrow)]
            kind: Option<std::borrow::Cow<'a, str>>,
        }
        let kind = |raw: &str| serde_json::from_str::<Kind<'_>>(raw).ok()?.kind.map(|kind| kind.into_owned());
        match self {
            Self::Tool => matches!(kind(raw).as_deref(), None | Some("" | "function" | "custom")),
            _ => true,
        }
    }

    /// What is inside of a field.
    fn inside(self, name: &str) -> Option<Self> {
        match (self, name) {
            (Self::Message, "content") => Some(Self::Part),
            (Self::Tool, "function") => Some(Self::Function),
            _ => None,
        }
    }
}

/// Reports the fields of an object that are not read.
pub(super) fn note(raw: &str, shape: ObjectKind, path: &dyn Fn() -> String, losses: &mut Losses) {
    let mut scanner = Scanner::new(raw.as_bytes());
    // The object was read before, so there are no more errors.
    let _ = walk(&mut scanner, shape, path, losses);
}

/// Walks over an object, a list of objects, or text. Paths are written only for reports.
fn walk(
    scanner: &mut Scanner<'_>,
    shape: ObjectKind,
    path: &dyn Fn() -> String,
    losses: &mut Losses,
) -> Result<(), Syntax> {
    match scanner.kind()? {
        Kind::Object => scanner.object(|scanner, key| field(scanner, &key, shape, path, losses)),
        Kind::Array => {
            scanner.array(|scanner, index| walk(scanner, shape, &|| format!("{}[{index}]", path()), losses))
        }
        _ => scanner.value().map(drop),
    }
}

fn field(
    scanner: &mut Scanner<'_>,
    key: &Text,
    shape: ObjectKind,
    path: &dyn Fn() -> String,
    losses: &mut Losses,
) -> Result<(), Syntax> {
    let json = scanner.json();
    let name = text_of(json, key).unwrap_or_default();
    if let Some(shape) = shape.inside(&name) {
        return walk(scanner, shape, &|| format!("{}.{name}", path()), losses);
    }
    let value = &json[scanner.value()?];
    if !shape.knows(&name) && !matches!(value, b"null" | b"[]" | b"{}" | b"\"\"") {
        let reason = "Only the provider's own format has such a field.";
        losses.dropped(format!("{}.{name}", path()), reason);
    }
    Ok(())
}
