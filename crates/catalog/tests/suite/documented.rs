//! Models that the documents use as examples remain available for a while.

use catalog::Catalog;

/// The day on which the examples were last reviewed. It is fixed here instead of read from the clock, so that
/// a build that passed passes again tomorrow. Update it with the examples or the catalog's dates.
const LOOKED_THROUGH: &str = "2026-11-26";
/// How many days the examples must remain available from then on.
const DAYS: i64 = 60;

/// Days since 1970-01-01 of a date `YYYY-MM-DD` (Howard Hinnant, "chrono-compatible low-level date algorithms").
fn days(date: &str) -> i64 {
    let part =
        |range: std::ops::Range<usize>| date[range].parse::<i64>().expect("the catalog's dates are checked");
    let (year, month, day) = (part(0..4), part(5..7), part(8..10));
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year - era * 400;
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// Every `provider/model` of the text that is in the catalog, with its end date.
fn mentioned<'a>(catalog: &'a Catalog, text: &'a str) -> Vec<(&'a str, Option<&'a str>)> {
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || "._:/@-".contains(letter);
    let words = text.split(|letter| !is_part(letter)).map(|word| word.trim_end_matches(['.', ':', '/']));
    let known = words.filter_map(|word| {
        let (provider, model) = word.split_once('/')?;
        Some((word, catalog.serving(provider, model)?.deprecated.as_deref()))
    });
    known.collect()
}

#[test]
fn documented_models_do_not_end_soon() {
    let catalog = Catalog::embedded().unwrap();
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut files = vec![root.join("README.md")];
    for folder in ["docs", "docs/adr"] {
        let entries = std::fs::read_dir(root.join(folder)).unwrap().map(|entry| entry.unwrap().path());
        files.extend(entries.filter(|path| path.extension().is_some_and(|ending| ending == "md")));
    }
    let limit = days(LOOKED_THROUGH) + DAYS;
    let mut count = 0;
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        for (model, end) in mentioned(&catalog, &text) {
            count += 1;
            let lives = end.is_none_or(|end| days(end) >= limit);
            assert!(lives, "{} uses {model}, which ends on {}: use another", file.display(), end.unwrap());
        }
    }
    assert!(count >= 3, "the examples of the README are not found: {count}");
}

#[test]
fn days_are_counted_from_1970() {
    assert_eq!([days("1970-01-01"), days("2000-03-01"), days("2026-11-26")], [0, 11_017, 20_783]);
}

#[test]
fn the_readme_counts_the_providers() {
    let files = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../catalog/providers");
    let rows = std::fs::read_dir(files).unwrap();
    // The built-in demo is not a provider.
    let count = rows.filter(|file| file.as_ref().unwrap().file_name() != "demo.toml").count();
    let readme = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../README.md");
    let readme = std::fs::read_to_string(readme).unwrap();
    assert!(readme.contains(&format!(" {count} providers in their native APIs")), "{count}");
}
