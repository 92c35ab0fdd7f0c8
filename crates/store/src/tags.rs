//! Sums of requests by the values of their tags, by day and project. A request counts once for each of its tags.
//!
//! Callers choose the tags, so their number is limited for each day and project: the values of a tag and the tags
//! beyond the limit are summed as [`OTHER`]. Nodes that fold at the same moment can exceed the limit together, by as
//! much as one of them may add.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::mem;
use std::ops::Range;
use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

use crate::StoreError;
use crate::facts::Facts;
use crate::params::Params;
use crate::sums::UsageSums;
use crate::times::{DAY_MS, HOURS_OF_DAY};
use crate::upserts::{MOST_ROWS, Statement, push_statements, upsert};

/// The tag or value that replaces those beyond the limit.
pub const OTHER: &str = "other";
/// The values of a tag, and the tags, that a project has sums of on a day.
pub(crate) const MOST_VALUES: usize = 100;
pub(crate) const MOST_TAGS: usize = 32;

pub(crate) const TABLE: &str = "usage_tag_days";
const KEYS: [&str; 4] = ["tag", "day", "project", "value"];
static UPSERTS: LazyLock<Vec<String>> =
    LazyLock::new(|| (0..=MOST_ROWS.ilog2()).map(|power| upsert(TABLE, &KEYS, 1 << power)).collect());

/// The sums that are not folded yet.
pub(crate) const PENDING: &str = "SELECT tags FROM usage_pending WHERE tags IS NOT NULL";

/// Names all tags: one index lookup for each instead of a scan of their rows.
macro_rules! with_known {
    ($sql:literal) => {
        concat!(
            "WITH RECURSIVE known (tag) AS (
                SELECT min(tag) FROM usage_tag_days
                UNION ALL
                SELECT (SELECT min(tag) FROM usage_tag_days WHERE tag > known.tag) FROM known WHERE known.tag IS NOT NULL
            ) ",
            $sql
        )
    };
}

/// The tags and values of a day and a project.
pub(crate) const VALUES: &str = with_known!(
    "SELECT sums.tag, sums.value FROM known JOIN usage_tag_days AS sums ON sums.tag = known.tag
    WHERE sums.day = $1 AND sums.project = $2"
);

/// The tags that requests had on these days, of one project or of all.
pub(crate) const NAMES: &str = with_known!(
    "SELECT known.tag FROM known WHERE EXISTS (SELECT 1 FROM usage_tag_days AS sums WHERE sums.tag = known.tag
        AND sums.day >= $1 AND sums.day < $2 AND ($3 IS NULL OR sums.project = $3))"
);

pub(crate) const DELETE_EXPIRED: &str = concat!(
    "DELETE FROM usage_tag_days WHERE (tag, day, project, value) IN (",
    with_known!(
        "SELECT sums.tag, sums.day, sums.project, sums.value FROM known
        JOIN usage_tag_days AS sums ON sums.tag = known.tag WHERE sums.day < $1 LIMIT $2)"
    )
);

type ProjectDay = (i64, String);

/// The tags and values that are in the table.
pub(crate) type KnownTags = HashMap<ProjectDay, Vec<(String, String)>>;

/// The requests that are counted together.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Group<'a> {
    #[serde(borrow)]
    tag: Cow<'a, str>,
    /// Days since 1970.
    day: i64,
    #[serde(borrow)]
    project: Cow<'a, str>,
    #[serde(borrow)]
    value: Cow<'a, str>,
}

#[derive(Serialize, Deserialize)]
struct GroupSums<'a> {
    #[serde(borrow)]
    of: Group<'a>,
    sums: UsageSums,
}

#[derive(Default)]
pub(crate) struct TagDays<'a>(BTreeMap<Group<'a>, UsageSums>);

impl<'a> TagDays<'a> {
    /// An entry that changes no sum.
    pub(crate) fn nothing() -> Self {
        let text = || Cow::Borrowed("");
        let group = Group { tag: text(), day: 0, project: text(), value: text() };
        Self([(group, UsageSums::default())].into())
    }

    pub(crate) fn add(&mut self, facts: &Facts<'a>) {
        for (tag, value) in facts.tags.iter() {
            let group = Group {
                tag: tag.clone(),
                day: facts.started_at_ms.div_euclid(DAY_MS),
                project: facts.project.clone(),
                value: value.clone(),
            };
            self.0.entry(group).or_default().add_record(facts);
        }
    }

    pub(crate) fn add_pending(&mut self, json: &'a str) -> Result<(), StoreError> {
        for GroupSums { of, sums } in read(json)? {
            self.0.entry(of).or_default().add(&sums);
        }
        Ok(())
    }

    /// None without tags.
    pub(crate) fn to_json(&self) -> Result<Option<String>, StoreError> {
        #[derive(Serialize)]
        struct Borrowed<'a> {
            of: &'a Group<'a>,
            sums: &'a UsageSums,
        }
        if self.0.is_empty() {
            return Ok(None);
        }
        let counted: Vec<Borrowed<'_>> = self.0.iter().map(|(of, sums)| Borrowed { of, sums }).collect();
        serde_json::to_string(&counted).map(Some).map_err(|error| unreadable(&error))
    }

    /// The days and projects that have entries here.
    pub(crate) fn places(&self) -> BTreeSet<ProjectDay> {
        self.0.keys().map(|group| (group.day, group.project.clone().into_owned())).collect()
    }

    /// Merges the entries that exceed the limit of their day and project into [`OTHER`].
    pub(crate) fn limit(&mut self, known: KnownTags) {
        let by_tag = |values: Vec<(String, String)>| {
            let mut tags: HashMap<String, HashSet<String>> = HashMap::new();
            for (tag, value) in values {
                tags.entry(tag).or_default().insert(value);
            }
            tags
        };
        let mut places: HashMap<ProjectDay, _> =
            known.into_iter().map(|(place, values)| (place, by_tag(values))).collect();
        for (mut group, sums) in mem::take(&mut self.0) {
            let place = (group.day, group.project.clone().into_owned());
            let tags = places.entry(place).or_default();
            if !tags.contains_key(group.tag.as_ref()) && tags.len() >= MOST_TAGS {
                (group.tag, group.value) = (OTHER.into(), OTHER.into());
            }
            let values = tags.entry(group.tag.clone().into_owned()).or_default();
            if !values.contains(group.value.as_ref()) && values.len() >= MOST_VALUES {
                group.value = OTHER.into();
            }
            values.insert(group.value.clone().into_owned());
            self.0.entry(group).or_default().add(&sums);
        }
    }

    /// The statements that add them to the table.
    pub(crate) fn fold(&self) -> Vec<Statement> {
        let (rows, mut statements): (Vec<_>, _) = (self.0.iter().collect(), Vec::new());
        push_statements(&UPSERTS, &rows, &mut statements, |(group, sums), params: &mut Params| {
            params.text(group.tag.to_string());
            params.number(group.day);
            params.text(group.project.to_string());
            params.text(group.value.to_string());
            params.sums(sums);
        });
        statements
    }
}

/// The sums of a tag within hours, from a row that is not folded yet: hour, project, value, sums.
pub(crate) fn pending_of<'a>(
    json: &'a str,
    tag: &'a str,
) -> impl Iterator<Item = (i64, Cow<'a, str>, Cow<'a, str>, UsageSums)> {
    let counted = read(json).unwrap_or_default().into_iter().filter(move |counted| counted.of.tag == tag);
    counted.map(|GroupSums { of, sums }| (of.day * HOURS_OF_DAY, of.project, of.value, sums))
}

/// The tags in a row that is not folded yet.
pub(crate) fn names_of(json: &str, days: &Range<i64>, project: Option<&str>) -> Vec<String> {
    let mut counted = read(json).unwrap_or_default();
    counted
        .retain(|one| days.contains(&one.of.day) && project.is_none_or(|project| one.of.project == project));
    counted.into_iter().map(|one| one.of.tag.into_owned()).collect()
}

fn read(json: &str) -> Result<Vec<GroupSums<'_>>, StoreError> {
    serde_json::from_str(json).map_err(|error| unreadable(&error))
}

fn unreadable(error: &serde_json::Error) -> StoreError {
    StoreError::Corrupt { what: "sums of tags in usage_pending", reason: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_exceeds_the_limit_is_summed_as_other() {
        let mut days = TagDays::default();
        let mut add = |tag: &str, value: &str, project: &str| {
            let tags = format!(r#"{{"{tag}":"{value}"}}"#);
            let line = format!(
                r#"{{"started_at_ms":1,"request_id":"r","key_id":"k","project":"{project}","tags":{tags}}}"#
            );
            let json = {
                let mut one = TagDays::default();
                one.add(&Facts::of(&line).unwrap());
                one.to_json().unwrap().unwrap()
            };
            days.add_pending(json.leak()).unwrap();
        };
        for value in 0..MOST_VALUES + 20 {
            add("team", &format!("{value:03}"), "big");
        }
        add("team", "old", "big");
        add("team", "new", "small");
        for tag in 0..MOST_TAGS + 5 {
            add(&format!("x{tag:02}"), "v", "big");
        }
        // Two values of the day are in the table already, and one of them is here again.
        let known =
            [("team", "old"), ("team", "older")].map(|(tag, value)| (tag.to_owned(), value.to_owned()));
        days.limit([((0, "big".to_owned()), known.to_vec())].into());
        let requests = |tag: &str, value: &str, project: &str| {
            let group = Group { tag: tag.into(), day: 0, project: project.into(), value: value.into() };
            days.0.get(&group).map_or(0, UsageSums::requests)
        };
        assert_eq!(requests("team", "097", "big"), 1);
        assert_eq!((requests("team", "098", "big"), requests("team", "old", "big")), (0, 1));
        assert_eq!(requests("team", OTHER, "big"), 22);
        assert_eq!(requests("team", "new", "small"), 1);
        assert_eq!((requests("x30", "v", "big"), requests("x31", "v", "big")), (1, 0));
        assert_eq!(requests(OTHER, OTHER, "big"), 6);
        let all: u64 = days.0.values().map(UsageSums::requests).sum();
        assert_eq!(all as usize, MOST_VALUES + 20 + 2 + MOST_TAGS + 5);
    }
}
