//! Builds update expressions: attributes to set, remove and add, and conditions.
//!
//! Every name and value is a placeholder, since some names are DynamoDB's reserved words.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;

use super::{Item, item::number};

/// An update under construction. Attributes that are not named stay unchanged.
#[derive(Debug, Default)]
pub(super) struct Change {
    sets: Vec<String>,
    removes: Vec<String>,
    adds: Vec<String>,
    conditions: Vec<String>,
    names: HashMap<String, String>,
    values: Item,
}

/// An update in DynamoDB's form.
#[derive(Debug)]
pub(super) struct Expression {
    pub(super) update: String,
    pub(super) condition: Option<String>,
    pub(super) names: HashMap<String, String>,
    /// `None` if there are none: DynamoDB rejects an empty map.
    pub(super) values: Option<Item>,
}

/// A condition on the stored item.
#[derive(Debug)]
pub(super) enum Condition {
    Exists(String),
    Absent(String),
    Compare(String, &'static str, AttributeValue),
    Shorter(String, usize),
    Any(Vec<Condition>),
}

pub(super) fn exists(name: impl Into<String>) -> Condition {
    Condition::Exists(name.into())
}

pub(super) fn absent(name: impl Into<String>) -> Condition {
    Condition::Absent(name.into())
}

/// A comparison: `is("version", "=", number(3))`.
pub(super) fn is(name: impl Into<String>, operator: &'static str, value: AttributeValue) -> Condition {
    Condition::Compare(name.into(), operator, value)
}

/// The list has fewer than `length` elements.
pub(super) fn shorter(name: impl Into<String>, length: usize) -> Condition {
    Condition::Shorter(name.into(), length)
}

impl Condition {
    pub(super) fn or(self, other: Self) -> Self {
        match self {
            Self::Any(mut conditions) => {
                conditions.push(other);
                Self::Any(conditions)
            }
            one => Self::Any(vec![one, other]),
        }
    }
}

impl Change {
    pub(super) fn set(mut self, name: impl Into<String>, value: AttributeValue) -> Self {
        let (name, value) = (self.name(name), self.value(value));
        self.sets.push(format!("{name} = {value}"));
        self
    }

    /// Sets the attribute, or removes it if `value` is `None`.
    pub(super) fn set_or_remove(self, name: &str, value: Option<AttributeValue>) -> Self {
        match value {
            Some(value) => self.set(name, value),
            None => self.remove(name),
        }
    }

    /// Adds to a number, which must exist.
    pub(super) fn plus(mut self, name: impl Into<String>, by: i64) -> Self {
        let (name, by) = (self.name(name), self.value(number(by)));
        self.sets.push(format!("{name} = {name} + {by}"));
        self
    }

    /// Adds 1 to a number; an absent one counts as 0.
    pub(super) fn count(mut self, name: impl Into<String>) -> Self {
        let (name, none, one) = (self.name(name), self.value(number(0)), self.value(number(1)));
        self.sets.push(format!("{name} = if_not_exists({name}, {none}) + {one}"));
        self
    }

    /// Appends to a list; creates it if absent.
    pub(super) fn append(mut self, name: impl Into<String>, element: AttributeValue) -> Self {
        let (name, none) = (self.name(name), self.value(AttributeValue::L(Vec::new())));
        let element = self.value(AttributeValue::L(vec![element]));
        self.sets.push(format!("{name} = list_append(if_not_exists({name}, {none}), {element})"));
        self
    }

    /// Adds an element to a string set; creates it if absent.
    pub(super) fn add(mut self, name: impl Into<String>, element: impl Into<String>) -> Self {
        let (name, element) = (self.name(name), self.value(AttributeValue::Ss(vec![element.into()])));
        self.adds.push(format!("{name} {element}"));
        self
    }

    pub(super) fn remove(mut self, name: impl Into<String>) -> Self {
        let name = self.name(name);
        self.removes.push(name);
        self
    }

    /// Adds a condition; all must hold.
    pub(super) fn only_if(mut self, condition: Condition) -> Self {
        let condition = self.condition(condition);
        self.conditions.push(condition);
        self
    }

    pub(super) fn into_expression(self) -> Expression {
        let clause = |word: &str, parts: &[String]| {
            (!parts.is_empty()).then(|| format!("{word} {}", parts.join(", ")))
        };
        let clauses = [clause("SET", &self.sets), clause("REMOVE", &self.removes), clause("ADD", &self.adds)];
        Expression {
            update: clauses.into_iter().flatten().collect::<Vec<_>>().join(" "),
            condition: (!self.conditions.is_empty()).then(|| self.conditions.join(" AND ")),
            names: self.names,
            values: (!self.values.is_empty()).then_some(self.values),
        }
    }

    fn condition(&mut self, condition: Condition) -> String {
        match condition {
            Condition::Exists(name) => format!("attribute_exists({})", self.name(name)),
            Condition::Absent(name) => format!("attribute_not_exists({})", self.name(name)),
            Condition::Compare(name, operator, value) => {
                format!("{} {operator} {}", self.name(name), self.value(value))
            }
            Condition::Shorter(name, length) => {
                let length = AttributeValue::N(length.to_string());
                format!("size({}) < {}", self.name(name), self.value(length))
            }
            Condition::Any(conditions) => {
                let any: Vec<String> = conditions.into_iter().map(|one| self.condition(one)).collect();
                format!("({})", any.join(" OR "))
            }
        }
    }

    fn name(&mut self, name: impl Into<String>) -> String {
        let name = name.into();
        let placeholder = format!("#{name}");
        self.names.insert(placeholder.clone(), name);
        placeholder
    }

    fn value(&mut self, value: AttributeValue) -> String {
        let placeholder = format!(":v{}", self.values.len());
        self.values.insert(placeholder.clone(), value);
        placeholder
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_values_are_placeholders() {
        let change = Change::default()
            .set("ref", AttributeValue::S("a".to_owned()))
            .set_or_remove("due_at", None)
            .count("permits")
            .add("links", "b")
            .only_if(exists("pk"))
            .only_if(absent("attempt").or(is("attempt", "<", number(3))).or(is("attempt", ">", number(9))));
        let Expression { update, condition, names, values } = change.into_expression();
        assert_eq!(
            update,
            "SET #ref = :v0, #permits = if_not_exists(#permits, :v1) + :v2 REMOVE #due_at ADD #links :v3"
        );
        assert_eq!(
            condition.unwrap(),
            "attribute_exists(#pk) AND (attribute_not_exists(#attempt) OR #attempt < :v4 OR #attempt > :v5)"
        );
        assert_eq!(names["#ref"], "ref");
        assert_eq!((names.len(), values.unwrap().len()), (6, 6));
        assert!(Change::default().remove("a").into_expression().values.is_none());
    }
}
