//! What to say of a key that does not exist: that a later version may know it, or which key was probably meant.

use super::schema::{KEYS, Key};

/// Keys and sections that are planned and do not exist: path, and what this version does in their place.
const LATER: &[(&str, &str)] = &[
    ("transform", "this version delivers records as they are"),
    ("spool", "this version fills objects in memory, within memory.budget"),
    ("sink.partition_by", "this version does not partition by content"),
    ("sink.max_open_partitions", "this version does not partition by content"),
    ("sink.storage_class", "this version writes objects with the bucket's defaults"),
    ("sink.kms_key_id", "this version writes objects with the bucket's defaults"),
    ("sink.tags", "this version writes objects with the bucket's defaults"),
];

/// Says that the key is unknown, and what the reader most likely needs to hear next.
pub(crate) fn unknown_key(path: &str) -> String {
    let later = LATER.iter().find(|(known, _)| match path.strip_prefix(known) {
        Some(rest) => rest.is_empty() || rest.starts_with('.'),
        None => false,
    });
    if let Some((_, instead)) = later {
        return format!("unknown key: {instead}");
    }
    match nearest(path) {
        Some(meant) => format!("unknown key; did you mean {meant}?"),
        None => "unknown key".to_owned(),
    }
}

/// The key or section that is spelled most alike, if one is close enough to have been meant.
fn nearest(path: &str) -> Option<&'static str> {
    // Distances grow with the square of the length, and nobody means a key by a text as long as this.
    if path.len() > 64 {
        return None;
    }
    let spelled = path.to_lowercase().replace('-', "_");
    let (section, name) = spelled.rsplit_once('.').unwrap_or(("", &spelled));
    // A section is what was meant only where a section could stand.
    let dots = |path: &str| path.bytes().filter(|b| *b == b'.').count();
    let sections = KEYS.iter().map(|key| key.section()).filter(|section| dots(section) == dots(path));
    let candidates = KEYS.iter().map(|key| key.path).chain(sections);
    let (distance, closest) = candidates.map(|known| (distance(&spelled, known), known)).min()?;
    if distance <= 2.min(spelled.len() / 3) {
        return Some(closest);
    }
    let begins = |key: &&Key| key.section() == section && name.len() >= 3 && key.name().starts_with(name);
    let elsewhere = |key: &&Key| key.name() == name;
    if let Some(key) = KEYS.iter().find(begins).or_else(|| KEYS.iter().find(elsewhere)) {
        return Some(key.path);
    }
    (distance <= (spelled.len() / 4).min(4)).then_some(closest)
}

/// Levenshtein's distance in characters.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (line, a) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = line + 1;
        for (column, b) in right.iter().enumerate() {
            let replaced = diagonal + usize::from(a != *b);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::schema;

    #[test]
    fn the_nearest_key_is_suggested() {
        for (path, said) in [
            ("sink.bukcet", "unknown key; did you mean sink.bucket?"),
            ("sink.buffer-size", "unknown key; did you mean sink.buffer_size?"),
            ("sink.Bucket", "unknown key; did you mean sink.bucket?"),
            ("bucket", "unknown key; did you mean sink.bucket?"),
            ("application.table", "unknown key; did you mean leases.table?"),
            ("leases.failover", "unknown key; did you mean leases.failover_time?"),
            ("sink.x", "unknown key"),
            ("sinks", "unknown key; did you mean sink?"),
            ("zebra", "unknown key"),
            ("", "unknown key"),
        ] {
            assert_eq!(unknown_key(path), said, "{path:?}");
        }
    }

    #[test]
    fn keys_of_later_versions_do_not_exist_and_are_explained() {
        for (path, instead) in LATER {
            assert!(schema::find(path).is_none() && !schema::is_section(path), "{path} exists");
            assert_eq!(unknown_key(path), format!("unknown key: {instead}"));
        }
        assert_eq!(unknown_key("transform.jq"), "unknown key: this version delivers records as they are");
        assert_eq!(unknown_key("transformer"), "unknown key");
    }
}
