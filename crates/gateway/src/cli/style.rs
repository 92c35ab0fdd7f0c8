//! Colour for people at a terminal.

use std::io::IsTerminal;

use crate::env::Environment;

/// Whether to use colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    coloured: bool,
}

impl Style {
    /// No colour.
    pub const PLAIN: Self = Self { coloured: false };

    /// For standard output.
    pub fn of_stdout() -> Self {
        Self::chosen(std::io::stdout().is_terminal(), &Environment::of_process())
    }

    /// For standard error.
    pub fn of_stderr() -> Self {
        Self::chosen(std::io::stderr().is_terminal(), &Environment::of_process())
    }

    /// Colour at a terminal that has it, unless NO_COLOR is set (https://no-color.org).
    fn chosen(is_terminal: bool, environment: &Environment) -> Self {
        let refused = environment.get("NO_COLOR").is_some() || environment.get("TERM") == Some("dumb");
        Self { coloured: is_terminal && !refused }
    }

    /// True for colour.
    pub fn is_coloured(self) -> bool {
        self.coloured
    }

    /// The most important text.
    pub fn bold(self, text: &str) -> String {
        self.with("1", text)
    }

    /// Good news.
    pub fn green(self, text: &str) -> String {
        self.with("32", text)
    }

    /// The least important text.
    pub fn dim(self, text: &str) -> String {
        self.with("2", text)
    }

    fn with(self, code: &str, text: &str) -> String {
        if self.coloured { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}

/// The width of the terminal on standard output; none without a terminal.
pub fn columns() -> Option<usize> {
    if !std::io::stdout().is_terminal() {
        return None;
    }
    #[cfg(unix)]
    if let Ok(size) = rustix::termios::tcgetwinsize(std::io::stdout())
        && size.ws_col > 0
    {
        return Some(usize::from(size.ws_col));
    }
    Some(80)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_terminals_that_accept_colour_get_it() {
        let chosen = |terminal, variables: &[(&str, &str)]| {
            Style::chosen(terminal, &Environment::of(variables)).is_coloured()
        };
        assert!(chosen(true, &[("TERM", "xterm-256color")]));
        assert!(!chosen(false, &[]));
        assert!(!chosen(true, &[("NO_COLOR", "1")]));
        assert!(!chosen(true, &[("TERM", "dumb")]));
        assert_eq!(Style::PLAIN.bold("x"), "x");
        assert_eq!(Style { coloured: true }.bold("x"), "\u{1b}[1mx\u{1b}[0m");
    }
}
