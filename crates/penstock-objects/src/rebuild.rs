//! Holding what was rebuilt against what an intent recorded, before anything of it may be put.

use penstock_core::intent::{Intent, IntentObject};
use penstock_engine::ports::{PreparedObject, ShardIdentity};

use crate::hex;
use crate::writer::Part;

/// Makes objects of parts, or says why these parts are not those of the intent.
pub(crate) type Rebuild = fn(&ShardIdentity, &Intent, Vec<Part>) -> Result<Vec<PreparedObject>, String>;

/// The objects of `intent`, if `parts` are exactly these.
pub(crate) fn whole(shard: &ShardIdentity, intent: &Intent, parts: Vec<Part>) -> Result<Vec<PreparedObject>, String> {
    if parts.len() != intent.objects.len() {
        return Err(format!("the records make {} objects, it recorded {}", parts.len(), intent.objects.len()));
    }
    for (part, object) in parts.iter().zip(&intent.objects) {
        let key = &object.key;
        compare(part, object).map_err(|problem| format!("{key}: {problem}"))?;
    }
    Ok(parts.into_iter().enumerate().map(|(index, part)| part.prepare(shard, intent, index)).collect())
}

fn compare(part: &Part, object: &IntentObject) -> Result<(), String> {
    let covered = &part.covered;
    if part.kind.content() != object.content {
        return Err(format!("it would hold {:?}, recorded is {:?}", part.kind.content(), object.content));
    }
    if (&covered.first, &covered.last) != (&object.first, &object.last) {
        return Err(format!(
            "its records would be {} to {}, recorded are {} to {}",
            covered.first, covered.last, object.first, object.last
        ));
    }
    if covered.records != object.records {
        return Err(format!("it would have {} records, recorded are {}", covered.records, object.records));
    }
    if part.content.sha256 != object.sha256 {
        return Err(format!(
            "the SHA-256 of its content would be {}, recorded is {}",
            hex(&part.content.sha256),
            hex(&object.sha256)
        ));
    }
    Ok(())
}

/// Those of `parts` under the recorded keys, where the beginning of the batch could not be read any more.
///
/// What is trimmed is always a beginning, so whatever is left of an object still ends where the object ended: that tells to
/// which object it belongs.
pub(crate) fn partial(shard: &ShardIdentity, intent: &Intent, parts: Vec<Part>) -> Result<Vec<PreparedObject>, String> {
    let mut objects = Vec::with_capacity(parts.len());
    for part in parts {
        let covered = &part.covered;
        let belongs = |object: &IntentObject| part.kind.content() == object.content && covered.last == object.last;
        let Some(index) = intent.objects.iter().position(belongs) else {
            return Err(format!("records up to {} belong to none of its objects", covered.last));
        };
        let object = &intent.objects[index];
        if covered.first < object.first || covered.records > object.records {
            return Err(format!(
                "{}: {} records from {} on are more than the {} recorded from {} on",
                object.key, covered.records, covered.first, object.records, object.first
            ));
        }
        if covered.records == object.records {
            compare(&part, object).map_err(|problem| format!("{}: {problem}", object.key))?;
        }
        objects.push(part.prepare(shard, intent, index));
    }
    Ok(objects)
}
