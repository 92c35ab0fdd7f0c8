//! An operator's own catalog files, merged over the built-in catalog.

use std::path::{Path, PathBuf};

use catalog::Catalog;

use super::file::{CatalogSection, Mistake};
use super::lines::{Lines, line_of};
use crate::env::{Environment, read_file};

const SETTING: &str = "catalog.overlay";
const FOLDERS: [&str; 2] = ["providers", "models"];

/// The files in the folder of `catalog.overlay`.
#[derive(Default)]
pub struct Overlay {
    /// Path and text.
    files: Vec<(String, String)>,
    /// Files that could not be read.
    pub unreadable: Vec<Mistake>,
}

impl Overlay {
    /// Reads the files, in the order of their names. Folders and files are watched for changes.
    pub fn read(section: &CatalogSection, environment: &Environment) -> Self {
        let mut overlay = Self::default();
        let Some(folder) = &section.overlay else { return overlay };
        let folder = match environment.resolve(folder) {
            Ok(folder) => PathBuf::from(folder),
            Err(message) => {
                overlay.refuse(message);
                return overlay;
            }
        };
        let found: Vec<PathBuf> =
            FOLDERS.map(|name| folder.join(name)).into_iter().filter(|path| path.is_dir()).collect();
        if found.is_empty() {
            let shown = folder.display();
            overlay.refuse(format!("{shown} is not a folder that contains a folder `providers` or `models`"));
        }
        for folder in FOLDERS.map(|name| folder.join(name)) {
            environment.note_file(&folder);
        }
        for folder in found {
            overlay.read_folder(&folder, environment);
        }
        overlay
    }

    fn read_folder(&mut self, folder: &Path, environment: &Environment) {
        let listed = std::fs::read_dir(folder).and_then(Iterator::collect::<std::io::Result<Vec<_>>>);
        let mut paths: Vec<PathBuf> = match listed {
            Ok(entries) => entries.into_iter().map(|entry| entry.path()).collect(),
            Err(error) => {
                return self.refuse(format!("the folder {} cannot be read: {error}", folder.display()));
            }
        };
        paths.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
        paths.sort();
        for path in paths {
            environment.note_file(&path);
            match read_file(&path) {
                Ok(text) => self.files.push((path.display().to_string(), text)),
                Err(message) => self.refuse(message),
            }
        }
    }

    fn refuse(&mut self, message: String) {
        self.unreadable.push(Mistake { path: SETTING.to_owned(), message });
    }

    /// The catalog with these files over it, or all their mistakes: one line each, with file and line.
    pub fn laid_over(&self, catalog: Catalog) -> Result<Catalog, Vec<String>> {
        if self.files.is_empty() {
            return Ok(catalog);
        }
        catalog
            .overlay(self.files.iter().cloned())
            .map_err(|errors| errors.0.iter().map(|mistake| self.located(mistake)).collect())
    }

    fn located(&self, mistake: &catalog::Mistake) -> String {
        let text = self.files.iter().find(|(file, _)| *file == mistake.file).map(|(_, text)| text.as_str());
        let line = text.and_then(|text| {
            Lines::of(text).of_path(&mistake.path).or_else(|| line_of_id(text, &mistake.path))
        });
        let place = line.map_or(String::new(), |line| format!("line {line}: "));
        let path = if mistake.path.is_empty() { String::new() } else { format!("{}: ", mistake.path) };
        format!("{}: {place}{path}{}", mistake.file, mistake.message)
    }
}

/// The beginning of the entry with this id: mistakes about several entries are reported by their ids.
fn line_of_id(text: &str, id: &str) -> Option<usize> {
    let at = text.find(&format!("\"{id}\""))?;
    (!id.is_empty()).then(|| line_of(text, at))
}
