//! Which of the request's tools are offered to the model.

use std::collections::BTreeSet;

use canon::{Request, Tool, ToolChoice, ToolKind};

/// What is known of all tools, looked up once: there may be many tools, and many names among which to choose.
pub(super) struct Offered<'a> {
    /// Only those by these names; none where it is all of them.
    names: Option<BTreeSet<&'a str>>,
    /// Some tool is none that a provider runs.
    pub has_functions: bool,
}

impl<'a> Offered<'a> {
    /// The tools that the choice allows.
    pub fn of(request: &'a Request) -> Self {
        match &request.tool_choice {
            Some(ToolChoice::Allowed { names, .. }) => Self::only(Some(names), request),
            _ => Self::only(None, request),
        }
    }

    /// The tools by these names, or all of them.
    pub fn only(names: Option<&'a [String]>, request: &'a Request) -> Self {
        let is_function = |tool: &Tool| !matches!(tool.kind, ToolKind::Native(_));
        Self {
            names: names.map(|names| names.iter().map(String::as_str).collect()),
            has_functions: request.tools.iter().any(is_function),
        }
    }

    /// Whether a tool is among them.
    pub fn has(&self, name: &str) -> bool {
        self.names.as_ref().is_none_or(|names| names.contains(name))
    }
}
