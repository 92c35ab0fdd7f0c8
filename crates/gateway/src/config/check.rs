//! Reads the configuration and collects all its mistakes.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use catalog::Catalog;

use super::effective;
use super::file::{ConfigFile, Mistake};
use super::lines::Lines;
use super::overlay::Overlay;
use super::settings::Settings;
use super::source::ConfigSource;

impl ConfigSource {
    /// Reads everything and collects the mistakes. The error is one sentence.
    pub fn read(&self) -> Result<Checked, String> {
        let file = match &self.path {
            Some(path) => Some((path.clone(), read(path)?)),
            None => None,
        };
        let reading = ConfigFile::read(file.as_ref().map_or("", |(_, text)| text));
        let overlay = Overlay::read(&reading.file.catalog, &self.environment);
        let built_in = || Catalog::embedded().map_err(|error| error.to_string());
        let (catalog, elsewhere) = match overlay.laid_over(built_in()?) {
            Ok(catalog) => (catalog, Vec::new()),
            Err(mistakes) => (built_in()?, mistakes),
        };
        let built = Settings::build(&reading.file, &self.environment, catalog);
        let mut mistakes = reading.mistakes;
        mistakes.extend(overlay.unreadable);
        let (settings, doubts) = match built {
            Ok(mut settings) => {
                let doubts = std::mem::take(&mut settings.doubts);
                settings.source = Some(self.clone());
                let text = file.as_ref().map(|(path, text)| (path.as_path(), text.as_str()));
                settings.shown = Arc::new(effective::in_force(text, &settings));
                settings.fingerprint =
                    file.as_ref().map_or_else(String::new, |(_, text)| store::fingerprint(text));
                let is_good = mistakes.is_empty() && elsewhere.is_empty();
                (is_good.then_some(settings), doubts)
            }
            Err(further) => {
                let further: Vec<Mistake> =
                    further.into_iter().filter(|mistake| !follows(mistake, &mistakes)).collect();
                mistakes.extend(further);
                (None, Vec::new())
            }
        };
        Ok(Checked { file, settings, mistakes, elsewhere, doubts })
    }
}

fn read(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path)
        .map_err(|error| format!("The configuration {} cannot be read: {error}.", path.display()))
}

/// The configuration and its mistakes.
pub struct Checked {
    file: Option<(PathBuf, String)>,
    /// None with mistakes.
    pub settings: Option<Settings>,
    mistakes: Vec<Mistake>,
    /// Mistakes in files beside the configuration, each with its file and line.
    elsewhere: Vec<String>,
    /// Likely mistakes that do not prevent the gateway from running.
    pub doubts: Vec<Mistake>,
}

impl Checked {
    /// All mistakes, in the order of the file.
    pub fn report(&self) -> String {
        let of_environment = || "of the environment".to_owned();
        let name = self.file.as_ref().map_or_else(of_environment, |(path, _)| path.display().to_string());
        let found: Vec<&Mistake> = self.mistakes.iter().chain(&self.doubts).collect();
        let count = found.len() + self.elsewhere.len();
        let plural = if count == 1 { "" } else { "s" };
        let mut lines = self.lines(&found);
        lines.extend(self.elsewhere.iter().map(|line| format!("  {line}")));
        format!("The configuration {name} has {count} mistake{plural}:\n{}", lines.join("\n"))
    }

    /// One line per mistake, with its place.
    fn lines(&self, found: &[&Mistake]) -> Vec<String> {
        let lines = self.file.as_ref().map(|(_, text)| Lines::of(text));
        let mut placed: Vec<(usize, String)> = found
            .iter()
            .map(|mistake| {
                let line = lines.as_ref().and_then(|lines| lines.of_path(&mistake.path));
                let place = line.map_or(String::new(), |line| format!("line {line}: "));
                (line.unwrap_or(usize::MAX), format!("  {place}{mistake}"))
            })
            .collect();
        placed.sort();
        placed.into_iter().map(|(_, line)| line).collect()
    }
}

/// True for a mistake that follows from a setting that could not be read.
fn follows(mistake: &Mistake, earlier: &[Mistake]) -> bool {
    earlier.iter().any(|cause| {
        let rest = cause.path.strip_prefix(&mistake.path);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    })
}
