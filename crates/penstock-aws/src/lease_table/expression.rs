//! The expressions of conditional writes. Every name goes through a placeholder, since some are reserved words.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use penstock_core::lease::{Change, Expect, Field, LeaseWant, LeaseWrite};

use crate::lease_item as item;

/// The expressions of one conditional write.
#[derive(Debug, Default)]
pub(super) struct Expression {
    pub(super) condition: String,
    pub(super) update: String,
    pub(super) names: HashMap<String, String>,
    pub(super) values: HashMap<String, AttributeValue>,
}

impl Expression {
    /// What a write asks and changes.
    pub(super) fn of(write: &LeaseWrite) -> Self {
        let mut expression = Self::default();
        expression.condition = expression.condition_of(&write.expect);
        expression.update = expression.update_of(&write.change);
        expression
    }

    /// What a wish asks and changes: the wish alone, on a row that is there.
    pub(super) fn of_want(want: &LeaseWant) -> Self {
        let LeaseWant { key: _, owner, before, wanted } = want;
        let mut expression = Self::default();
        // An owner that is there is one of a row that is there.
        let mut terms = vec![expression.equals(item::LEASE_OWNER, item::worker(owner))];
        terms.push(match before {
            None => expression.absent(item::WANTED),
            Some(before) => expression.equals(item::WANTED, item::worker(before)),
        });
        terms.push(expression.absent(item::CHECKPOINT_OWNER));
        expression.condition = terms.join(" AND ");
        let mut update = Update { expression: &mut expression, sets: Vec::new(), removes: Vec::new() };
        update.set(item::WANTED, item::worker(wanted));
        expression.update = update.text();
        expression
    }

    fn name(&mut self, attribute: &str) -> String {
        let placeholder = format!("#{attribute}");
        self.names.insert(placeholder.clone(), attribute.to_owned());
        placeholder
    }

    fn equals(&mut self, attribute: &str, value: AttributeValue) -> String {
        let name = self.name(attribute);
        let placeholder = format!(":is_{attribute}");
        self.values.insert(placeholder.clone(), value);
        format!("{name} = {placeholder}")
    }

    fn absent(&mut self, attribute: &str) -> String {
        format!("attribute_not_exists({})", self.name(attribute))
    }

    fn condition_of(&mut self, expect: &Expect) -> String {
        let Expect { counter, owner, checkpoint, intent, no_checkpoint_owner } = expect;
        let mut terms = vec![self.equals(item::LEASE_COUNTER, item::number(counter.0))];
        match owner {
            None => {}
            Some(None) => terms.push(self.absent(item::LEASE_OWNER)),
            Some(Some(owner)) => terms.push(self.equals(item::LEASE_OWNER, item::worker(owner))),
        }
        if let Some(position) = checkpoint {
            let (sequence, subsequence) = item::checkpoint_values(position);
            terms.push(self.equals(item::CHECKPOINT, sequence));
            let term = self.equals(item::CHECKPOINT_SUB, subsequence);
            // Rows of other writers may lack it, and then it means 0.
            match position.record().is_none_or(|position| position.subsequence == 0) {
                true => terms.push(format!("({term} OR {})", self.absent(item::CHECKPOINT_SUB))),
                false => terms.push(term),
            }
        }
        match intent {
            None => {}
            Some(None) => terms.push(self.absent(item::INTENT)),
            Some(Some(intent)) => terms.push(self.equals(item::INTENT, item::binary(intent))),
        }
        if *no_checkpoint_owner {
            terms.push(self.absent(item::CHECKPOINT_OWNER));
        }
        terms.join(" AND ")
    }

    fn update_of(&mut self, change: &Change) -> String {
        let Change {
            counter,
            owner,
            owner_switches,
            checkpoint,
            children,
            hash_range,
            end_handoff,
            start,
            stream_created,
            arrival,
            lag,
            chain,
            intent,
            wanted,
            granted,
            left,
            throughput,
            taken_by,
        } = change;
        let mut update = Update { expression: self, sets: Vec::new(), removes: Vec::new() };
        update.set(item::LEASE_COUNTER, item::number(counter.0));
        update.field(item::LEASE_OWNER, owner, item::worker);
        if let Some(switches) = owner_switches {
            update.set(item::OWNER_SWITCHES, item::number(switches));
        }
        if let Some(position) = checkpoint {
            let (sequence, subsequence) = item::checkpoint_values(position);
            update.set(item::CHECKPOINT, sequence);
            update.set(item::CHECKPOINT_SUB, subsequence);
            item::PENDING.iter().for_each(|name| update.remove(name));
        }
        match children.as_ref().map(item::shard_ids) {
            None => {}
            Some(Some(children)) => update.set(item::CHILDREN, children),
            Some(None) => update.remove(item::CHILDREN),
        }
        if let Some(range) = hash_range {
            update.set(item::HASH_START, item::string(&range.start.to_string()));
            update.set(item::HASH_END, item::string(&range.end.to_string()));
        }
        if *end_handoff {
            update.remove(item::CHECKPOINT_OWNER);
        }
        update.field(item::START, start, |at| item::number(at.0));
        update.field(item::STREAM, stream_created, |at| item::number(at.0));
        update.field(item::ARRIVAL, arrival, |at| item::number(at.0));
        update.field(item::LAG, lag, |lag| item::number(lag));
        update.field(item::CHAIN, chain, |chain| item::string(&chain.to_string()));
        update.field(item::INTENT, intent, item::binary);
        update.field(item::WANTED, wanted, item::worker);
        update.field(item::GRANTED, granted, item::worker);
        update.field(item::LEFT, left, |at| item::number(at.0));
        update.field(item::THROUGHPUT, throughput, |throughput| item::number(throughput));
        update.field(item::TAKEN_BY, taken_by, item::worker);
        update.text()
    }
}

/// Collects the clauses of an update expression.
struct Update<'a> {
    expression: &'a mut Expression,
    sets: Vec<String>,
    removes: Vec<String>,
}

impl Update<'_> {
    fn set(&mut self, attribute: &str, value: AttributeValue) {
        let name = self.expression.name(attribute);
        let placeholder = format!(":to_{attribute}");
        self.expression.values.insert(placeholder.clone(), value);
        self.sets.push(format!("{name} = {placeholder}"));
    }

    fn remove(&mut self, attribute: &str) {
        let name = self.expression.name(attribute);
        self.removes.push(name);
    }

    fn field<T>(&mut self, attribute: &str, field: &Field<T>, value: impl Fn(&T) -> AttributeValue) {
        match field {
            Field::Keep => {}
            Field::Set(to) => self.set(attribute, value(to)),
            Field::Remove => self.remove(attribute),
        }
    }

    fn text(self) -> String {
        let mut text = format!("SET {}", self.sets.join(", "));
        if !self.removes.is_empty() {
            text.push_str(" REMOVE ");
            text.push_str(&self.removes.join(", "));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use penstock_core::ids::{LeaseCounter, LeaseKey, WorkerId};
    use penstock_core::position::{Position, RecordPosition};

    use super::*;

    #[test]
    fn a_renewal_asks_for_counter_owner_and_no_handoff_and_changes_the_counter_alone() {
        let expect = Expect {
            owner: Some(Some(WorkerId::new("me"))),
            no_checkpoint_owner: true,
            ..Expect::counter(LeaseCounter(4))
        };
        let write = LeaseWrite { key: LeaseKey::new("k"), expect, change: Change::counter(LeaseCounter(5)) };
        let expression = Expression::of(&write);
        assert_eq!(
            expression.condition,
            "#leaseCounter = :is_leaseCounter AND #leaseOwner = :is_leaseOwner AND attribute_not_exists(#checkpointOwner)"
        );
        assert_eq!(expression.update, "SET #leaseCounter = :to_leaseCounter");
        assert_eq!(expression.values[":is_leaseCounter"], item::number(4));
        assert_eq!(expression.values[":to_leaseCounter"], item::number(5));
    }

    #[test]
    fn a_commit_removes_the_intent_and_the_pending_attributes_of_the_kcl() {
        let at = RecordPosition::parse("123/4").expect("sound");
        let change =
            Change { checkpoint: Some(Position::After(at)), intent: Field::Remove, ..Change::counter(LeaseCounter(2)) };
        let expect = Expect {
            checkpoint: Some(Position::TrimHorizon),
            intent: Some(Some(Bytes::from_static(b"i"))),
            ..Expect::counter(LeaseCounter(1))
        };
        let expression = Expression::of(&LeaseWrite { key: LeaseKey::new("k"), expect, change });
        for removed in [item::INTENT, item::PENDING[0], item::PENDING[1], item::PENDING[2]] {
            let removes = expression.update.split(" REMOVE ").nth(1).expect("removes something");
            assert!(removes.contains(&format!("#{removed}")), "{removed}");
        }
        assert_eq!(expression.values[":to_checkpoint"], item::string("123"));
        assert_eq!(expression.values[":to_checkpointSubSequenceNumber"], item::number(4));
        assert_eq!(expression.values[":is_checkpoint"], item::string("TRIM_HORIZON"));
    }

    #[test]
    fn a_wish_asks_for_owner_wish_and_no_handoff_and_changes_the_wish_alone() {
        let worker = |name: &str| WorkerId::new(name);
        let want = LeaseWant { key: LeaseKey::new("k"), owner: worker("holder"), before: None, wanted: worker("me") };
        let first = Expression::of_want(&want);
        assert_eq!(
            first.condition,
            "#leaseOwner = :is_leaseOwner AND attribute_not_exists(#penstockWanted) AND attribute_not_exists(#checkpointOwner)"
        );
        assert_eq!(first.update, "SET #penstockWanted = :to_penstockWanted");
        let next = Expression::of_want(&LeaseWant { before: Some(worker("other")), ..want });
        assert!(next.condition.contains("#penstockWanted = :is_penstockWanted"), "{}", next.condition);
        assert_eq!(next.values[":is_penstockWanted"], item::string("other"));
        assert_eq!(next.values[":to_penstockWanted"], item::string("me"));
    }
}
