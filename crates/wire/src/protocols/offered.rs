//! The tools of a request that are offered to the model.

use std::collections::BTreeSet;

use canon::{Request, Tool, ToolChoice, ToolKind};

/// An index of all tools: there may be many tools, and many allowed names.
pub(super) struct Offered<'a> {
    /// The allowed names; none for all.
    names: Option<BTreeSet<&'a str>>,
    /// There is a tool that no provider runs.
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

    /// The tools with these names, or all of them.
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
